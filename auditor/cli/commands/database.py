"""``auditor database``: what the database keeps, and for how long."""

from typing import Annotated

import typer

from auditor.cli.commands.invocation import Json, finish, session

app = typer.Typer(help="What the database keeps, and for how long.", no_args_is_help=True)


@app.command("prune")
def prune_database(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what is older than [retention] keeps it, as auditor run does every hour; sweeps may go on meanwhile."""
    from auditor.cli import pruning

    finish(pruning.prune_database(session(), dry_run=dry_run, as_json=as_json))
