"""``auditor evidence``: hand out evidence of sweeps and findings, or prove it."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.commands.invocation import Environments, Json, finish, session

app = typer.Typer(help="Hand out evidence of sweeps and findings, or prove it.", no_args_is_help=True)


@app.command("export")
def export_evidence(
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip file to write.")],
    period: Annotated[str | None, typer.Option(metavar="PERIOD", help="Only what was recorded in a period.")] = None,
    environment: Environments = None,
) -> None:
    """Write a package for an auditor: chain, records, policies, a report and a manifest, signed if there is a key."""
    from auditor.cli import evidence

    finish(evidence.export(session(), output, period=period, environments=environment or []))


@app.command("verify")
def verify_evidence(
    package: Annotated[
        Path | None, typer.Argument(help="A package; without one the database is verified. Needs nothing but the file.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Who must have signed it: a public key of OpenSSH, or the file of one.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option("--environment", "-e", help="Of the database: only this environment.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that a package or the database's own chain is unaltered and complete; exit 1 and name what is broken."""
    from auditor.cli import evidence

    finish(evidence.verify(session(), package, key=key, environments=environment or [], as_json=as_json))


@app.command("key")
def evidence_key() -> None:
    """Print the public key that packages are signed with, for those who verify them."""
    from auditor.cli import evidence

    finish(evidence.show_key(session()))
