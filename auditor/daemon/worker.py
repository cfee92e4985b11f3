"""Works the queue: sweeps, one at a time for an environment, reports, and deliveries to hooks."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self
from uuid import UUID, uuid5

import msgspec
import structlog
from pgqueuer import RetryRequested
from pgqueuer.errors import FailingListenerError
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.types import QueueManagerId

from auditor.alerts.deliveries import HEARTBEAT, JOBS_AT_ONCE, Deliveries, wait_after
from auditor.alerts.refreshing import Refresher
from auditor.config.assembly import Assembly
from auditor.config.scheduled_reports import ReportSettings
from auditor.daemon import reports
from auditor.daemon.measurements import Measurements
from auditor.daemon.reports import Reporter
from auditor.daemon.role import Role
from auditor.model.errors import StoreUnavailable, SweepUnderWay, ungrouped
from auditor.model.sweep import SweepStatus
from auditor.store import outbox, sweeps
from auditor.store.connection import Pool
from auditor.store.database import translated, until_lost
from auditor.store.queue import CHANNEL, enqueue, follow_clock, queue_of, register, release, retry_failed
from auditor.store.retention import agreed
from auditor.sweep.due import Due
from auditor.sweep.pruning import prune
from auditor.sweep.side_by_side import SideBySide
from auditor.sweep.sweeper import sweep

_POLL: Final = timedelta(seconds=2)
_REFRESH_SECONDS: Final = 30.0
"""How often it is looked which hooks must be told again what stands."""
_LOOK_SECONDS: Final = 5.0
"""How often it is asked for digests that close."""
_LOOKS_A_THOROUGH: Final = 12
"""Every so many looks findings are looked at, too."""
_PRUNE_SECONDS: Final = 3600.0
"""How often it is looked for what is older than it is kept."""
_PATIENCE_SECONDS: Final = 5.0
"""How long deliveries under way may take to end once the worker stops."""

_TRIES_TO_OWN: Final = 6
"""So often, over about a minute, a sweep waits for its environment's owner: one that died may be that for a while."""
_SWEEPS_A_LOOK: Final = 10
"""How many sweeps are taken from the queue at a time."""

_LOST: Final = "the connection to PostgreSQL was lost"

log = structlog.get_logger(__name__)


class SweepJob(msgspec.Struct, frozen=True):
    """What a queued sweep says."""

    environment: str
    slot: datetime


@dataclass(slots=True, eq=False)
class _Parts:
    """A configuration's open parts; the last that lets go of them closes them."""

    assembly: Assembly
    stack: AsyncExitStack
    due: Due
    uses: int = 1

    async def let_go(self) -> None:
        self.uses -= 1
        if not self.uses:
            await self.stack.aclose()


