"""The process that sweeps a share of a command's environments; started by ``auditor.cli.sharing``, not by people.

It ends in order, recording what is under way, when it is told to stop, when a signal says so, and when the process that
started it is gone.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from auditor.cli import exits
from auditor.cli.session import Session, run_loop
from auditor.cli.sharing import GO, Advanced, Failed, Message, Order, PassedOver, Ready, Swept, own_environ
from auditor.cli.sweeping import sweep_each
from auditor.model.errors import AuditorError, ConfigError, ungrouped
from auditor.model.sweep import SweepSummary
from auditor.sweep.subject import Progress

_REPORT_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


class _Outbox:
    """The pipe to the process that started this one; where that is gone nobody listens, which is no error."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def say(self, message: Message) -> None:
        with suppress(BrokenPipeError):
            self._out.write(msgspec.json.encode(message) + b"\n")

    def swept(self, summary: SweepSummary) -> None:
        self.say(Swept(summary))

    def passed_over(self, environment: str, reason: str) -> None:
        self.say(PassedOver(environment, reason))


async def _work(order: Order, outbox: _Outbox) -> None:
    session = Session(Path(order.config), order.log_level, order.log_format, own_environ(os.environ, order))
    go, stopping = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    orders = asyncio.StreamReader()
    transport, _protocol = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    progress = {name: Progress(name) for name in order.environments}
    try:
        async with asyncio.TaskGroup() as beside:
            told = beside.create_task(_listen(orders, go, stopping))
            reported = beside.create_task(_report(progress, outbox))
            await _sweep(session, order, outbox, progress, go, stopping)
            told.cancel()
            reported.cancel()
    finally:
        transport.close()


async def _sweep(
    session: Session,
    order: Order,
    outbox: _Outbox,
    progress: Mapping[str, Progress],
    go: asyncio.Event,
    stopping: asyncio.Event,
) -> None:
    config = session.load()
    async with (
        session.database(config) as pool,
        session.assembled(config, pool, environments=order.environments, with_hooks=False) as assembly,
    ):
        outbox.say(Ready())
        await go.wait()
        await sweep_each(
            pool,
            assembly,
            order.environments,
            progress=progress,
            stopping=stopping,
            swept=outbox.swept,
            passed_over=outbox.passed_over,
        )


async def _listen(orders: asyncio.StreamReader, go: asyncio.Event, stopping: asyncio.Event) -> None:
    """Take what is said until the end of it; anything but ``GO`` means to stop."""
    while await orders.readline() == GO:
        go.set()
    stopping.set()
    go.set()


async def _report(progress: Mapping[str, Progress], outbox: _Outbox) -> None:
    """Say how far sweeps are, again and again, where that changed."""
    said: dict[str, Advanced] = {}
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        for name, sweep in progress.items():
            present = Advanced(name, sweep.expected, sweep.enrolled, sweep.done)
            if said.get(name) != present:
                said[name] = present
                outbox.say(present)


def main() -> int:
    """Do what standard input orders, and return the exit code."""
    order = msgspec.json.decode(_first_line(), type=Order)
    outbox = _Outbox(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)  # nothing else that writes there may come between messages
    try:
        with ungrouped():
            run_loop(_work(order, outbox))
    except ConfigError as error:
        outbox.say(Failed(str(error), [(problem.place, problem.message) for problem in error.problems]))
        return exits.USAGE
    except AuditorError as error:
        outbox.say(Failed(str(error)))
        return exits.FAILED
    except Exception:
        log.exception("sweep_worker_failed", environments=list(order.environments))
        return exits.FAILED
    return exits.OK


def _first_line() -> bytes:
    """Read a line and not a byte more: what follows is for the event loop."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
