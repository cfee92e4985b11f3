"""The job queue (PgQueuer) in our database: its tables' names, and enqueueing inside a transaction of ours."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from pgqueuer import Queries, RetryRequested
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel
from pgqueuer.models import Job
from pgqueuer.ports.driver import Driver, NotifyCallback
from pgqueuer.qm import QueueManager

from auditor.store.connection import Connection, Pool

CHANNEL: Final = Channel("auditor_queue")

_QUEUED_AGAIN: Final = """
    status = 'queued', queue_manager_id = null, execute_after = now(), updated = now(),
    -- Another job may have taken the key of one that failed.
    dedupe_key = case status when 'failed' then null else dedupe_key end
"""

# Every name is given: PgQueuer would else take names from variables such as FUNCTION or CHANNEL in the environment.
_SETTINGS: Final = DBSettings(
    prefix="",
    db_schema=None,
    channel=CHANNEL,
    function="queue_changed",
    statistics_table="queue_statistics",
    queue_status_type="queue_status",
    queue_table="queue_job",
    queue_table_log="queue_log",
    trigger="queue_changed",
    schedules_table="queue_schedule",
    durability=Durability.balanced,
    widen_id=True,
)


class _Driver(AsyncpgPoolDriver):
    """Sends no notification before it listens: PgQueuer's first probe of the listener is one.

    The probe goes out on another connection than the one that listens, and is the faster now and then. Nobody hears it
    then, and ten seconds later the database would be taken for lost.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._listens = asyncio.Event()

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        await super().add_listener(channel, callback)
        self._listens.set()

    async def notify(self, channel: str, payload: str) -> None:
        await self._listens.wait()
        await super().notify(channel, payload)


def queue_of(pool: Pool) -> Queries:
    """Return the queue over a pool, for a worker; the pool needs two connections at least."""
    return _queries(_Driver(pool))


def register(queue: QueueManager, entrypoint: str, work: Callable[[Job], Awaitable[None]], *, at_once: int = 1) -> None:
    """Have a queue's jobs of an entrypoint worked, of all workers so many at once; one that is already stays.

    A job that fails is kept. So is one that is cancelled, which PgQueuer alone would drop: what is cancelled is the
    worker, over an error elsewhere for instance, and not the work.
    """

    async def worked(job: Job) -> None:
        try:
            await work(job)
        except asyncio.CancelledError as error:
            raise RetryRequested(reason="its worker was cancelled") from error

    if entrypoint not in queue.entrypoint_registry:
        queue.entrypoint(entrypoint, concurrency_limit=at_once, on_failure="hold")(worked)


async def install_queue(connection: Connection) -> None:
    """Make or upgrade the queue's tables; the caller holds the migration lock."""
    queries = _queries(AsyncpgDriver(connection))
    if await queries.schema_is_installed():
        await queries.upgrade()
    else:
        await queries.install()


async def enqueue(
    connection: Connection,
    entrypoint: str,
    payloads: Sequence[bytes],
    *,
    dedupe_keys: Sequence[str | None] | None = None,
    delay: timedelta | None = None,
) -> int:
    """Add jobs in the connection's transaction and return how many were added.

    No worker takes them before ``delay`` has passed. A job whose dedupe key is queued or running already is left out.
    """
    if not payloads:
        return 0
    ids = await _queries(AsyncpgDriver(connection)).enqueue(
        [entrypoint] * len(payloads),
        list(payloads),
        [0] * len(payloads),
        execute_after=[delay] * len(payloads),
        dedupe_key=list(dedupe_keys) if dedupe_keys else None,
        on_conflict="skip",
    )
    return sum(job_id is not None for job_id in ids)


async def hasten(connection: Connection, entrypoint: str) -> int:
    """Let the jobs of an entrypoint begin at once that wait for a later try; return how many."""
    rows = await connection.fetch(
        """
        update queue_job set execute_after = now(), updated = now()
        where entrypoint = $1 and status = 'queued' and execute_after > now() returning id
        """,
        entrypoint,
    )
    return len(rows)


async def follow_clock(connection: Connection) -> int:
    """Bring back the jobs that the database's clock, stepped back, left in its future; return how many.

    Else they would wait for as long as the step was, and so would those whose worker is dead.
    """
    done = await connection.fetch(
        """
        with stray as (
            select id, greatest(updated, heartbeat) - now() as ahead from queue_job
            where greatest(updated, heartbeat) > now() + interval '1 minute'
            for update skip locked
        )
        update queue_job j set execute_after = execute_after - ahead, updated = updated - ahead,
            heartbeat = heartbeat - ahead
        from stray where j.id = stray.id returning j.id
        """
    )
    return len(done)


async def retry_failed(connection: Connection) -> int:
    """Queue again the jobs that failed a minute ago or longer, as ``release`` does; return how many.

    A job fails when it cannot even be put back into the queue: the disk is full, or its connection alone was cut.
    """
    done = await connection.fetch(
        f"""
        update queue_job set {_QUEUED_AGAIN}
        where status = 'failed' and updated < now() - interval '1 minute' returning id
        """
    )
    return len(done)


async def release(connection: Connection, worker: UUID | None = None) -> None:
    """Queue again the jobs that failed, and those that a worker had begun; call it before that worker begins any.

    Jobs are kept, not dropped, when they fail: the database may have gone away under them.
    """
    await connection.execute(
        f"""
        update queue_job set {_QUEUED_AGAIN}
        where status = 'failed' or (status = 'picked' and queue_manager_id = $1)
        """,
        worker,
    )


def _queries(driver: Driver) -> Queries:
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(_SETTINGS),
        qbq=QueryQueueBuilder(_SETTINGS),
        qbs=QuerySchedulerBuilder(_SETTINGS),
    )
