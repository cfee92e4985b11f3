"""What a hook is."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict

from auditor.model.finding import Alert, Severity


class HookSettings(BaseModel):
    """What a ``[hooks.NAME]`` table says of any hook, beside the hook's own keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    min_severity: Severity = Severity.LOW
    """Alerts of findings below this severity do not go to this hook; operational alerts always do."""


class Hook(Protocol):
    """One way for alerts to leave the program."""

    name: str

    async def deliver(self, alert: Alert) -> str:
        """Hand over one alert and return what the other side answered, in a few words (``204``, ``exit code 0``).

        Called at least once for each alert; ``alert.id`` is the idempotency key and must reach the other side. Raises
        ``DeliveryFailed`` when the alert was not taken. Ends by itself in bounded time.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
