"""What is told beside a sweep's transitions: the first sweep, reminders, escalations, flapping, dead letters."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from auditor.policy.routing.routing import Destination
from auditor.store import dead_letters
from auditor.store.connection import Pool
from tests.sweep.auditing import DAY, Audit, events
from tests.sweep.conftest import Stage

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

POLICY: dict[str, object] = {"rules": {"DT-EXP-01": {}, "DT-AUD-04": {}}}


def audit_of(database: Pool, stage: Stage, destinations: Sequence[Destination]) -> Audit:
    """An environment with tokens that never expire."""
    audit = Audit(database, stage, destinations, policy=POLICY)
    audit.tokens.extend(stage.world.create(f"token {number}", ["metrics.read"]) for number in range(3))
    return audit


@pytest.fixture
async def stage(staged: Staged) -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


async def test_first_sweep_makes_one_summary_for_each_hook_and_the_next_an_alert_a_finding(
    database: Pool, stage: Stage
) -> None:
    audit = audit_of(database, stage, [Destination(hook="team"), Destination(hook="pager", takes_digests=False)])
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
    audit = audit_of(database, stage, [Destination(hook="team", every_first_finding=True)])
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
    audit = audit_of(
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
    audit = audit_of(database, stage, [Destination(hook="team", every_first_finding=True), Destination(hook="ops")])
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
    assert len(await audit.told("team")) == dead


async def test_alerts_whose_jobs_are_gone_from_the_queue_are_delivered_all_the_same(
    database: Pool, stage: Stage
) -> None:
    audit = audit_of(database, stage, [Destination(hook="team", every_first_finding=True), Destination(hook="ops")])
    await audit.sweep()
    async with database.acquire() as connection:
        await connection.execute("delete from queue_job where entrypoint = 'deliver:team'")
        waiting = await connection.fetchval("select count(*) from delivery where hook = 'team' and state = 'pending'")
    assert await audit.told("team") == []
    await audit.make_due()
    assert len(await audit.told("team")) == waiting > 0
    async with database.acquire() as connection:
        jobs = await connection.fetchval("select count(*) from queue_job")
        await audit.make_due()
        assert await connection.fetchval("select count(*) from queue_job") == jobs