class Worker:
    """The part of the service that works while the database is open: the queue, what falls due, or both, by its role.

    ``worker_id`` stays the same when the database is opened anew, so that a worker knows what it had begun.
    """

    def __init__(
        self,
        pool: Pool,
        reporter: Reporter,
        *,
        role: Role,
        worker_id: UUID,
        clock: Callable[[], datetime],
        measurements: Measurements,
        stopping: asyncio.Event,
    ) -> None:
        self.pool = pool
        self._reporter = reporter
        self.sweeping: set[str] = set()
        """Environments being swept by this process."""
        self._role = role
        self._clock = clock
        self._measurements = measurements
        self._stopping = stopping
        self._queue = _queue_manager(pool, worker_id)
        self._sweeps = _queue_manager(pool, uuid5(worker_id, "sweeps"))
        """Works the queue for sweeps alone: takes no more than can have their turn, and leaves the rest to others."""
        self._deliveries = Deliveries(pool, clock=clock, telemetry=measurements)
        self._refresher = Refresher(pool, clock)
        self._parts: _Parts | None = None
        self._side_by_side: SideBySide | None = None
        self._is_lost = False

    async def __aenter__(self) -> Self:
        with translated():
            async with self.pool.acquire() as connection:
                for queue in (self._queue, self._sweeps):
                    await release(connection, queue.queue_manager_id)
                for hook in await outbox.waiting_hooks(connection):
                    self._deliver_to(hook)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._parts is not None:
            await self._parts.let_go()

    async def use(self, assembly: Assembly, stack: AsyncExitStack) -> None:
        """Put a configuration's parts in force; those before are closed when nothing uses them any more."""
        before, self._parts = self._parts, _Parts(assembly, stack, assembly.due(self.pool))
        document = assembly.config.document
        if self._side_by_side is None:
            self._side_by_side = SideBySide(
                self.pool, connections=document.database.connections, at_once=document.sweeps.at_once
            )
        for name in document.environments:
            register(self._sweeps, _entrypoint_of(name), self._sweep)
        for name in document.reports:
            register(self._queue, reports.entrypoint_of(name), self._report)
        for name in assembly.hooks:
            self._deliver_to(name)
        if before is not None:
            await before.let_go()

    def _deliver_to(self, hook: str) -> None:
        register(self._queue, outbox.entrypoint_of(hook), self._deliver, at_once=JOBS_AT_ONCE)

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[Assembly]:
        """Give the parts in force, which stay open for the length of the block."""
        parts = self._parts
        assert parts is not None
        parts.uses += 1
        try:
            yield parts.assembly
        finally:
            await parts.let_go()

    async def run(self) -> None:
        """Do what the role says until stopped; raises ``StoreUnavailable`` where the database goes away."""
        try:
            with translated(), ungrouped():
                async with asyncio.TaskGroup() as tasks:
                    beside = [tasks.create_task(self._guard())]
                    if self._role.is_scheduler:
                        beside.append(tasks.create_task(self._make_due()))
                        beside.append(tasks.create_task(self._prune()))
                    if self._role.is_worker:
                        beside.append(tasks.create_task(self._refresh()))
                        sweeps = tasks.create_task(self._run_sweeps())
                        await self._queue.run(
                            dequeue_timeout=_POLL, heartbeat_timeout=HEARTBEAT, shutdown_on_listener_failure=True
                        )
                        await sweeps
                    else:
                        await self._queue.shutdown.wait()
                    for task in beside:
                        task.cancel()
        except (FailingListenerError, StoreUnavailable) as error:
            if self._is_lost or isinstance(error, FailingListenerError):
                raise StoreUnavailable(_LOST) from error
            raise
        if self._is_lost:
            raise StoreUnavailable(_LOST)

    async def _run_sweeps(self) -> None:
        assert self._parts is not None
        most = max(self._parts.assembly.config.document.sweeps.at_once, 2)
        await self._sweeps.run(
            dequeue_timeout=_POLL,
            batch_size=min(_SWEEPS_A_LOOK, most // 2),
            max_concurrent_tasks=most,
            heartbeat_timeout=HEARTBEAT,
            shutdown_on_listener_failure=True,
        )
        self.stop()

    async def _make_due(self) -> None:
        """Put into the outbox what is due between sweeps, again and again; other replicas do so, too."""
        for look in itertools.count():
            async with self.pool.acquire() as connection:
                if jobs := await follow_clock(connection):
                    log.warning("database_clock_stepped", jobs=jobs, effect="queued work goes by the new time")
                if jobs := await retry_failed(connection):
                    log.warning("failed_jobs_retried", jobs=jobs)
            async with self._in_use():
                assert self._parts is not None
                await self._parts.due.make(self._clock(), is_thorough=look % _LOOKS_A_THOROUGH == 0)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _prune(self) -> None:
        """Remove what is older than it is kept, again and again; of all replicas one does so at a time."""
        while True:
            async with self._in_use() as assembly:
                kept = assembly.config.document.retention.spans
            await prune(self.pool, kept, await agreed(self.pool, self._clock()), telemetry=self._measurements)
            await asyncio.sleep(_PRUNE_SECONDS)

    async def _guard(self) -> None:
        """Stop as soon as the database goes away, which the queue would notice only when it next asks for jobs."""
        async with self.pool.acquire() as connection:
            await until_lost(connection)
        self._is_lost = True
        self.stop()

    async def _refresh(self) -> None:
        """Tell hooks again what stands, again and again; other replicas do so, too."""
        while True:
            async with self._in_use() as assembly:
                await self._refresher.run(assembly.hooks)
            await asyncio.sleep(_REFRESH_SECONDS)

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns when what is under way has ended."""
        self._queue.shutdown.set()
        self._sweeps.shutdown.set()
        self._deliveries.stop(_PATIENCE_SECONDS)

    async def fire(self, globs: Sequence[str], slot: datetime, jitter: timedelta) -> None:
        """Enqueue the sweeps of a schedule's slot, unless another replica, or a sweep since, has taken it.

        Each is to begin at an instant of its own, ``jitter`` later at most, so that they do not all begin at once.
        Raises ``StoreUnavailable`` where the database is away; a slot that was not taken can be fired again.
        """
        async with self._in_use() as assembly:
            config = assembly.config
            with translated():
                for name in config.environments_matching(globs):
                    delay = jitter * random.random()  # noqa: S311 -- no secret
                    await self._enqueue(name, config.document.environments[name].url, slot, delay)

    async def _enqueue(self, name: str, url: str, slot: datetime, delay: timedelta) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            environment = await sweeps.environment_id(connection, name, url)
            if not await sweeps.take_slot(connection, environment, slot, self._clock()):
                return
            enqueued = await enqueue(
                connection,
                _entrypoint_of(name),
                [msgspec.json.encode(SweepJob(name, slot))],
                dedupe_keys=[_entrypoint_of(name)],
                delay=delay,
            )
        note = log.bind(environment=name, slot=slot.isoformat())
        if enqueued:
            note.info("sweep_enqueued", delay_seconds=round(delay.total_seconds()))
        else:
            note.warning("slot_passed_over", reason="an earlier slot's sweep has not ended, or waits out its jitter")

    async def _sweep(self, job: Job) -> None:
        """Run one queued sweep; one that is cut short by a stop, or by the database, is left to whoever comes next."""
        name = msgspec.json.decode(job.payload or b"", type=SweepJob).environment
        side_by_side = self._side_by_side
        assert side_by_side is not None
        async with side_by_side.turns, self._in_use() as assembly:
            if name not in assembly.clients:
                log.warning("sweep_dropped", environment=name, reason="the environment is not configured any more")
                return
            if self._stopping.is_set():
                raise RetryRequested(reason="auditor was asked to stop")
            subject = await asyncio.to_thread(assembly.subject, name)
            self.sweeping.add(name)
            try:
                summary = await sweep(
                    self.pool,
                    subject,
                    side_by_side=side_by_side,
                    telemetry=self._measurements,
                    stopping=self._stopping,
                )
            except SweepUnderWay as error:
                if job.attempts < _TRIES_TO_OWN:
                    log.info("sweep_waits", environment=name, reason=str(error))
                    raise RetryRequested(wait_after(job.attempts), str(error)) from error
                log.warning("sweep_skipped", environment=name, reason=str(error))
                return
            except StoreUnavailable as error:
                log.error("sweep_cut_short", environment=name, reason=str(error))
                raise RetryRequested(wait_after(job.attempts), str(error)) from error
            except asyncio.CancelledError:
                log.error(
                    "sweep_cut_short", environment=name, reason="the work beside it failed; see what is said next"
                )
                raise
            finally:
                self.sweeping.discard(name)
        if summary.status is SweepStatus.RUNNING:
            raise RetryRequested(reason="auditor was asked to stop")

    async def fire_report(self, name: str, settings: ReportSettings, slot: datetime) -> None:
        """Enqueue the report of a slot, unless another replica has; raises ``StoreUnavailable`` as ``fire`` does."""
        with translated():
            await self._reporter.take(name, settings, slot)

    async def _report(self, job: Job) -> None:
        async with self._in_use() as assembly:
            await self._reporter.run_job(job, assembly.config, assembly.routing, self._stopping)

    async def _deliver(self, job: Job) -> None:
        async with self._in_use() as assembly:
            await self._deliveries.run_job(job, assembly.hooks, assembly.routing)

    @property
    def environments(self) -> Collection[str]:
        """The names of the environments that are configured."""
        assert self._parts is not None
        return self._parts.assembly.config.document.environments.keys()

    def status(self, next_at: datetime | None, swept_beside: Collection[str] = ()) -> str:
        """Say in one line what the service does, for ``systemctl status``; its other processes sweep what is beside."""
        sweeping = sorted(self.sweeping.union(swept_beside))
        doing = f"sweeping {', '.join(sweeping)}" if sweeping else "idle"
        if not self._role.is_worker:
            doing = "scheduling for workers elsewhere"
        following = f"next schedule fires {next_at:%Y-%m-%d %H:%M %Z}" if next_at else "no schedule"
        if not self._role.is_scheduler:
            following = "schedulers elsewhere"
        return f"{len(self.environments)} environments; {doing}; {following}"


def _queue_manager(pool: Pool, number: UUID) -> QueueManager:
    manager = QueueManager(queue_of(pool), CHANNEL)
    manager.queue_manager_id = QueueManagerId(number)
    return manager


def _entrypoint_of(environment: str) -> str:
    """The queue's name for an environment's sweeps: one an environment, so that they never overlap."""
    return f"sweep:{environment}"
