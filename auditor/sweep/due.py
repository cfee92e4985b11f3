"""What is due between sweeps, and at their end: reminders, escalations, digests and dead letters.

Rows of the database say what is due, and one process at a time makes it, in transactions that leave nothing half done:
it does not matter how many replicas look, and how often.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from auditor.model.finding import Alert, Severity
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.routing.routing import Routing
from auditor.policy.wording import counted
from auditor.store import dead_letters, digests, outbox
from auditor.store.connection import Connection, Pool
from auditor.store.dead_letters import Dead
from auditor.store.outgoing import Outgoing
from auditor.sweep.reminding import Reminder, Watched

AUDITOR: Final = "auditor"
"""In place of an environment in alerts about auditor itself."""
_NOTICE_EVERY: Final = timedelta(days=1)
"""Of alerts that are dead for one hook, others hear at most so often."""
_ARE: Final = {True: "is", False: "are"}

log = structlog.get_logger(__name__)


class Due:
    """Makes what is due, for one configuration."""

    def __init__(self, pool: Pool, routing: Routing, watched: Sequence[Watched]) -> None:
        self._pool = pool
        self._routing = routing
        self._watched = watched

    async def make(self, now: datetime, *, is_thorough: bool = True) -> int:
        """Put what is due into the outbox and let held alerts go; return how many messages that makes.

        Without ``is_thorough`` neither findings nor all of the queue are looked at, which is the dear part. Does
        nothing while another process is at it.
        """
        async with digests.alone(self._pool) as connection:
            if connection is None:
                return 0
            if is_thorough:
                await self._enqueue_forgotten(connection)
                if self._routing.destinations:
                    for watched in self._watched:
                        await Reminder(connection, self._routing, watched, now).run()
            return await self._tell_of_dead(connection, now) + await self._release(connection, now)

    async def _enqueue_forgotten(self, connection: Connection) -> None:
        if deliveries := await outbox.enqueue_forgotten(connection):
            log.warning(
                "deliveries_queued_again",
                deliveries=deliveries,
                reason="they were pending, and the queue had no job for them",
            )

    async def _release(self, connection: Connection, now: datetime) -> int:
        """Let go what was held until now, in digests where hooks take them."""
        made = 0
        for hook in await digests.due_hooks(connection, now):
            destination = self._routing.destinations.get(hook)
            if destination is not None and destination.takes_digests:
                async with connection.transaction():
                    made += await digests.close(connection, hook, now, is_addressed=destination.is_addressed)
                continue
            released = digests.RELEASED_AT_ONCE
            while released == digests.RELEASED_AT_ONCE:
                async with connection.transaction():
                    released = await digests.release(connection, hook, now)
                made += released
        return made

    async def _tell_of_dead(self, connection: Connection, now: datetime) -> int:
        """Tell the other hooks of one that takes nothing; where that word is given up as well, the log has it."""
        async with connection.transaction():
            outgoing = Outgoing(self._routing, now)
            found = await dead_letters.fresh(connection, now, _NOTICE_EVERY)
            for dead in found:
                alert = _dead_alert(dead, now)
                matter = Matter(Topic.DELIVERY_DEAD, alert.severity, AUDITOR)
                outgoing.put(alert, matter, [hook for hook in self._routing.hooks(matter) if hook != dead.hook])
            await outgoing.write(connection)
        return len(found)


def _dead_alert(dead: Dead, now: datetime) -> Alert:
    return Alert(
        id=outbox.new_id(),
        event=dead_letters.EVENT,
        severity=Severity.HIGH,
        environment=AUDITOR,
        at=now,
        data={
            "environment": AUDITOR,
            "hook": dead.hook,
            "alerts": dead.alerts,
            "answer": dead.last_answer,
            "message": f"hook {dead.hook} did not take {counted(dead.alerts, 'alert')}, which {_ARE[dead.alerts == 1]} "
            f"given up ({dead.last_answer}); mend the hook, then run auditor alerts retry --hook {dead.hook}",
        },
    )
