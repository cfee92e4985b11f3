"""The outbox: alerts, deliveries and jobs that live and die with a transaction."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import msgspec
import pytest
from pgqueuer.models import Job as QueuedJob

from auditor.model.finding import Alert, Severity
from auditor.store import outbox
from auditor.store.connection import Connection, Pool
from auditor.store.outbox import ALERTS_A_JOB, DeliveryState, Job
from auditor.store.queue import enqueue, release
from tests.store.history import HOUR, NOW


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


def alerts(number: int) -> list[Alert]:
    return [
        Alert(
            id=outbox.new_id(),
            event="finding.opened",
            severity=Severity.HIGH,
            environment="prod",
            at=NOW + index * HOUR,
            data={"text": "<b> \N{SNOWMAN} \N{REPLACEMENT CHARACTER}", "number": 1.5, "nothing": None, "list": [{}]},
        )
        for index in range(number)
    ]


async def pending(connection: Connection, job: Job) -> list[Alert]:
    return [alert for one in await outbox.pending(connection, job) for alert in one.message.alerts]


async def jobs(connection: Connection) -> list[tuple[str, Job]]:
    return [
        (row["entrypoint"], msgspec.json.decode(row["payload"], type=Job))
        for row in await connection.fetch("select entrypoint, payload from queue_job order by id")
    ]


async def test_transaction_that_is_rolled_back_leaves_nothing(connection: Connection) -> None:
    async def fail() -> None:
        async with connection.transaction():
            await outbox.add(connection, {"team": alerts(3)})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    for table in ("alert", "delivery", "queue_job"):
        assert await connection.fetchval(f"select count(*) from {table}") == 0


async def test_alert_that_several_hooks_want_is_stored_once_and_comes_out_as_it_went_in(connection: Connection) -> None:
    alert, only = alerts(2)
    await outbox.add(connection, {"team": [alert, only], "ops": [alert]})
    assert await connection.fetchval("select count(*) from alert") == 2
    by_hook = dict(await jobs(connection))
    assert list(by_hook) == ["deliver:team", "deliver:ops"]
    assert await pending(connection, by_hook["deliver:team"]) == [alert, only]
    assert await pending(connection, by_hook["deliver:ops"]) == [alert]


async def test_no_alert_makes_no_job(connection: Connection) -> None:
    await outbox.add(connection, {})
    await outbox.add(connection, {"team": []})
    assert await jobs(connection) == []


async def test_many_alerts_are_divided_into_jobs(connection: Connection) -> None:
    many = alerts(2 * ALERTS_A_JOB + 1)
    await outbox.add(connection, {"team": many})
    sizes = [len(job.alerts) for _entrypoint, job in await jobs(connection)]
    assert sizes == [ALERTS_A_JOB, ALERTS_A_JOB, 1]
    named = [number for _entrypoint, job in await jobs(connection) for number in job.alerts]
    assert named == [UUID(alert.id) for alert in many]


async def test_what_was_delivered_or_is_dead_is_pending_no_more(connection: Connection) -> None:
    first, second, third = alerts(3)
    await outbox.add(connection, {"team": [first, second, third]})
    ((_entrypoint, job),) = await jobs(connection)
    await outbox.note(connection, "team", first.id, state=DeliveryState.DELIVERED, answer="HTTP 204", now=NOW)
    await outbox.note(connection, "team", second.id, state=DeliveryState.DEAD, answer="HTTP 500", now=NOW)
    await outbox.note(connection, "team", third.id, state=DeliveryState.PENDING, answer="HTTP 500", now=NOW)
    assert await pending(connection, job) == [third]
    assert await outbox.count(connection) == {
        ("team", DeliveryState.DELIVERED): 1,
        ("team", DeliveryState.DEAD): 1,
        ("team", DeliveryState.PENDING): 1,
    }
    assert await outbox.waiting_hooks(connection) == ["team"]
    await outbox.note(connection, "team", third.id, state=DeliveryState.DELIVERED, answer="HTTP 204", now=NOW + HOUR)
    row = await connection.fetchrow(
        "select state, attempts, last_answer, last_attempt_at from delivery where alert_id = $1", third.id
    )
    assert tuple(row or ()) == ("delivered", 2, "HTTP 204", NOW + HOUR)
    assert await outbox.waiting_hooks(connection) == []


async def test_second_job_with_the_same_dedupe_key_is_left_out(connection: Connection) -> None:
    keys = ["sweep:prod:1"]
    assert await enqueue(connection, "sweep:prod", [b"1"], dedupe_keys=keys) == 1
    assert await enqueue(connection, "sweep:prod", [b"2"], dedupe_keys=keys) == 0
    assert await enqueue(connection, "sweep:prod", [b"2"], dedupe_keys=["sweep:prod:2"]) == 1


async def test_jobs_that_failed_and_those_of_a_worker_that_lost_them_are_queued_again(connection: Connection) -> None:
    mine, others = uuid4(), uuid4()
    await enqueue(connection, "sweep:prod", [b"failed", b"mine", b"others", b"queued"])
    await connection.execute("update queue_job set status = 'failed', dedupe_key = 'key' where payload = 'failed'")
    assert await enqueue(connection, "sweep:prod", [b"later"], dedupe_keys=["key"]) == 1
    for worker, payload in ((mine, b"mine"), (others, b"others")):
        await connection.execute(
            "update queue_job set status = 'picked', queue_manager_id = $1, heartbeat = now() where payload = $2",
            worker,
            payload,
        )
    await release(connection, mine)
    found = [
        QueuedJob.model_validate(dict(row)) for row in await connection.fetch("select * from queue_job order by id")
    ]
    assert [(job.payload, job.status, job.queue_manager_id) for job in found] == [
        (b"failed", "queued", None),
        (b"mine", "queued", None),
        (b"others", "picked", others),
        (b"queued", "queued", None),
        (b"later", "queued", None),
    ]
