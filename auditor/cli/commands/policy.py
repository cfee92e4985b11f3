"""``auditor policy``: see what the policy makes of a token, or what a draft of it would change."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.commands.invocation import Environments, Json, finish, session

app = typer.Typer(
    help="See what the policy makes of a token, or what a draft of it would change.", no_args_is_help=True
)


@app.command("explain")
def explain_token(
    token: Annotated[str, typer.Argument(help="The token's public id or label, or the key of one of its findings.")],
    environment: Environments = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule.")] = None,
    as_json: Json = False,
) -> None:
    """Show for each rule whether it applies to a token, with which parameters from where, and why it fired or not."""
    from auditor.cli import policies

    finish(policies.explain(session(), token, environment or [], rule or [], as_json=as_json))


@app.command("diff")
def diff_policy(
    draft: Annotated[Path, typer.Argument(help="A policy file, laid over those of all environments.")],
    instead_of: Annotated[
        Path | None, typer.Option(help="The policy file that the draft takes the place of, wherever that stands.")
    ] = None,
    as_of: Annotated[
        list[str] | None,
        typer.Option(help="Judge tokens also as they were at the end of this past day (UTC), or at this instant."),
    ] = None,
    environment: Environments = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many findings, the worst.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Show every finding that would differ.")] = False,
    as_json: Json = False,
) -> None:
    """Replay a draft of a policy over what sweeps have stored: the findings it would add, drop and re-grade."""
    from auditor.cli import back_testing

    question = back_testing.Question(
        draft, instead_of, as_of or [], environment or [], limit=None if everything else limit
    )
    finish(back_testing.diff(session(), question, as_json=as_json))
