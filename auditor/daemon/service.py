"""The service: opens the database and the parts, works the queue, and takes signals.

It survives a database that is away: it waits with a backoff and opens everything anew. A reload that fails changes
nothing. Stopping lets batches under way be recorded and nothing new begin, for as long as that may take.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

import msgspec
import structlog

from auditor.config.assembly import Assembly, assembled
from auditor.config.database import bring_up_to_date, server_of, url_of
from auditor.config.document import ScheduleSettings
from auditor.config.load import Config
from auditor.config.scheduled_reports import ReportSettings, missing_extras, unwritable
from auditor.credentials.reference import Resolver
from auditor.daemon.backoff import Backoff, first_of
from auditor.daemon.child import Order
from auditor.daemon.crew import Crew
from auditor.daemon.measurements import Measurements, Retold
from auditor.daemon.notify import Notifier
from auditor.daemon.reports import Reporter
from auditor.daemon.role import Role
from auditor.daemon.schedules import Schedules
from auditor.daemon.worker import Worker
from auditor.dynatrace.limit import Limit
from auditor.model.errors import AuditorError, ConfigError, Problem, StoreUnavailable, ungrouped
from auditor.store.connection import Pool
from auditor.store.database import connected, is_being_cancelled, translated
from auditor.sweep.patience import unless
from auditor.web.endpoint import Endpoint, listening
from auditor.web.metrics import Metrics

T = TypeVar("T")

_STATUS_SECONDS: Final = 15.0
_END_SECONDS: Final = 20.0
"""How long what is under way may take to end once somebody asks to stop.

