"""An environment that is swept again and again, and what its hooks are told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec

from auditor.model.message import Message
from auditor.policy.lateness import Deadlines
from auditor.policy.registry import rules
from auditor.policy.routing.owners import Owners
from auditor.policy.routing.routing import Destination, Routing
from auditor.policy.waivers import finding_of
from auditor.simulator import SimulatedToken
from auditor.store import attention, outbox, waivers
from auditor.store.connection import Pool
from auditor.store.outbox import DeliveryState, Job
from auditor.sweep.due import Due
from auditor.sweep.reminding import Watched
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, stored

DAY = timedelta(days=1)


def only(*ids: str, **settings: object) -> Mapping[str, object]:
    """Return a policy of these rules and no other; ``settings`` are of the first."""
    return {"rules": {rule: {"enabled": rule in ids} | (settings if rule == ids[0] else {}) for rule in rules()}}


class Audit:
    """An environment, its tokens, and the hooks that its alerts go to."""

    def __init__(
        self,
        database: Pool,
        stage: Stage,
        destinations: Sequence[Destination],
        *,
        policy: Mapping[str, object],
        owners: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.database = database
        self.stage = stage
        self.policy = policy
        self.routing = Routing(destinations, Owners(owners or {}))
        self.tokens: list[SimulatedToken] = []

    @property
    def subject(self) -> Subject:
        source = ListSource("vault", stored([token.secret for token in self.tokens]))
        return replace(self.stage.subject(source, policy=self.policy), routing=self.routing)

    async def sweep(self, after: timedelta = timedelta()) -> None:
        self.stage.clock.advance(after)
        await sweep(self.database, self.subject)

    async def make_due(self) -> int:
        watched = Watched("prod", {}, Deadlines(self.subject.policy, "prod"))
        return await Due(self.database, self.routing, [watched]).make(self.stage.clock())

    async def told(self, hook: str) -> list[Message]:
        """What a hook gets that it has not got yet; it takes it."""
        found: list[Message] = []
        now = self.stage.clock()
        async with self.database.acquire() as connection:
            for row in await connection.fetch("select payload from queue_job order by id"):
                job = msgspec.json.decode(row["payload"], type=Job)
                if job.hook != hook:
                    continue
                for one in await outbox.pending(connection, job):
                    found.append(one.message)
                    await outbox.note(
                        connection, hook, one.message.id, state=DeliveryState.DELIVERED, answer="ok", now=now
                    )
        return found

    async def acknowledge(self, key: str) -> bool:
        finding = finding_of(key)
        assert finding is not None
        async with self.database.acquire() as connection:
            locked = await waivers.lock_finding(connection, finding)
            assert locked is not None
            return await attention.acknowledge(
                connection, locked[1], until=None, by="alice", note="", now=self.stage.clock()
            )


def events(messages: Sequence[Message]) -> list[str]:
    return sorted(alert.event for message in messages for alert in message.alerts)
