"""The further processes of a service that uses several cores, each ``python -m auditor.cli.service_worker``.

Each does what ``auditor run --role worker`` does, and is looked after: one that ends or hangs is started anew, with a
backoff. What they measure is told by the process that started them, which is also the one that systemd knows and the
endpoint is of.
"""

import asyncio
import signal
from collections.abc import Mapping, Set
from contextlib import AsyncExitStack
from typing import Final

import msgspec
import structlog

from auditor.daemon.backoff import LONGEST, Backoff
from auditor.daemon.child import Child, Order, started
from auditor.daemon.measurements import Measurement, Measurements, note
from auditor.model.errors import ungrouped

ALIVE_SECONDS: Final = 5.0
"""How often each process says that its event loop turns."""
_SILENCE_SECONDS: Final = 60.0
"""One that has said nothing for so long hangs."""
_END_SECONDS: Final = 60.0
"""How long one may take to end when it is asked to."""

_MODULE: Final = "auditor.cli.service_worker"
_OF_THE_MANAGER: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})

log = structlog.get_logger(__name__)


class Alive(msgspec.Struct, frozen=True, tag=True):
    """The process lives; what it is doing."""

    sweeping: list[str]


Message = Alive | Measurement


class _NotStarted(Exception):
    """The system gave no process, for lack of descriptors, processes or memory most likely."""


class Crew:
    """So many further processes, for as long as ``run`` runs."""

    def __init__(self, number: int, order: Order, environ: Mapping[str, str], measurements: Measurements) -> None:
        self._number = number
        self._order = order
        self._environ = {name: value for name, value in environ.items() if name not in _OF_THE_MANAGER}
        self._measurements = measurements
        self._sweeping: dict[Child, list[str] | None] = {}
        """What each sweeps; None before it has said its first word."""
        self._reloading: set[Child] = set()
        """Those that are to read the configuration again once they have said it."""

    @property
    def processes(self) -> int:
        """How many have been started and still live."""
        return len(self._sweeping)

    @property
    def sweeping(self) -> Set[str]:
        """Environments that they sweep, as they said last."""
        return {name for names in self._sweeping.values() for name in names or ()}

    def reload(self) -> None:
        """Have them read the configuration again; one that takes no signals yet does so once it has said a word."""
        for child, names in self._sweeping.items():
            if names is None:
                self._reloading.add(child)
            else:
                child.signal(signal.SIGHUP)

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the processes going until asked to stop, and then until the last has ended."""
        with ungrouped():
            async with asyncio.TaskGroup() as places:
                for _place in range(self._number):
                    places.create_task(self._keep_one(stopping))

    async def _keep_one(self, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(stopping)
        while not stopping.is_set():
            begun = loop.time()
            try:
                pid, code = await self._run_one(stopping)
            except _NotStarted as error:
                log.error(
                    "worker_process_not_started",
                    reason=str(error),
                    next_try_seconds=backoff.seconds,
                    effect="the other processes do its work",
                )
                await backoff.wait()
                continue
            if stopping.is_set():
                return
            if loop.time() - begun > LONGEST:
                backoff.reset()
            log.error(
                "worker_process_died",
                worker=pid,
                how=f"signal {-code}" if code < 0 else f"exit code {code}",
                next_try_seconds=backoff.seconds,
                effect="its environments are taken over within a minute, where they were",
            )
            await backoff.wait()

    async def _run_one(self, stopping: asyncio.Event) -> tuple[int, int]:
        """Start one, and return its process id and exit code once it is gone."""
        async with AsyncExitStack() as block:
            try:
                child = await block.enter_async_context(started(_MODULE, self._environ))
            except OSError as error:
                raise _NotStarted(f"{error}; see to the limits of descriptors, processes and memory") from error
            child.take(self._order)
            self._sweeping[child] = None
            try:
                with ungrouped():
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(child.pass_log_on())
                        end = tasks.create_task(self._end(child, stopping))
                        await self._follow(child)
                        code = await child.ended()
                        end.cancel()
            finally:
                del self._sweeping[child]
                self._reloading.discard(child)
        return child.pid, code

    async def _follow(self, child: Child) -> None:
        """Take in what one says until it is gone; one that says nothing is killed."""
        while True:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    line = await child.hear()
            except TimeoutError:
                log.error("worker_process_hangs", worker=child.pid, silent_seconds=_SILENCE_SECONDS, effect="killed")
                child.signal(signal.SIGKILL)
                return
            if line is None:
                return
            message = msgspec.json.decode(line, type=Message)
            if isinstance(message, Alive):
                self._sweeping[child] = message.sweeping
                if child in self._reloading:
                    self._reloading.remove(child)
                    child.signal(signal.SIGHUP)
            else:
                note(message, self._measurements)

    async def _end(self, child: Child, stopping: asyncio.Event) -> None:
        await stopping.wait()
        child.signal(signal.SIGTERM)
        await asyncio.sleep(_END_SECONDS)
        log.error("worker_process_killed", worker=child.pid, reason=f"had not ended {_END_SECONDS:.0f} s after SIGTERM")
        child.signal(signal.SIGKILL)
