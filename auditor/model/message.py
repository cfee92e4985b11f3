"""Messages: what one delivery hands to a hook."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

import msgspec

from auditor.model.finding import Alert, Severity


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What one delivery hands to a hook: one alert, or several gathered into a digest."""

    id: str
    """UUID; the idempotency key. Of the alert where there is one, of the digest otherwise; the same content goes out
    with every attempt under one id."""
    at: datetime
    """Of the alert, or when the digest was closed."""
    alerts: tuple[Alert, ...]
    """The one alert, or those that a digest shows in full, worst first."""
    is_digest: bool = False
    counts: Mapping[Severity, int]
    """How many alerts the message stands for, shown or not; severities without any are left out."""
    more: int = 0
    """Alerts that a digest stands for beyond those that it shows."""
    environment: str | None = None
    """That of all the alerts that a digest stands for, shown or not; None where they have several."""
    owner: str | None = None
    """The owner of all of them; None where they have several, or some none."""
    recipients: tuple[str, ...] = ()
    """Addresses of those who can act; a hook that addresses nobody ignores them."""

    @classmethod
    def of_one(cls, alert: Alert, recipients: tuple[str, ...] = ()) -> Self:
        """Return the message of a single alert."""
        return cls(id=alert.id, at=alert.at, alerts=(alert,), counts={alert.severity: 1}, recipients=recipients)
