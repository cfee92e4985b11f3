"""What is told beside a sweep's transitions: the first sweep, reminders, escalations, flapping, dead letters."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.policy.lateness import Deadlines
from auditor.policy.routing.routing import Destination, Routing
from auditor.policy.waivers import finding_of
from auditor.store import attention, dead_letters, outbox, waivers
from auditor.store.connection import Pool
from auditor.store.outbox import DeliveryState, Job
from auditor.sweep.due import Due
from auditor.sweep.reminding import Watched
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, stored

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

DAY = timedelta(days=1)
POLICY: dict[str, object] = {"rules": {"DT-EXP-01": {}, "DT-AUD-04": {}}}


class Audit:
    """An environment with tokens that never expire, swept again and again."""

    def __init__(self, database: Pool, stage: Stage, destinations: Sequence[Destination]) -> None:
        self.database = database
        self.stage = stage
        self.routing = Routing(destinations)
        self.tokens = [stage.world.create(f"token {number}", ["metrics.read"]) for number in range(3)]

    @property
    def subject(self) -> Subject:
        source = ListSource("vault", stored([token.secret for token in self.tokens]))
        return replace(self.stage.subject(source, policy=POLICY), routing=self.routing)

    async def sweep(self) -> None:
        await sweep(self.database, self.subject)

    async def make_due(self) -> int:
        policy = self.subject.policy
        watched = Watched("prod", {}, Deadlines(policy, "prod"))
        return await Due(self.database, self.routing, [watched]).make(self.stage.clock())

    async def told(self, hook: str) -> list[Message]:
        """What a hook gets that it has not got yet; it takes it."""
        found: list[Message] = []
        async with self.database.acquire() as connection:
            for row in await connection.fetch("select payload from queue_job order by id"):
                job = msgspec.json.decode(row["payload"], type=Job)
                if job.hook == hook:
                    found.extend(one.message for one in await outbox.pending(connection, job))
            for message in found:
                await outbox.note(
                    connection, hook, message.id, state=DeliveryState.DELIVERED, answer="ok", now=self.stage.clock()
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


@pytest.fixture
async def stage(staged: Staged) -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


def events(messages: Sequence[Message]) -> list[str]:
    return sorted(alert.event for message in messages for alert in message.alerts)


async def test_first_sweep_makes_one_summary_for_each_hook_and_the_next_an_alert_a_finding(
    database: Pool, stage: Stage
) -> None:
    audit = Audit(database, stage, [Destination(hook="team"), Destination(hook="pager", takes_digests=False)])
    await audit.sweep()
    (digest,) = await audit.told("team")
    (summary,) = await audit.told("pager")
    assert digest.is_digest
    assert sum(digest.counts.values()) == len(digest.alerts) >= 3
    assert summary.alerts[0].event == "findings.summary"
    assert "first sweep: " in summary.alerts[0].data["message"]
    audit.tokens.append(stage.world.create("another", ["metrics.read"]))
    await audit.sweep()
    assert set(events(await audit.told("team"))) == {"finding.opened"}


async def test_late_finding_is_told_again_as_its_severity_asks_unless_somebody_knows(
    database: Pool, stage: Stage
) -> None:
    audit = Audit(database, stage, [Destination(hook="team", every_first_finding=True)])
    await audit.sweep()
    opened = await audit.told("team")
    stage.clock.advance(91 * DAY)
    await audit.sweep()
    escalated = await audit.told("team")
    assert "finding.escalated" in events(escalated)
    assert await audit.make_due() == 0
    stage.clock.advance(91 * DAY)
    assert await audit.acknowledge(escalated[0].alerts[0].data["key"])
    await audit.make_due()
    reminders = [alert for message in await audit.told("team") for alert in message.alerts]
    assert {alert.event for alert in reminders} == {"finding.reminder"}
    assert escalated[0].alerts[0].data["key"] not in {alert.data["key"] for alert in reminders}
    assert await audit.make_due() == 0
    assert opened


async def test_what_nobody_attends_to_goes_to_another_hook_once_and_so_does_its_end(
    database: Pool, stage: Stage
) -> None:
    audit = Audit(
        database,
        stage,
        [Destination(hook="team", every_first_finding=True), Destination(hook="boss", escalation_after=DAY)],
    )
    await audit.sweep()
    known = (await audit.told("team"))[0].alerts[0].data["key"]
    await audit.acknowledge(known)
    assert await audit.make_due() == 0
    stage.clock.advance(DAY)
    await audit.make_due()
    told = [alert for message in await audit.told("boss") for alert in message.alerts]
    assert told
    assert {alert.event for alert in told} == {"finding.unattended"}
    assert known not in {alert.data["key"] for alert in told}
    assert await audit.make_due() == 0
    async with database.acquire() as connection:
        assert await connection.fetchval("select count(*) from escalation where is_told") == len(told)
    assert await audit.told("team") == []


async def test_dead_letters_of_one_hook_are_told_to_the_others_once_and_can_be_tried_again(
    database: Pool, stage: Stage
) -> None:
    audit = Audit(database, stage, [Destination(hook="team", every_first_finding=True), Destination(hook="ops")])
    await audit.sweep()
    now = stage.clock()
    async with database.acquire() as connection:
        await connection.execute(
            "update delivery set state = 'dead', last_attempt_at = $1, last_answer = 'no' where hook = 'team'", now
        )
        dead = await connection.fetchval("select count(*) from delivery where state = 'dead'")
    assert await audit.make_due() == 1
    assert await audit.make_due() == 0
    assert "delivery.dead" in events(await audit.told("ops"))
    async with database.acquire() as connection:
        tried = await dead_letters.retry(connection, now, hook="team", alert=None)
    assert tried.revived == dead > 0
    assert len({message.id for message in await audit.told("team")}) == dead


async def test_finding_that_comes_and_goes_is_told_as_flapping_once_until_it_has_settled(
    database: Pool, stage: Stage
) -> None:
    audit = Audit(database, stage, [Destination(hook="team", every_first_finding=True, min_severity=Severity.INFO)])
    await audit.sweep()
    await audit.told("team")
    async with database.acquire() as connection:
        finding = await connection.fetchval("select min(id) from finding where rule_id = 'DT-EXP-01'")
        sweep_id = await connection.fetchval("select max(id) from sweep")
        for _time in range(3):
            await connection.execute("update finding set reopenings = reopenings + 1 where id = $1", finding)
            await connection.execute(
                """
                insert into finding_event (finding_id, sweep_id, at, transition, severity, message, evidence)
                values ($1, $2, $3, 'reopened', 'high', '', '{}')
                """,
                finding,
                sweep_id,
                stage.clock(),
            )
        moved = {finding: Severity.HIGH}
        first = await attention.damp(connection, moved, [finding], DAY, stage.clock())
        again = await attention.damp(connection, moved, [], DAY, stage.clock())
        worse = await attention.damp(connection, {finding: Severity.CRITICAL}, [finding], DAY, stage.clock())
        last = await attention.damp(connection, moved, [], DAY, stage.clock())
    assert first.begin == {finding: 3}
    assert not first.damped
    assert finding in again.damped
    assert not worse.begin
    assert finding not in worse.damped
    assert finding in last.damped
    stage.clock.advance(DAY + timedelta(seconds=1))
    await audit.make_due()
    (settled,) = await audit.told("team")
    assert settled.alerts[0].event == "finding.reopened"
    assert "it has settled" in settled.alerts[0].data["message"]
    assert await audit.make_due() == 0
