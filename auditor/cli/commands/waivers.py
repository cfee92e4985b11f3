"""``auditor waivers``: list waivers, or withdraw one."""

from typing import Annotated

import typer

from auditor.cli.commands.invocation import Json, finish, session

app = typer.Typer(help="List waivers, or withdraw one.")


@app.callback(invoke_without_command=True)
def waivers(
    context: typer.Context,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Also those that were withdrawn.")] = False,
    as_json: Json = False,
) -> None:
    """List the waivers of files and those that auditor waive made, the first to end first."""
    if context.invoked_subcommand is not None:
        return
    from auditor.cli import waiving

    finish(waiving.list_waivers(session(), withdrawn=withdrawn, as_json=as_json))


@app.command("remove")
def remove_waiver(waiver: Annotated[str, typer.Argument(help="The waiver as the list names it.")]) -> None:
    """Withdraw a waiver that auditor waive made; what it mutes reopens at the next sweep."""
    from auditor.cli import waiving

    finish(waiving.remove(session(), waiver))
