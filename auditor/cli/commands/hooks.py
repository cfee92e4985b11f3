"""``auditor hooks``: list hooks, send a test through one, or preview what it says."""

from enum import StrEnum
from typing import Annotated

import typer

from auditor.cli.commands.invocation import Json, finish, session

app = typer.Typer(help="List hooks, send a test through one, or preview what it says.", no_args_is_help=True)


class FormName(StrEnum):
    """Ways to show text as the command line takes them."""

    TEXT = "text"
    HTML = "html"
    MARKDOWN = "markdown"
    SLACK = "slack"


@app.command("list")
def list_hooks(as_json: Json = False) -> None:
    """List the configured hooks."""
    from auditor.cli import hooking

    finish(hooking.list_hooks(session(), as_json=as_json))


@app.command("test")
def try_hook(
    hook: Annotated[str, typer.Argument(help="The hook's name.")],
    leave_open: Annotated[
        bool,
        typer.Option(
            "--leave-open", help="Do not resolve the test in PagerDuty and the like, so that you see it ring."
        ),
    ] = False,
) -> None:
    """Send a marked test through a hook, as alerts go; exit with 3 when it is not taken."""
    from auditor.cli import hooking

    finish(hooking.try_out(session(), hook, leave_open=leave_open))


@app.command("preview")
def preview_hook(
    hook: Annotated[str, typer.Argument(help="The hook's name.")],
    event: Annotated[
        str, typer.Option(help="finding.opened, finding.resolved, sweep.failed …, test, or digest.")
    ] = "finding.opened",
    form: Annotated[FormName, typer.Option("--as", help="How to show it.")] = FormName.TEXT,
) -> None:
    """Show what a hook would say of a sample, by its templates; nothing is sent."""
    from auditor.cli import hooking

    finish(hooking.preview(session(), hook, event=event, form=hooking.Form(form.value)))
