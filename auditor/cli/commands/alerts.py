"""``auditor alerts``: see whether alerts arrived, and try them again."""

from enum import StrEnum
from typing import Annotated

import typer

from auditor.cli.commands.invocation import Json, finish, session

app = typer.Typer(help="See whether alerts arrived, and try them again.", no_args_is_help=True)


class DeliveryStateName(StrEnum):
    """States of deliveries as the command line takes them."""

    HELD = "held"
    GATHERED = "gathered"
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@app.command("list")
def list_alerts(
    hook: Annotated[str | None, typer.Option(help="Only alerts to this hook.")] = None,
    state: Annotated[list[DeliveryStateName] | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List alerts by hook, the newest first: delivered, pending, held for a digest, or dead."""
    from auditor.cli import alerting

    states = [one.value for one in state or []]
    finish(alerting.list_alerts(session(), hook=hook, states=states, limit=limit, as_json=as_json))


@app.command("show")
def show_alert(
    alert: Annotated[str, typer.Argument(help="The id of an alert or digest, or its beginning.")], as_json: Json = False
) -> None:
    """Show an alert or digest with every attempt to deliver it, and what was answered."""
    from auditor.cli import alerting

    finish(alerting.show(session(), alert, as_json=as_json))


@app.command("retry")
def retry_alerts(
    alert: Annotated[str | None, typer.Argument(help="The id of an alert or digest, or its beginning.")] = None,
    hook: Annotated[str | None, typer.Option(help="Everything that this hook has not taken.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that no hook has taken.")] = False,
    deliver_seconds: Annotated[float, typer.Option(min=0, help="Spend at most so long on delivering.")] = 60,
) -> None:
    """Try dead alerts again, and pending ones at once; exit with 1 when something is still not taken."""
    from auditor.cli import alerting

    finish(alerting.retry(session(), alert, hook=hook, everything=everything, seconds=deliver_seconds))
