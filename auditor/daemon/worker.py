"""Works the queue: sweeps that schedules enqueued, one at a time for an environment, and deliveries to hooks."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

import msgspec
import structlog
from pgqueuer.errors import FailingListenerError
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager

from auditor.alerts.base import Hook
from auditor.alerts.deliveries import HEARTBEAT, Deliveries
from auditor.config.assembly import Assembly
from auditor.model.errors import StoreUnavailable, SweepUnderWay
from auditor.store import sweeps
from auditor.store.connection import Pool
from auditor.store.database import translated
from auditor.store.outbox import entrypoint_of
from auditor.store.queue import CHANNEL, enqueue, queue_of
from auditor.sweep.sweeper import sweep
from auditor.web.metrics import Metrics

_POLL: Final = timedelta(seconds=10)
_RETIRE_SECONDS: Final = 30.0
"""How long the hooks of a configuration that was replaced stay open for deliveries under way."""

log = structlog.get_logger(__name__)


class SweepJob(msgspec.Struct, frozen=True):
    """What a queued sweep says."""

    environment: str
    slot: datetime


class Worker:
    """The part of the service that works while the database is open."""

    def __init__(self, pool: Pool, *, clock: Callable[[], datetime], metrics: Metrics, stopping: asyncio.Event) -> None:
        self.pool = pool
        self.sweeping: set[str] = set()
        """Environments being swept by this process."""
        self._clock = clock
        self._metrics = metrics
        self._stopping = stopping
        self._queue = QueueManager(queue_of(pool), CHANNEL)
        self._deliveries = Deliveries(pool, self._hooks, clock=clock, telemetry=metrics)
        self._assembly: Assembly | None = None
        self._parts: AsyncExitStack | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._sweeps: asyncio.Semaphore | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self._parts is not None:
            await self._parts.aclose()

    async def use(self, opened: tuple[Assembly, AsyncExitStack]) -> None:
        """Put a configuration's parts in force; those before are closed when nothing uses them any more."""
        if self._parts is not None:
            task = asyncio.create_task(self._retire(self._parts))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._assembly, self._parts = opened
        document = self._assembly.config.document
        if self._sweeps is None:
            self._sweeps = asyncio.Semaphore(document.database.sweeps_at_once)
        for name in document.environments:
            if _entrypoint_of(name) not in self._queue.entrypoint_registry:
                self._queue.entrypoint(_entrypoint_of(name), concurrency_limit=1)(self._sweep)
        for name in self._assembly.hooks:
            if entrypoint_of(name) not in self._queue.entrypoint_registry:
                self._deliveries.register(self._queue, name)

    async def _retire(self, parts: AsyncExitStack) -> None:
        try:
            await self._idle.wait()
            await asyncio.sleep(_RETIRE_SECONDS)
        finally:
            await parts.aclose()

    async def run(self) -> None:
        """Work the queue until stopped; raises ``StoreUnavailable`` where the database goes away."""
        try:
            with translated():
                await self._queue.run(
                    dequeue_timeout=_POLL, heartbeat_timeout=HEARTBEAT, shutdown_on_listener_failure=True
                )
        except FailingListenerError as error:
            raise StoreUnavailable("the connection that listens for jobs was lost") from error

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns when what is under way has ended."""
        self._queue.shutdown.set()

    async def fire(self, schedule: str, slot: datetime, delay: timedelta) -> None:
        """Enqueue the sweeps of a schedule's slot, unless another replica, or a sweep since, has taken it."""
        assert self._assembly is not None
        config = self._assembly.config
        settings = config.document.schedules.get(schedule)
        if settings is None:  # the schedule went with a reload while it was firing
            return
        with translated():
            for name in config.environments_matching(settings.environments):
                await self._enqueue(name, config.document.environments[name].url, slot, delay)

    async def _enqueue(self, name: str, url: str, slot: datetime, delay: timedelta) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            environment = await sweeps.environment_id(connection, name, url)
            if await sweeps.take_slot(connection, environment, slot):
                await enqueue(
                    connection,
                    _entrypoint_of(name),
                    [msgspec.json.encode(SweepJob(name, slot))],
                    dedupe_keys=[f"{_entrypoint_of(name)}:{slot.isoformat()}"],
                    delay=delay,
                )
                log.info(
                    "sweep_enqueued",
                    environment=name,
                    slot=slot.isoformat(),
                    delay_seconds=round(delay.total_seconds()),
                )

    async def _sweep(self, job: Job) -> None:
        wanted = msgspec.json.decode(job.payload or b"", type=SweepJob)
        name = wanted.environment
        assert self._assembly is not None
        assert self._sweeps is not None
        if name not in self._assembly.clients:
            log.warning("sweep_dropped", environment=name, reason="the environment is not configured any more")
            return
        async with self._sweeps:
            if self._stopping.is_set():
                return
            subject = await asyncio.to_thread(self._assembly.subject, name)
            self.sweeping.add(name)
            self._idle.clear()
            try:
                await sweep(self.pool, subject, telemetry=self._metrics, stopping=self._stopping)
            except SweepUnderWay as error:
                log.warning("sweep_skipped", environment=name, reason=str(error))
            finally:
                self.sweeping.discard(name)
                if not self.sweeping:
                    self._idle.set()

    def _hooks(self) -> Mapping[str, Hook]:
        return self._assembly.hooks if self._assembly else {}

    def status(self, next_at: datetime | None) -> str:
        """Say in one line what the service does, for ``systemctl status``."""
        assert self._assembly is not None
        doing = f"sweeping {', '.join(sorted(self.sweeping))}" if self.sweeping else "idle"
        following = f"; next schedule fires {next_at:%Y-%m-%d %H:%M %Z}" if next_at else "; no schedule"
        return f"{len(self._assembly.clients)} environments; {doing}{following}"


def _entrypoint_of(environment: str) -> str:
    """The queue's name for an environment's sweeps: one an environment, so that they never overlap."""
    return f"sweep:{environment}"
