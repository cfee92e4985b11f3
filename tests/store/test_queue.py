"""The queue's jobs and the clock of the database, by which they wait."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from pgqueuer.models import Job
from pgqueuer.qm import QueueManager

from auditor.store.connection import Pool
from auditor.store.queue import CHANNEL, enqueue, follow_clock, queue_of, register, retry_failed

HOUR = timedelta(hours=1)


async def test_clock_of_the_database_that_is_stepped_back_keeps_no_job_waiting(database: Pool) -> None:
    async with database.acquire() as connection:
        await enqueue(connection, "sweep:prod", [b"{}"], delay=HOUR)
        assert await follow_clock(connection) == 0
        # To a clock that was stepped back by a day, what it wrote before is a day ahead.
        await connection.execute(
            """
            update queue_job set execute_after = execute_after + $1, heartbeat = heartbeat + $1, updated = updated + $1
            """,
            timedelta(days=1),
        )
        assert await follow_clock(connection) == 1
        delay = await connection.fetchval("select execute_after - now() from queue_job")
        heard = await connection.fetchval("select now() - heartbeat from queue_job")
        assert HOUR - timedelta(minutes=1) < delay <= HOUR
        assert timedelta(0) <= heard < timedelta(minutes=1)
        assert await follow_clock(connection) == 0


async def test_job_that_could_not_be_put_back_is_tried_again_after_a_minute(database: Pool) -> None:
    async with database.acquire() as connection:
        await enqueue(connection, "deliver:team", [b"1"], dedupe_keys=["key"])
        await connection.execute("update queue_job set status = 'failed', updated = now() - interval '50 seconds'")
        await enqueue(connection, "deliver:team", [b"2"], dedupe_keys=["key"])
        assert await retry_failed(connection) == 0
        await connection.execute("update queue_job set updated = updated - interval '11 seconds'")
        assert await retry_failed(connection) == 1
        rows = await connection.fetch("select status, dedupe_key from queue_job order by id")
        assert [tuple(row) for row in rows] == [("queued", None), ("queued", "key")]


async def test_job_that_is_cancelled_goes_back_into_the_queue(database: Pool) -> None:
    begun = asyncio.Event()

    async def work(_job: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    queue = QueueManager(queue_of(database), CHANNEL)
    register(queue, "deliver:team", work)
    async with database.acquire() as connection:
        await enqueue(connection, "deliver:team", [b"1"])
        running = asyncio.create_task(queue.run())
        await begun.wait()
        for _time in range(2):  # the first has it wait for what is under way, the second reaches that
            running.cancel()
            await asyncio.sleep(0.05)
        with suppress(asyncio.CancelledError):
            await running
        assert await connection.fetchval("select status from queue_job") == "queued"


async def test_listener_is_not_taken_for_lost_that_is_probed_before_it_listens(database: Pool) -> None:
    queue = QueueManager(queue_of(database), CHANNEL)
    async with asyncio.TaskGroup() as tasks:
        probing = tasks.create_task(queue.listener_healthy(timedelta(seconds=10)))
        await asyncio.sleep(0.1)  # as where the connection of the probe is the faster one
        tasks.create_task(queue.run())
        await probing
        queue.shutdown.set()