With the minute that an embedded PostgreSQL may take after it, that is less than ``TimeoutStopSec`` of the unit.
"""
_GIVE_UP_SECONDS: Final = 3.0
"""How long it may then take to give up, before the connections that it uses are cut."""
_RESTART_ONLY: Final = ("database", "encryption", "sweeps", "web")

log = structlog.get_logger(__name__)


class Service:
    """One running ``auditor run``.

    ``load`` reads the configuration, and raises ``ConfigError``; ``set_up_log`` sets the log up as one says, and
    ``order_of`` says what its further processes are told. One of these has ``retold``, which takes what it measures: it
    has no endpoint, nor further processes of its own.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        set_up_log: Callable[[Config], None],
        order_of: Callable[[Config], Order],
        *,
        role: Role,
        environ: Mapping[str, str],
        state: Path,
        clock: Callable[[], datetime],
        retold: Retold | None = None,
    ) -> None:
        self._role = role
        self._load = load
        self._set_up_log = set_up_log
        self._order_of = order_of
        self._environ = environ
        self._state = state
        self._clock = clock
        self._notifier = Notifier(environ)
        self._metrics = Metrics() if retold is None else None
        measurements = retold or self._metrics
        assert measurements is not None
        self._measurements: Measurements = measurements
        self._crew: Crew | None = None
        """Further processes of this service; None where there are none."""
        self._worker: Worker | None = None
        self._worker_id = uuid4()
        self._limits: dict[str, Limit] = {}
        """What was learned of environments, by url: it outlives a reload and a lost database."""
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._pool: Pool | None = None
        self._connected: Pool | None = None
        """The same, from before the schema is up to date."""
        self._is_working = False
        self._why_not_ready: str | None = "starting"

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ``ConfigError`` or ``StoreMismatch`` where it cannot work with what it was given.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)  # what changes while it is read is read after that
        config = await asyncio.to_thread(self._load)
        self._set_up_log(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        async with self._listening(config) as where:
            log.info("service_started", config=str(config.path), listen=where, role=self._role.value)
            with ungrouped():
                async with asyncio.TaskGroup() as tasks:
                    watchdog = tasks.create_task(self._feed_watchdog())
                    await self._serve(config, tasks)
                    watchdog.cancel()
        log.info("service_stopped")

    @property
    def sweeping(self) -> Collection[str]:
        """Environments that this process sweeps."""
        return self._worker.sweeping if self._worker is not None else ()

    def _listening(self, config: Config) -> AbstractAsyncContextManager[str | None]:
        if self._metrics is None:
            return nullcontext()
        endpoint = Endpoint(
            self._metrics,
            lambda: self._pool,
            lambda: self._worker.environments if self._worker is not None else None,
            lambda: self._why_not_ready,
            self._clock,
        )
        return listening(endpoint, config.document.web.listen)

    def _start_crew(self, config: Config, tasks: asyncio.TaskGroup) -> None:
        """Start the further processes, which work until asked to stop, whatever becomes of the database meanwhile."""
        further = config.document.sweeps.workers - 1
        if self._crew is not None or self._metrics is None or not self._role.is_worker or not further:
            return
        order = msgspec.structs.replace(self._order_of(config), tables=config.tables(_RESTART_ONLY))
        self._crew = crew = Crew(further, order, self._environ, self._measurements)
        self._metrics.count_processes(lambda: 1 + crew.processes)
        tasks.create_task(crew.run(self._stopping))

    def _stop(self) -> None:
        self._why_not_ready = "stopping"
        self._notifier.stopping()
        self._stopping.set()

    async def _serve(self, config: Config, tasks: asyncio.TaskGroup) -> None:
        """Open everything and work, again and again while the database comes and goes, until asked to stop."""
        self._config = config
        backoff = Backoff(self._stopping, self._reload)
        has_worked = False
        while not self._stopping.is_set():
            try:
                async with self._ended_in_time(tasks), self._opened(self._config) as worker:
                    backoff.reset()
                    has_worked = True
                    self._start_crew(self._config, tasks)
                    await self._work(worker)
                continue
            except StoreUnavailable as error:
                if is_being_cancelled():  # something beside it failed, and that ends the service
                    raise asyncio.CancelledError from error
                event, problem = "database_unavailable", str(error)
            except ConfigError as error:
                if not has_worked:
                    raise
                event, problem = "configuration_unusable", str(error)  # a secret's command that fails, for instance
            self._why_not_ready = problem
            self._notifier.status(f"waiting: {problem}")
            log.error(event, problem=problem, next_try_seconds=backoff.seconds)
            await backoff.wait()
            if self._reload.is_set():
                self._reload.clear()
                backoff.reset()
                await self._read_again()

    @asynccontextmanager
    async def _ended_in_time(self, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Cut the block short when somebody asks to stop: at once while it opens things, in time while it works."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                ending = tasks.create_task(self._cut_short(limit))
                try:
                    yield
                finally:
                    ending.cancel()
        except (TimeoutError, StoreUnavailable):
            if not limit.expired():
                raise

    async def _cut_short(self, block: asyncio.Timeout) -> None:
        await self._stopping.wait()
        if self._is_working:
            await asyncio.sleep(_END_SECONDS)
            log.error(
                "stop_cut_short",
                seconds=_END_SECONDS,
                reason="what was under way did not end; a PostgreSQL that does not answer keeps it from that",
                effect="what was not recorded is done again by whoever comes next",
            )
        block.reschedule(asyncio.get_running_loop().time())
        await asyncio.sleep(_GIVE_UP_SECONDS)
        if self._connected is not None:  # a statement that is cancelled waits for PostgreSQL to say so
            self._connected.terminate()

    @asynccontextmanager
    async def _opened(self, config: Config) -> AsyncIterator[Worker]:
        database, resolver = config.document.database, Resolver(config.directory, self._environ)
        async with (
            server_of(database, resolver=resolver, state=self._state) as server,
            connected(server, application="auditor run", connections=database.connections) as pool,
        ):
            self._connected = pool
            await bring_up_to_date(pool)
            self._pool = pool
            reporter = Reporter(
                pool,
                url_of(server),
                environ=self._environ,
                state=self._state,
                host=socket.gethostname(),
                clock=self._clock,
                telemetry=self._measurements,
            )
            worker = Worker(
                pool,
                reporter,
                role=self._role,
                worker_id=self._worker_id,
                clock=self._clock,
                measurements=self._measurements,
                stopping=self._stopping,
            )
            try:
                async with worker:
                    await worker.use(*await self._assemble(config, pool))
                    self._worker = worker
                    self._is_working = True
                    yield worker
            finally:
                self._is_working = False
                self._pool = self._worker = None

    async def _assemble(self, config: Config, pool: Pool) -> tuple[Assembly, AsyncExitStack]:
        stack = AsyncExitStack()
        with translated():
            assembly = await stack.enter_async_context(
                assembled(
                    config,
                    pool,
                    resolver=Resolver(config.directory, self._environ),
                    state=self._state,
                    clock=self._clock,
                    environments=list(config.document.environments) if self._role.is_worker else (),
                    with_hooks=self._role.is_worker,
                    limits=self._limits,
                )
            )
        return assembly, stack

    async def _work(self, worker: Worker) -> None:
        """Work until asked to stop."""
        config = self._config
        schedules = Schedules[ScheduleSettings](self._clock)
        schedules.replace(self._of_scheduler(config.document.schedules))
        reports = Schedules[ReportSettings](self._clock)
        reports.replace(self._of_scheduler(config.document.reports))
        await self._look_at_reports(config)
        if self._role.is_scheduler and not config.document.schedules:
            log.warning("no_schedules", effect="nothing is swept until auditor sweep is run or a schedule is added")

        async def fire(_name: str, settings: ScheduleSettings, slot: datetime) -> None:
            jitter = timedelta(seconds=settings.jitter_seconds)
            await self._take(slot, lambda: worker.fire(settings.environments, slot, jitter))

        async def fire_report(name: str, settings: ReportSettings, slot: datetime) -> None:
            await self._take(slot, lambda: worker.fire_report(name, settings, slot))

        with ungrouped():
            async with asyncio.TaskGroup() as tasks:
                queue = tasks.create_task(worker.run())
                beside = [
                    tasks.create_task(schedules.run(fire)),
                    tasks.create_task(reports.run(fire_report)),
                    tasks.create_task(self._show_status(worker, schedules)),
                ]
                if not self._stopping.is_set():
                    self._why_not_ready = None
                    self._notifier.ready(self._status(worker, schedules))
                while await self._is_reload_asked():
                    await self._take_in(worker, schedules, reports)
                log.info("service_stopping", sweeps=sorted(worker.sweeping))
                for task in beside:
                    task.cancel()
                worker.stop()
                await queue

    def _of_scheduler(self, tables: Mapping[str, T]) -> Mapping[str, T]:
        return tables if self._role.is_scheduler else {}

    async def _look_at_reports(self, config: Config) -> None:
        """Say at once which reports cannot be made here; sweeps and alerts go on without them."""
        reports = config.document.reports if self._role.is_worker else {}
        for problem in await asyncio.to_thread(
            lambda: [*missing_extras(reports), *unwritable(reports, config.directory, self._state)]
        ):
            log.error("report_cannot_be_made", place=problem.place, problem=problem.message)

    async def _take(self, slot: datetime, take: Callable[[], Awaitable[None]]) -> None:
        """Take a slot, however often the database must be asked; whether it is away for good others find out."""
        backoff = Backoff(self._stopping)
        while True:
            try:
                await take()
            except StoreUnavailable as error:
                log.warning(
                    "slot_not_taken", slot=slot.isoformat(), problem=str(error), next_try_seconds=backoff.seconds
                )
                await backoff.wait()
            else:
                return

    async def _is_reload_asked(self) -> bool:
        """Wait until asked for something: True for a reload, False for a stop."""
        await first_of(self._stopping, self._reload)
        self._reload.clear()
        return not self._stopping.is_set()

    async def _take_in(
        self, worker: Worker, schedules: Schedules[ScheduleSettings], reports: Schedules[ReportSettings]
    ) -> None:
        """Read the configuration again, which is in force from then on."""
        self._notifier.reloading()
        try:
            wanted = await self._wanted()
            opened = await unless(self._stopping, self._assemble(wanted, worker.pool))
        except AuditorError as error:
            _tell_failed_reload(error)
            self._notifier.ready("the last reload failed and changed nothing; see the log")
            return
        if opened is None:
            return
        self._set_up_log(wanted)
        await worker.use(*opened)
        self._config = wanted
        schedules.replace(self._of_scheduler(wanted.document.schedules))
        reports.replace(self._of_scheduler(wanted.document.reports))
        await self._look_at_reports(wanted)
        if self._crew is not None:
            self._crew.reload()
        log.info("configuration_reloaded", config=str(wanted.path))
        self._notifier.ready(self._status(worker, schedules))

    async def _read_again(self) -> None:
        """Read the configuration while nothing is open."""
        try:
            self._config = wanted = await self._wanted()
        except ConfigError as error:
            _tell_failed_reload(error)
            return
        self._set_up_log(wanted)
        if self._crew is not None:
            self._crew.reload()
        log.info("configuration_reloaded", config=str(wanted.path))

    async def _wanted(self) -> Config:
        """Return the configuration as it is written, but for the tables that only a restart can change."""
        try:
            wanted = await asyncio.to_thread(self._load)
        except AuditorError:
            raise
        except Exception as error:
            log.exception("unexpected_error")
            said = f"{type(error).__name__}; this is a defect of auditor, please report it with the traceback above"
            raise ConfigError(Problem("reload", said)) from error
        kept = {table: getattr(self._config.document, table) for table in _RESTART_ONLY}
        changed = [table for table in _RESTART_ONLY if getattr(wanted.document, table) != kept[table]]
        if changed:
            log.warning("reload_needs_restart", tables=changed)
        return replace(wanted, document=wanted.document.model_copy(update=kept))

    async def _show_status(self, worker: Worker, schedules: Schedules[ScheduleSettings]) -> None:
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            self._notifier.status(self._status(worker, schedules))

    def _status(self, worker: Worker, schedules: Schedules[ScheduleSettings]) -> str:
        crew = self._crew
        said = worker.status(schedules.next_at, crew.sweeping if crew else ())
        return f"{said}; {1 + crew.processes} processes" if crew else said

    async def _feed_watchdog(self) -> None:
        seconds = self._notifier.watchdog_seconds
        while seconds is not None:
            self._notifier.alive()
            await asyncio.sleep(seconds)


def _tell_failed_reload(error: AuditorError) -> None:
    problems = error.problems if isinstance(error, ConfigError) else [Problem("reload", str(error))]
    for problem in problems:
        log.error("reload_failed", place=problem.place, problem=problem.message, effect="nothing has changed")
