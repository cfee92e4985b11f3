"""The service: opens the database and the parts, works the queue, and takes signals.

It survives a database that is away: it waits with a backoff and opens everything anew. A reload that fails changes
nothing. Stopping lets batches under way be recorded and nothing new begin.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from auditor.config.assembly import Assembly, assembled
from auditor.config.database import opened
from auditor.config.load import Config
from auditor.credentials.reference import Resolver
from auditor.daemon.notify import Notifier
from auditor.daemon.schedules import Schedules
from auditor.daemon.worker import Worker
from auditor.model.errors import AuditorError, ConfigError, StoreUnavailable
from auditor.store.connection import Pool
from auditor.web.endpoint import Endpoint, listening
from auditor.web.metrics import Metrics

_BACKOFF_FIRST: Final = 1.0
_BACKOFF_LONGEST: Final = 60.0
_STATUS_SECONDS: Final = 15.0
_RESTART_ONLY: Final = ("database", "encryption", "web")

log = structlog.get_logger(__name__)


class Service:
    """One running ``auditor run``.

    ``load`` reads the configuration anew and sets up the log; it raises ``ConfigError``.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        *,
        environ: Mapping[str, str],
        state: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._load = load
        self._environ = environ
        self._state = state
        self._clock = clock
        self._notifier = Notifier(environ)
        self._metrics = Metrics()
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._pool: Pool | None = None
        self._why_not_ready: str | None = "starting"

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ``ConfigError`` or ``StoreMismatch`` where it cannot start at all."""
        config = await asyncio.to_thread(self._load)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        endpoint = Endpoint(self._metrics, lambda: self._pool, lambda: self._why_not_ready)
        async with listening(endpoint, config.document.web.listen) as where:
            log.info("service_started", config=str(config.path), listen=where)
            async with asyncio.TaskGroup() as tasks:
                watchdog = tasks.create_task(self._feed_watchdog())
                await self._serve(config)
                watchdog.cancel()
        log.info("service_stopped")

    async def _serve(self, config: Config) -> None:
        """Open everything and work, again and again while the database comes and goes, until asked to stop."""
        wait = _BACKOFF_FIRST
        while not self._stopping.is_set():
            try:
                async with self._opened(config) as worker:
                    wait = _BACKOFF_FIRST
                    config = await self._work(worker, config)
            except StoreUnavailable as error:
                self._why_not_ready = str(error)
                self._notifier.status(f"waiting for the database: {error}")
                log.error("database_unavailable", problem=str(error), next_try_seconds=wait)
                await self._sleep(wait)
                wait = min(wait * 2, _BACKOFF_LONGEST)
        self._notifier.stopping()

    @asynccontextmanager
    async def _opened(self, config: Config) -> AsyncIterator[Worker]:
        resolver = Resolver(config.directory, self._environ)
        async with opened(
            config.document.database, resolver=resolver, state=self._state, application="auditor run"
        ) as pool:
            self._pool = pool
            worker = Worker(pool, clock=self._clock, metrics=self._metrics, stopping=self._stopping)
            try:
                async with worker:
                    await worker.use(await self._assemble(config, pool))
                    yield worker
            finally:
                self._pool = None

    async def _assemble(self, config: Config, pool: Pool) -> tuple[Assembly, AsyncExitStack]:
        stack = AsyncExitStack()
        assembly = await stack.enter_async_context(
            assembled(
                config,
                pool,
                resolver=Resolver(config.directory, self._environ),
                state=self._state,
                clock=self._clock,
                environments=list(config.document.environments),
            )
        )
        return assembly, stack

    async def _work(self, worker: Worker, config: Config) -> Config:
        """Work until asked to stop; return the configuration that was in force last."""
        schedules = Schedules(worker.fire, self._clock)
        schedules.replace(config.document.schedules)
        schedules.start()
        if not config.document.schedules:
            log.warning("no_schedules", effect="nothing is swept until auditor sweep is run or a schedule is added")
        try:
            async with asyncio.TaskGroup() as tasks:
                queue = tasks.create_task(worker.run())
                status = tasks.create_task(self._show_status(worker, schedules))
                self._why_not_ready = None
                self._notifier.ready(worker.status(schedules.next_at))
                for name, settings in config.document.schedules.items():
                    await schedules.catch_up(name, settings)
                while not self._stopping.is_set():
                    await self._woken(queue)
                    if self._reload.is_set():
                        self._reload.clear()
                        config = await self._reloaded(worker, schedules, config)
                self._why_not_ready = "stopping"
                self._notifier.stopping()
                log.info("service_stopping", sweeps=sorted(worker.sweeping))
                worker.stop()
                await queue
                status.cancel()
        except ExceptionGroup as group:
            raise _first(group) from group
        finally:
            schedules.stop()
        return config

    async def _woken(self, queue: "asyncio.Task[None]") -> None:
        """Return when there is something to do: a signal, or a queue that ended by itself."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stopping, self._reload)]
        try:
            await asyncio.wait([*waits, queue], return_when=asyncio.FIRST_COMPLETED)
            if queue.done():
                await queue
                raise StoreUnavailable("the queue's worker ended; opening the database anew")
        finally:
            for wait in waits:
                wait.cancel()

    async def _reloaded(self, worker: Worker, schedules: Schedules, config: Config) -> Config:
        """Read the configuration again; return the one in force from now on."""
        self._notifier.reloading()
        try:
            wanted = await asyncio.to_thread(self._load)
            needs_restart = [
                table for table in _RESTART_ONLY if getattr(wanted.document, table) != getattr(config.document, table)
            ]
            if needs_restart:
                log.warning("reload_needs_restart", tables=needs_restart)
            await worker.use(await self._assemble(wanted, worker.pool))
            schedules.replace(wanted.document.schedules)
            for name, settings in wanted.document.schedules.items():
                await schedules.catch_up(name, settings)
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload_failed", place=problem.place, problem=problem.message, effect="nothing has changed")
            self._notifier.ready("the last reload failed and changed nothing; see the log")
            return config
        except AuditorError as error:
            log.error("reload_failed", problem=str(error), effect="nothing has changed")
            self._notifier.ready("the last reload failed and changed nothing; see the log")
            return config
        log.info("configuration_reloaded", config=str(wanted.path))
        self._notifier.ready(worker.status(schedules.next_at))
        return wanted

    async def _show_status(self, worker: Worker, schedules: Schedules) -> None:
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            self._notifier.status(worker.status(schedules.next_at))

    async def _feed_watchdog(self) -> None:
        seconds = self._notifier.watchdog_seconds
        while seconds is not None:
            self._notifier.alive()
            await asyncio.sleep(seconds)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or wake as soon as asked to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
