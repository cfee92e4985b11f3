"""Alerts that are being put into the outbox: each where it goes, when it leaves, and to whom."""

from collections.abc import Sequence
from datetime import datetime

from auditor.model.finding import Alert
from auditor.policy.routing.route import Matter
from auditor.policy.routing.routing import Routing
from auditor.store import outbox
from auditor.store.connection import Connection


class Outgoing:
    """Gathers what one transaction puts into the outbox."""

    def __init__(self, routing: Routing, now: datetime) -> None:
        self._routing = routing
        self._now = now
        self._wanted: dict[str, list[Alert]] = {}
        self._due: dict[tuple[str, str], datetime] = {}
        self._recipients: dict[str, tuple[str, ...]] = {}

    def put(self, alert: Alert, matter: Matter, hooks: Sequence[str], *, is_gathered: bool = False) -> None:
        """Put an alert in for these hooks.

        ``is_gathered`` is for what comes up in numbers at one instant: where a hook takes digests, it waits for the
        next one to close, which may be at once.
        """
        recipients = self._routing.recipients(matter.owner)
        if recipients:
            self._recipients[alert.id] = recipients
        for hook in hooks:
            self._wanted.setdefault(hook, []).append(alert)
            due = self._routing.due(hook, matter, self._now)
            if due is None and is_gathered and self._routing.destinations[hook].takes_digests:
                due = self._now
            if due is not None:
                self._due[hook, alert.id] = due

    async def write(self, connection: Connection) -> None:
        """Write all of it, in the connection's transaction."""
        await outbox.add(connection, self._wanted, due=self._due, recipients=self._recipients)
