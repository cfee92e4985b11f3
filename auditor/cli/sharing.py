"""Shares the sweeps of one command out among processes, each ``python -m auditor.cli.sweep_worker``.

An environment is swept by one of them, whole. They are told what to do on standard input and answer on standard output,
in lines of JSON; their logs come on standard error and are passed on by whole lines. They open sources, credentials and
the database themselves: no secret passes between processes.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import msgspec
import structlog

from auditor.cli.session import Session
from auditor.cli.showing import console, text
from auditor.log import LogFormat, LogLevel
from auditor.model.errors import AuditorError, ConfigError, Problem, ungrouped
from auditor.model.sweep import SweepSummary
from auditor.processes import python_of
from auditor.sweep.subject import Progress

GO: Final = b"go\n"
STOP: Final = b"stop\n"
_LONGEST_MESSAGE: Final = 16_000_000

log = structlog.get_logger(__name__)


class Order(msgspec.Struct, frozen=True):
    """What a worker is to do, once it is told ``GO``."""

    config: str
    environments: Sequence[str]
    log_format: LogFormat
    log_level: LogLevel | None
    is_for_journal: bool
    """Whether what it logs ends in the journal, whose lines begin with their priority."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Everything is open; the worker waits for ``GO``."""


class Advanced(msgspec.Struct, frozen=True, tag=True):
    """How far a sweep is, as in ``Progress``."""

    environment: str
    expected: int | None
    enrolled: int
    done: int


class Swept(msgspec.Struct, frozen=True, tag=True):
    """A sweep ended."""

    summary: SweepSummary


class PassedOver(msgspec.Struct, frozen=True, tag=True):
    """An environment was not swept, since another process sweeps it."""

    environment: str
    reason: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker could not go on; ``problems`` are places and messages of a configuration that is wrong."""

    reason: str
    problems: Sequence[tuple[str, str]] = ()


Message = Ready | Advanced | Swept | PassedOver | Failed


def shares(weights: Mapping[str, int], workers: int) -> list[list[str]]:
    """Deal names out so that the weights of all shares are about equal; none is empty while there are names."""
    dealt: list[list[str]] = [[] for _worker in range(min(workers, len(weights)))]
    loads = [0] * len(dealt)
    for name in sorted(weights, key=lambda name: -weights[name]):
        least = loads.index(min(loads))
        dealt[least].append(name)
        loads[least] += max(1, weights[name])
    return dealt


async def sweep_shared(
    session: Session,
    order: Order,
    dealt: Sequence[Sequence[str]],
    *,
    progress: Mapping[str, Progress],
    stopping: asyncio.Event,
) -> list[SweepSummary]:
    """Sweep each share in a process of its own, and return how the sweeps ended.

    Nothing is swept unless every worker has opened its parts. ``order`` is that of all; its environments are replaced.
    Asked to stop, workers record what is under way; cancelled, they are killed, and so is the batch under way. One that
    dies is told of, and what it had not swept is not in the result; others go on. Raises what a worker failed with.
    """
    summaries: list[SweepSummary] = []
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                _worker(session, msgspec.structs.replace(order, environments=share), progress, summaries)
            )
            for share in dealt
        ]
        with ungrouped():
            async with asyncio.TaskGroup() as tasks:
                for worker in workers:
                    tasks.create_task(worker.pass_log_on())
                starts = [tasks.create_task(worker.opened()) for worker in workers]
                await asyncio.gather(*starts)
                asked = tasks.create_task(_stop_all(workers, stopping))
                for worker in workers:
                    worker.tell(GO)
                await asyncio.gather(*(tasks.create_task(worker.followed()) for worker in workers))
                asked.cancel()
    return summaries


async def _stop_all(workers: Sequence["_Worker"], stopping: asyncio.Event) -> None:
    await stopping.wait()
    for worker in workers:
        worker.tell(STOP)


@asynccontextmanager
async def _worker(
    session: Session, order: Order, progress: Mapping[str, Progress], summaries: list[SweepSummary]
) -> AsyncIterator["_Worker"]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *python_of("auditor.cli.sweep_worker"),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=dict(session.environ),  # what the configuration's { env = … } refer to is its to resolve
        limit=_LONGEST_MESSAGE,
        start_new_session=True,  # else the terminal's Ctrl-C would reach it, too; it is told what that means
    )
    worker = _Worker(process, order.environments, progress, summaries)
    worker.tell(msgspec.json.encode(order) + b"\n")
    try:
        yield worker
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class _Worker:
    """One process, as the one that started it sees it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        environments: Sequence[str],
        progress: Mapping[str, Progress],
        summaries: list[SweepSummary],
    ) -> None:
        self._process = process
        self._unswept = dict.fromkeys(environments)
        self._progress = progress
        self._summaries = summaries

    def tell(self, line: bytes) -> None:
        """Say something to the process; one that is gone does not hear it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    async def opened(self) -> None:
        """Wait until the process has opened its parts, or is gone."""
        await self._hear()

    async def followed(self) -> None:
        """Follow the process to its end."""
        while await self._hear():
            pass
        code = await self._process.wait()
        if code:
            names = ", ".join(self._unswept) or "nothing"
            log.error("sweep_worker_died", pid=self._process.pid, exit_code=code, environments=list(self._unswept))
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            console(errors=True).print(
                text(
                    f"auditor: a worker process ended with {reason}; not swept to the end: {names}. What it recorded "
                    "stays, and the next sweep goes on where it was"
                )
            )

    async def pass_log_on(self) -> None:
        """Write what the process logs to standard error, whole lines at a time."""
        assert self._process.stderr is not None
        kept = b""
        while chunk := await self._process.stderr.read(65_536):
            lines, newline, kept = (kept + chunk).rpartition(b"\n")
            _pass_on(lines + newline)
        _pass_on(kept)

    async def _hear(self) -> bool:
        """Take in one message; False when there are no more."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return False
        match msgspec.json.decode(line, type=Message):
            case Advanced(environment, expected, enrolled, done):
                seen = self._progress[environment]
                seen.expected, seen.enrolled, seen.done = expected, enrolled, done
            case Swept(summary):
                self._summaries.append(summary)
                self._unswept.pop(summary.environment, None)
            case PassedOver(environment, reason):
                console(errors=True).print(text(f"auditor: {reason}"))
                self._unswept.pop(environment, None)
            case Failed(reason, problems):
                if problems:
                    raise ConfigError(*(Problem(place, message) for place, message in problems))
                raise AuditorError(reason)
        return True


def _pass_on(lines: bytes) -> None:
    if lines:
        sys.stderr.write(lines.decode(errors="backslashreplace"))
        sys.stderr.flush()


def own_environ(environ: Mapping[str, str], order: Order) -> dict[str, str]:
    """Return a worker's environment, with its standard error as the journal's where its lines end there."""
    status = os.fstat(2)
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if order.is_for_journal else {}
    return dict(environ) | journal
