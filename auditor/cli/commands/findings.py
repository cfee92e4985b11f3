"""``auditor findings``: list findings, or show one with its history."""

from typing import Annotated

import typer

from auditor.cli.commands.invocation import Environments, Json, SeverityName, finish, session

app = typer.Typer(help="List findings, or show one with its history.")


@app.callback(invoke_without_command=True)
def findings(
    context: typer.Context,
    environment: Environments = None,
    severity: Annotated[SeverityName | None, typer.Option(help="Only this severity or worse.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule.")] = None,
    owner: Annotated[list[str] | None, typer.Option(help="Only this owner's, whatever the case.")] = None,
    resolved_days: Annotated[int, typer.Option(min=0, max=36_500, help="Also those resolved within so many days.")] = 0,
    waived: Annotated[
        bool | None, typer.Option("--waived/--no-waived", help="Only those that a waiver mutes, or only the others.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List open findings, worst first; those that a waiver mutes come after the others."""
    if context.invoked_subcommand is not None:
        return
    from auditor.cli import listing

    finish(
        listing.findings(
            session(),
            environments=environment or [],
            least=severity.value if severity else None,
            rules=rule or [],
            owners=owner or [],
            resolved_days=resolved_days,
            waived=waived,
            as_json=as_json,
        )
    )


@app.command("show")
def show_finding(
    key: Annotated[str, typer.Argument(help="The finding's key: environment/token/rule.")], as_json: Json = False
) -> None:
    """Show one finding with its evidence, history and mend."""
    from auditor.cli import listing

    finish(listing.show(session(), key, as_json=as_json))
