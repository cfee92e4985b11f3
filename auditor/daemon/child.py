"""Processes that a command or the service starts beside itself, to use several cores.

They take an order on standard input, answer on standard output in lines of JSON, and log to standard error, which is
passed on by whole lines. They open sources, credentials and the database themselves: no secret passes between them and
who started them. Where standard input ends, that one is gone, or wants them to end.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TypeVar

import msgspec

from auditor import processes
from auditor.log import LogFormat, LogLevel, is_journal

LONGEST_MESSAGE: Final = 16_000_000

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What every such process is told."""

    config: str
    log_format: LogFormat
    log_level: LogLevel | None
    is_for_journal: bool
    """Whether what it logs ends in the journal, whose lines begin with their priority."""
    tables: dict[str, dict[str, Any]] = {}
    """Tables of the configuration that it goes by, whatever the file says of them by now."""

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return a process's own environment, with its standard error as the journal's where its lines end there."""
        status = os.fstat(2)
        journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if self.is_for_journal else {}
        return dict(environ) | journal


class Outbox:
    """The pipe to the process that started this one; where that is gone nobody listens, which is no error."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def say(self, message: msgspec.Struct) -> None:
        """Send a message."""
        with suppress(BrokenPipeError):
            self._out.write(msgspec.json.encode(message) + b"\n")


def taken(order: type[T]) -> tuple[T, Outbox]:
    """Read the order of this process from standard input, and take standard output for messages alone.

    Ends the process where whoever started it is gone, or has no order for it.
    """
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # not a byte more: what follows is for the event loop
        if not byte:
            sys.exit()
        line += byte
    outbox = Outbox(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)  # nothing else that writes there may come between messages
    return msgspec.json.decode(line, type=order), outbox


@asynccontextmanager
async def standard_input() -> AsyncIterator[asyncio.StreamReader]:
    """Give what is said to this process after its order."""
    said = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _protocol = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), sys.stdin)
    try:
        yield said
    finally:
        transport.close()


class _Input(Protocol):
    def write(self, data: bytes, /) -> None: ...
    def is_closing(self) -> bool: ...


class _Process(Protocol):
    """What ``Child`` needs of one; ``asyncio.subprocess.Process`` is one whose standard streams are pipes."""

    @property
    def stdin(self) -> _Input | None: ...
    @property
    def stdout(self) -> asyncio.StreamReader | None: ...
    @property
    def stderr(self) -> asyncio.StreamReader | None: ...
    @property
    def pid(self) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    async def wait(self) -> int: ...


class Child:
    """Such a process, as the one that started it sees it."""

    def __init__(self, process: _Process) -> None:
        self._process = process
        self.pid = process.pid

    def take(self, order: object) -> None:
        """Give the process its order, which it waits for; call it once."""
        self.tell(msgspec.json.encode(order) + b"\n")

    def tell(self, line: bytes) -> None:
        """Say something to the process; one that is gone does not hear it."""
        stdin = self._process.stdin
        assert stdin is not None
        if not stdin.is_closing():  # uvloop raises RuntimeError for what is written to a closed pipe
            stdin.write(line)

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def hear(self) -> bytes | None:
        """Return its next message, None where there are no more."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return line if line.endswith(b"\n") else None

    async def pass_log_on(self) -> None:
        """Write what it logs to standard error, whole lines at a time."""
        assert self._process.stderr is not None
        kept = b""
        while chunk := await self._process.stderr.read(65_536):
            lines, newline, kept = (kept + chunk).rpartition(b"\n")
            _pass_on(lines + newline)
        _pass_on(kept)

    async def ended(self) -> int:
        """Wait for its end, and return its exit code; minus the number where a signal ended it."""
        return await self._process.wait()


@asynccontextmanager
async def started(module: str, environ: Mapping[str, str]) -> AsyncIterator[Child]:
    """Start a process, which waits for its order; at the end of the block it is killed if it is still there."""
    # In a session of its own, else the terminal's Ctrl-C would reach it, too; it is told what that means. What the
    # configuration's { env = … } refer to is its to resolve, so it gets all of the environment.
    async with processes.started(
        processes.python_of(module), environ=environ, stdin=True, limit=LONGEST_MESSAGE
    ) as process:
        yield Child(process)


def order_of(config: Path, log_level: LogLevel | None, log_format: LogFormat, environ: Mapping[str, str]) -> Order:
    """Return what a process is told that is to log as this one does, though its standard error is never a terminal."""
    return Order(
        config=str(config.absolute()),
        log_format="console" if log_format == "auto" and sys.stderr.isatty() else log_format,
        log_level=log_level,
        is_for_journal=is_journal(sys.stderr, environ),
    )


def _pass_on(lines: bytes) -> None:
    if lines:
        sys.stderr.write(lines.decode(errors="backslashreplace"))
        sys.stderr.flush()
