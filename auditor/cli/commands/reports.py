"""``auditor reports``: see which reports were made on schedule, or make one now."""

from typing import Annotated

import typer

from auditor.cli.commands.invocation import Json, finish, session

app = typer.Typer(help="See which reports were made on schedule, or make one now.", no_args_is_help=True)


@app.command("list")
def list_reports(
    name: Annotated[str | None, typer.Argument(help="Only this report.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List the reports that were made, with their files and SHA-256, the newest first."""
    from auditor.cli import scheduled_reports

    finish(scheduled_reports.list_reports(session(), name, limit=limit, as_json=as_json))


@app.command("make")
def make_report(
    name: Annotated[str, typer.Argument(help="A report of the configuration: [reports.NAME].")],
    deliver: Annotated[bool, typer.Option("--deliver", help="Hand it to its hooks, too.")] = False,
    deliver_seconds: Annotated[float, typer.Option(min=0, help="Spend at most so long on delivering.")] = 60,
) -> None:
    """Make a report of the configuration now, and keep it beside those made on schedule."""
    from auditor.cli import scheduled_reports

    finish(scheduled_reports.make(session(), name, deliver=deliver, seconds=deliver_seconds))
