"""``auditor tokens``: keep tokens in the encrypted store."""

from typing import Annotated

import typer

from auditor.cli.commands.invocation import Json, finish, session

app = typer.Typer(help="Keep tokens in the encrypted store.", no_args_is_help=True)


@app.command("import")
def import_tokens(
    environment: Annotated[str, typer.Argument(help="The environment that the tokens are for.")],
    note: Annotated[str, typer.Option(help="Where they come from, for people.")] = "",
) -> None:
    """Add tokens from standard input, one a line."""
    from auditor.cli import keeping

    finish(keeping.import_tokens(session(), environment, note))


@app.command("add")
def add_token(
    environment: Annotated[str, typer.Argument(help="The environment that the token is for.")],
    note: Annotated[str, typer.Option(help="Where it comes from, for people.")] = "",
) -> None:
    """Add one token from standard input; asks without echo on a terminal."""
    from auditor.cli import keeping

    finish(keeping.add(session(), environment, note))


@app.command("list")
def list_tokens(
    environment: Annotated[str | None, typer.Argument(help="Only this environment.")] = None, as_json: Json = False
) -> None:
    """List the stored tokens by public id; never their secrets."""
    from auditor.cli import keeping

    finish(keeping.list_tokens(session(), environment, as_json=as_json))


@app.command("remove")
def remove_token(
    environment: Annotated[str, typer.Argument(help="The token's environment.")],
    token: Annotated[str, typer.Argument(help="The token as the list names it.")],
) -> None:
    """Remove a token from the store; the environment keeps it."""
    from auditor.cli import keeping

    finish(keeping.remove(session(), environment, token))


@app.command("rotate-key")
def rotate_key() -> None:
    """Encrypt everything under the current key, so that previous_keys can be dropped."""
    from auditor.cli import keeping

    finish(keeping.rotate_key(session()))
