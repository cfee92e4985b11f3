"""How long auditor keeps what may go one day."""

from datetime import UTC, datetime, timedelta

import msgspec


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Spans by kind of row; None keeps it for good."""

    uses: timedelta | None
    """Uses of tokens as sweeps saw them; the last one of each token stays in any case."""
    alerts: timedelta | None
    """Alerts and the attempts to deliver them, once nothing is to be done about them any more."""
    queue_log: timedelta | None
    """What became of jobs of the queue."""

    def uses_before(self, now: datetime) -> datetime | None:
        """Return before when uses may go: the beginning of a month in UTC, so that what is kept changes once a month.

        None: they stay.
        """
        if self.uses is None:
            return None
        return (now - self.uses).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
