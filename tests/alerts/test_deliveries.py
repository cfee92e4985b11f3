"""From the outbox to hooks: at least once each, in time, and with an end to trying."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from aiohttp import web
from pgqueuer import RetryRequested
from pgqueuer.models import Job

from auditor.alerts import webhook
from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.deliveries import HEARTBEAT, Deliveries, drain, fewest_tries, wait_after
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Alert
from auditor.model.message import Message
from auditor.policy.routing.routing import Destination
from auditor.store import dead_letters, outbox
from auditor.store.connection import Pool
from auditor.store.outbox import DeliveryState
from tests.alerts.receivers import Receiver, alert, answering, receiving

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Team:
    """A hook that keeps what it takes; it fails for some alerts, some of the time or always, or takes its time."""

    def __init__(self, *, fails: Callable[[Alert], bool] = lambda _alert: False, name: str = "team") -> None:
        self.name = name
        self.fails = fails
        self.taken: list[Alert] = []
        self.tried: list[Alert] = []

    async def deliver(self, message: Message, now: datetime) -> str:
        (alert,) = message.alerts
        self.tried.append(alert)
        if self.fails(alert):
            raise DeliveryFailed(f"hooks.{self.name}: no")
        self.taken.append(alert)
        return "thanks"

    async def close(self) -> None:
        pass


def alerts(number: int, at: datetime = NOW) -> list[Alert]:
    return [
        msgspec.structs.replace(alert(number=index), id=str(uuid4()), at=at + timedelta(seconds=index))
        for index in range(number)
    ]


async def put(database: Pool, wanted: Mapping[str, Sequence[Alert]]) -> None:
    async with database.acquire() as connection, connection.transaction():
        await outbox.add(connection, wanted)


async def states(database: Pool) -> dict[tuple[str, DeliveryState], int]:
    async with database.acquire() as connection:
        return dict(await outbox.count(connection))


async def rows(database: Pool, question: str) -> list[tuple[object, ...]]:
    async with database.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(question)]


GIVE_UP_AFTER = Destination(hook="team").give_up_after
MANY = fewest_tries(GIVE_UP_AFTER) - 1
"""After so many tries the next is the last of an alert whose time is over."""


def clock() -> datetime:
    return NOW


async def run_jobs(
    database: Pool, deliveries: Deliveries, hooks: Mapping[str, Hook], *, attempts: int = 0
) -> list[RetryRequested]:
    """Run each queued job once, as a worker would who tried so often before; return what they asked for."""
    asked: list[RetryRequested] = []
    async with database.acquire() as connection:
        jobs = await connection.fetch("select * from queue_job order by id")
    for row in jobs:
        try:
            await deliveries.run_job(Job.model_validate(dict(row) | {"attempts": attempts}), hooks)
        except RetryRequested as retry:
            asked.append(retry)
    return asked


async def test_every_hook_gets_every_alert_that_it_wants_once(database: Pool) -> None:
    team, ops = Team(), Team(name="ops")
    first, second = alerts(250), alerts(2)
    await put(database, {"team": [*first, *second], "ops": second})
    await drain(database, {"team": team, "ops": ops}, clock=clock, seconds=30)
    assert Counter(taken.id for taken in team.taken) == Counter(one.id for one in [*first, *second])
    assert [taken.id for taken in ops.taken] == [one.id for one in second]
    assert await states(database) == {("team", DeliveryState.DELIVERED): 252, ("ops", DeliveryState.DELIVERED): 2}
    assert await rows(database, "select distinct attempts, last_answer, last_attempt_at from delivery") == [
        (1, "thanks", NOW)
    ]
    await drain(database, {"team": team, "ops": ops}, clock=clock, seconds=30)
    assert (len(team.taken), len(ops.taken)) == (252, 2)


@asynccontextmanager
async def webhook_to(receiver: Receiver, directory: Path) -> AsyncIterator[Hook]:
    settings = webhook.WebhookSettings.model_validate(
        {"type": "webhook", "url": receiver.url, "secret": {"env": "SECRET"}, "allow_http": True}
    )
    secret = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    hook = await webhook.KIND.open("team", settings, Surroundings(Resolver(directory, {"SECRET": secret}), SHIPPED))
    try:
        yield hook
    finally:
        await hook.close()


async def test_hook_that_fails_is_tried_again_with_the_same_id_and_the_same_body(
    database: Pool, tmp_path: Path
) -> None:
    answers = iter([503, 503, 204])

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=next(answers))

    await put(database, {"team": alerts(1)})
    async with receiving(answer) as receiver, webhook_to(receiver, tmp_path) as hook:
        await drain(database, {"team": hook}, clock=clock, seconds=30)
    assert len({(headers["webhook-id"], body) for headers, body in receiver.requests}) == 1
    assert len(receiver.requests) == 3
    assert await rows(database, "select state, attempts, last_answer from delivery") == [("delivered", 3, "HTTP 204")]


async def test_retry_after_is_obeyed(database: Pool, tmp_path: Path) -> None:
    await put(database, {"team": alerts(1)})
    async with receiving(answering(429, Retry_After="1234")) as receiver, webhook_to(receiver, tmp_path) as hook:
        (retry,) = await run_jobs(database, Deliveries(database, clock=clock), {"team": hook})
    assert retry.delay == timedelta(seconds=1234)


def test_waits_grow_from_a_second_to_the_longest() -> None:
    for attempts in range(5_000):
        for longest in (3600, 86_400):
            span = min(2 ** min(attempts, 20), longest)
            assert span / 2 <= wait_after(attempts, timedelta(seconds=longest)).total_seconds() <= span


async def test_alert_that_is_not_taken_for_three_days_is_dead(database: Pool) -> None:
    team = Team(fails=lambda _alert: True)
    now = NOW
    await put(database, {"team": alerts(1)})
    deliveries = Deliveries(database, clock=lambda: now)
    now = NOW + GIVE_UP_AFTER - timedelta(seconds=1)
    assert len(await run_jobs(database, deliveries, {"team": team})) == 1
    assert await states(database) == {("team", DeliveryState.PENDING): 1}
    now = NOW + GIVE_UP_AFTER
    assert await run_jobs(database, deliveries, {"team": team}, attempts=MANY) == []
    assert await rows(database, "select state, attempts, last_answer, last_attempt_at from delivery") == [
        ("dead", 2, "hooks.team: no", now)
    ]


async def test_clock_that_is_stepped_forward_takes_no_try_from_an_alert(database: Pool) -> None:
    team = Team(fails=lambda _alert: True)
    await put(database, {"team": alerts(50, NOW - 2 * GIVE_UP_AFTER)})
    deliveries = Deliveries(database, clock=clock)
    waited = timedelta()
    for attempts in range(MANY):
        (retry,) = await run_jobs(database, deliveries, {"team": team}, attempts=attempts)
        assert await states(database) == {("team", DeliveryState.PENDING): 50}
        waited += retry.delay
    assert GIVE_UP_AFTER / 32 < waited < GIVE_UP_AFTER
    assert await run_jobs(database, deliveries, {"team": team}, attempts=MANY) == []
    assert await states(database) == {("team", DeliveryState.DEAD): 50}


async def test_alert_that_no_one_can_take_does_not_hold_up_the_others(database: Pool) -> None:
    poison, *rest = alerts(20)
    team = Team(fails=lambda alert: alert.id == poison.id)
    await put(database, {"team": [poison, *rest]})
    (retry,) = await run_jobs(database, Deliveries(database, clock=clock), {"team": team})
    assert [taken.id for taken in team.taken] == [one.id for one in rest]
    assert await states(database) == {("team", DeliveryState.DELIVERED): 19, ("team", DeliveryState.PENDING): 1}
    assert "1 alerts left" in str(retry.reason)


async def test_alerts_that_no_one_can_take_do_not_hold_up_the_others_for_ever(database: Pool) -> None:
    all_of_them = alerts(8)
    poison, rest = all_of_them[:4], all_of_them[4:]
    team = Team(fails=lambda alert: alert in poison)
    await put(database, {"team": all_of_them})
    for _run in range(2):
        await run_jobs(database, Deliveries(database, clock=clock), {"team": team})
    assert [taken.id for taken in team.taken] == [one.id for one in rest]
    assert {one.id for one in team.tried} == {one.id for one in all_of_them}


async def test_hook_that_is_away_is_spared_the_rest_for_now(database: Pool) -> None:
    team = Team(fails=lambda _alert: True)
    await put(database, {"team": alerts(50)})
    (retry,) = await run_jobs(database, Deliveries(database, clock=clock), {"team": team})
    assert len(team.tried) == 3
    assert "50 alerts left" in str(retry.reason)


async def test_hook_that_stays_away_is_spared_the_alerts_that_are_dead(database: Pool) -> None:
    team = Team(fails=lambda _alert: True)
    await put(database, {"team": alerts(50, NOW - GIVE_UP_AFTER - timedelta(hours=1))})
    assert await run_jobs(database, Deliveries(database, clock=clock), {"team": team}, attempts=MANY) == []
    assert len(team.tried) == 3
    assert await states(database) == {("team", DeliveryState.DEAD): 50}


async def test_hook_with_a_defect_fails_like_any_other(database: Pool) -> None:
    def fails(alert: Alert) -> bool:
        return bool(alert.data["no such key"])

    await put(database, {"team": alerts(1)})
    (retry,) = await run_jobs(database, Deliveries(database, clock=clock), {"team": Team(fails=fails)})
    assert "1 alerts left" in str(retry.reason)
    assert await rows(database, "select state, last_answer from delivery") == [
        ("pending", "hooks.team: failed with KeyError")
    ]


async def test_alerts_of_a_hook_that_is_gone_wait_for_it_and_are_dead_in_the_end(database: Pool) -> None:
    now = NOW
    await put(database, {"gone": alerts(5)})
    deliveries = Deliveries(database, clock=lambda: now)
    async with database.acquire() as connection:
        assert await outbox.waiting_hooks(connection) == ["gone"]
    assert len(await run_jobs(database, deliveries, {})) == 1
    assert await states(database) == {("gone", DeliveryState.PENDING): 5}
    now = NOW + GIVE_UP_AFTER + timedelta(minutes=1)
    assert await run_jobs(database, deliveries, {}, attempts=MANY) == []
    assert await states(database) == {("gone", DeliveryState.DEAD): 5}
    assert await rows(database, "select distinct last_answer from delivery") == [
        ("hooks.gone: no such hook is configured any more",)
    ]
    async with database.acquire() as connection:
        assert await outbox.waiting_hooks(connection) == []


async def test_crash_between_delivery_and_its_note_sends_the_same_alert_again(database: Pool, tmp_path: Path) -> None:
    await put(database, {"team": alerts(1)})
    deliveries = Deliveries(database, clock=clock)
    async with receiving(answering(204)) as receiver, webhook_to(receiver, tmp_path) as hook:
        crashed = asyncio.create_task(run_jobs(database, deliveries, {"team": Crashing(hook)}))
        await asyncio.wait([crashed])
        assert crashed.cancelled()
        assert await states(database) == {("team", DeliveryState.PENDING): 1}
        assert await run_jobs(database, deliveries, {"team": hook}) == []
    (first, first_body), (again, again_body) = receiver.requests
    assert first["webhook-id"] == again["webhook-id"]
    assert first_body == again_body
    assert await states(database) == {("team", DeliveryState.DELIVERED): 1}


class Crashing:
    """Hands an alert over and then takes the whole process down, as far as a task can."""

    def __init__(self, hook: Hook) -> None:
        self.name = hook.name
        self._hook = hook

    async def deliver(self, message: Message, now: datetime) -> str:
        await self._hook.deliver(message, now)
        raise asyncio.CancelledError

    async def close(self) -> None:
        pass


class Hanging(Team):
    """Never answers."""

    async def deliver(self, message: Message, now: datetime) -> str:
        self.tried.extend(message.alerts)
        await asyncio.Event().wait()
        raise AssertionError("never")


async def test_draining_ends_in_time_whatever_hangs_and_leaves_the_rest_for_the_next_run(database: Pool) -> None:
    wanted = alerts(3)
    await put(database, {"hanging": wanted})
    async with asyncio.timeout(20):
        await drain(database, {"hanging": Hanging(name="hanging")}, clock=clock, seconds=0.1)
    assert await states(database) == {("hanging", DeliveryState.PENDING): 3}
    mended = Team(name="hanging")
    await drain(database, {"hanging": mended}, clock=clock, seconds=20)
    assert [taken.id for taken in mended.taken] == [one.id for one in wanted]


async def test_hook_that_hangs_holds_up_no_other(database: Pool) -> None:
    others = asyncio.Event()

    class Last(Team):
        async def deliver(self, message: Message, now: datetime) -> str:
            if message.id == wanted[-1].id:
                others.set()
            return await super().deliver(message, now)

    class Waiting(Team):
        async def deliver(self, message: Message, now: datetime) -> str:
            await others.wait()
            return await super().deliver(message, now)

    wanted = alerts(3)
    await put(database, {"hanging": wanted, "team": wanted})
    async with asyncio.timeout(20):
        await drain(database, {"hanging": Waiting(name="hanging"), "team": Last()}, clock=clock, seconds=60)
    assert await states(database) == {("hanging", DeliveryState.DELIVERED): 3, ("team", DeliveryState.DELIVERED): 3}


async def test_draining_that_is_cancelled_keeps_the_jobs_of_what_was_under_way(database: Pool) -> None:
    hanging = Hanging()
    await put(database, {"team": alerts(3)})
    draining = asyncio.create_task(drain(database, {"team": hanging}, clock=clock, seconds=60))
    async with asyncio.timeout(20):
        while not hanging.tried:  # noqa: ASYNC110 -- what it waits for tells nobody
            await asyncio.sleep(0.01)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
    team = Team()
    await drain(database, {"team": team}, clock=clock, seconds=20)
    assert len(team.taken) == 3


async def test_delivery_that_is_under_way_at_a_stop_may_end(database: Pool) -> None:
    begun = asyncio.Event()

    class Slow(Team):
        async def deliver(self, message: Message, now: datetime) -> str:
            begun.set()
            await asyncio.sleep(0.1)
            return await super().deliver(message, now)

    slow = Slow()
    await put(database, {"team": alerts(3)})
    deliveries = Deliveries(database, clock=clock)
    running = asyncio.create_task(run_jobs(database, deliveries, {"team": slow}))
    await begun.wait()
    deliveries.stop(20)
    (retry,) = await running
    assert retry.delay == timedelta(0)
    assert await states(database) == {("team", DeliveryState.DELIVERED): 1, ("team", DeliveryState.PENDING): 2}


async def test_jobs_that_failed_with_the_database_are_not_lost(database: Pool) -> None:
    """What PgQueuer does to a job of ours whose function raises; and to one whose worker died."""
    await put(database, {"team": alerts(101)})
    async with database.acquire() as connection:
        await connection.execute("update queue_job set status = 'failed' where id = (select min(id) from queue_job)")
    team = Team()
    await drain(database, {"team": team}, clock=clock, seconds=20)
    assert len(team.taken) == 101


async def test_alert_that_several_jobs_name_is_delivered_by_one_of_them(database: Pool) -> None:
    """As after ``auditor alerts retry`` of a dead one whose job still waits with others."""

    class Slow(Team):
        async def deliver(self, message: Message, now: datetime) -> str:
            await asyncio.sleep(0.05)
            return await super().deliver(message, now)

    slow, wanted = Slow(), alerts(3)
    await put(database, {"team": wanted})
    async with database.acquire() as connection:
        await connection.execute("update delivery set state = 'dead' where alert_id = $1", wanted[0].id)
        await dead_letters.retry(connection, NOW, hook="team", alert=None)
    assert await rows(database, "select count(*) from queue_job") == [(2,)]
    await drain(database, {"team": slow}, clock=clock, seconds=20)
    assert [one.id for one in slow.taken] == [one.id for one in wanted]
    assert await rows(database, "select count(*) from queue_job") == [(0,)]


@pytest.mark.parametrize(
    ("standing", "is_elsewhere"),
    [
        ("status = 'picked', heartbeat = now()", True),
        ("status = 'picked', heartbeat = now() - interval '16 seconds'", False),
        ("status = 'queued'", False),
        ("status = 'failed'", False),
    ],
)
async def test_claim_lasts_while_the_worker_of_its_job_is_heard_of(
    database: Pool, standing: str, is_elsewhere: bool
) -> None:
    wanted = alerts(1)
    await put(database, {"team": wanted})
    work = outbox.Job("team", (UUID(wanted[0].id),))
    async with database.acquire() as connection:
        job = await connection.fetchval("select id from queue_job")
        (own,) = await outbox.claim(connection, work, job, HEARTBEAT)
        await connection.execute(f"update queue_job set {standing}")
        (other,) = await outbox.claim(connection, work, job + 1, HEARTBEAT)
    assert (own.is_elsewhere, other.is_elsewhere) == (False, is_elsewhere)
