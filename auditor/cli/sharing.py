"""Shares the sweeps of one command out among copies of its process, each of which does ``auditor.cli.sweep_worker``.

An environment is swept by one of them, whole.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec
import structlog

from auditor.cli.forking import Copy
from auditor.cli.showing import console, text
from auditor.daemon.child import Child
from auditor.model.errors import AuditorError, ConfigError, Problem, SecretUnavailable, ungrouped
from auditor.model.sweep import SweepSummary
from auditor.sweep.subject import Progress

GO: Final = b"go\n"
STOP: Final = b"stop\n"

log = structlog.get_logger(__name__)


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
    """The worker could not go on; ``problems`` are places and messages of a configuration that is wrong.

    They may pass where ``is_secret_unavailable``.
    """

    reason: str
    problems: Sequence[tuple[str, str]] = ()
    is_secret_unavailable: bool = False


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
    copies: Sequence[Copy],
    dealt: Sequence[Sequence[str]],
    *,
    progress: Mapping[str, Progress],
    stopping: asyncio.Event,
) -> list[SweepSummary]:
    """Sweep each share in one of as many processes, and return how the sweeps ended.

    Nothing is swept unless every worker has opened its parts. Asked to stop, workers record what is under way;
    cancelled, they are killed, and so is the batch under way. One that dies is told of, and what it had not swept is
    not in the result; others go on. Raises what a worker failed with.
    """
    summaries: list[SweepSummary] = []
    async with AsyncExitStack() as stack:
        workers: list[_Worker] = []
        for copy, share in zip(copies, dealt, strict=True):
            process = await stack.enter_async_context(copy.held())
            process.take(share)
            workers.append(_Worker(process, share, progress, summaries))
        stack.enter_context(ungrouped())
        async with asyncio.TaskGroup() as tasks:
            for worker in workers:
                tasks.create_task(worker.process.pass_log_on())
            await asyncio.gather(*(tasks.create_task(worker.opened()) for worker in workers))
            asked = tasks.create_task(_stop_all(workers, stopping))
            for worker in workers:
                worker.process.tell(GO)
            await asyncio.gather(*(tasks.create_task(worker.followed()) for worker in workers))
            asked.cancel()
    return summaries


async def _stop_all(workers: Sequence["_Worker"], stopping: asyncio.Event) -> None:
    await stopping.wait()
    for worker in workers:
        worker.process.tell(STOP)


class _Worker:
    """One process, as the one that started it sees it."""

    def __init__(
        self,
        process: Child,
        environments: Sequence[str],
        progress: Mapping[str, Progress],
        summaries: list[SweepSummary],
    ) -> None:
        self.process = process
        self._unswept = dict.fromkeys(environments)
        self._progress = progress
        self._summaries = summaries

    async def opened(self) -> None:
        """Wait until the process has opened its parts, or is gone."""
        await self._hear()

    async def followed(self) -> None:
        """Follow the process to its end."""
        while await self._hear():
            pass
        code = await self.process.ended()
        if code:
            names = ", ".join(self._unswept) or "nothing"
            log.error("sweep_worker_died", pid=self.process.pid, exit_code=code, environments=list(self._unswept))
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            console(errors=True).print(
                text(
                    f"auditor: a worker process ended with {reason}; not swept to the end: {names}. What it recorded "
                    "stays, and the next sweep goes on where it was"
                )
            )

    async def _hear(self) -> bool:
        """Take in one message; False when there are no more."""
        line = await self.process.hear()
        if line is None:
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
            case Failed(reason, problems, is_secret_unavailable):
                if problems:
                    kind = SecretUnavailable if is_secret_unavailable else ConfigError
                    raise kind(*(Problem(place, message) for place, message in problems))
                raise AuditorError(reason)
        return True
