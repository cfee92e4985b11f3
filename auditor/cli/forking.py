"""Copies of this process that work for it: forked before its event loop runs, they load nothing a second time.

A copy takes its order on standard input and answers as ``auditor.daemon.child`` says. It is in a session of its own,
and gone when whoever made it lets go of it.
"""

import asyncio
import fcntl
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Final

from auditor.cli import exits
from auditor.daemon.child import LONGEST_MESSAGE, Child

_FIRST: Final = 3
"""The first descriptor that is none of the standard streams."""


class Copy:
    """A copy, as the process that made it sees it, with the face of ``asyncio.subprocess.Process`` once it is held."""

    stdin: asyncio.WriteTransport
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    def __init__(self, pid: int, ends: Sequence[int]) -> None:
        self.pid = pid
        self.ends = ends
        """Ours of its standard streams, in their order."""
        self._code: int | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Child]:
        """Use it in the running event loop; at the end of the block it is killed if it is still there."""
        loop = asyncio.get_running_loop()
        self.stdout, self.stderr = asyncio.StreamReader(limit=LONGEST_MESSAGE), asyncio.StreamReader()
        stdin, *read = (os.fdopen(os.dup(end), mode, buffering=0) for end, mode in zip(self.ends, _MODES, strict=True))
        self.stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, stdin)
        transports: list[asyncio.BaseTransport] = [self.stdin]
        for stream, pipe in zip((self.stdout, self.stderr), read, strict=True):
            transport, _protocol = await loop.connect_read_pipe(_hearing(stream), pipe)
            transports.append(transport)
        try:
            yield Child(self)
        finally:
            self.end()
            for each in transports:
                each.close()

    def send_signal(self, number: int) -> None:
        """Send it a signal; raises ``ProcessLookupError`` where it is gone."""
        if self._code is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait for its end, which is near where its standard output has ended; return its exit code."""
        return await asyncio.to_thread(self._reap)

    def end(self) -> None:
        """Kill it with what it started, unless it is gone."""
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
                os.killpg(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        if self._code is None:
            with suppress(ChildProcessError):
                _pid, status = os.waitpid(self.pid, 0)
                self._code = os.waitstatus_to_exitcode(status)
        return exits.FAILED if self._code is None else self._code


_MODES: Final = ("wb", "rb", "rb")


def _hearing(stream: asyncio.StreamReader) -> Callable[[], asyncio.StreamReaderProtocol]:
    return lambda: asyncio.StreamReaderProtocol(stream)


@contextmanager
def copies(number: int, work: Callable[[], int]) -> Iterator[Sequence[Copy]]:
    """Make so many copies for the length of the block, each of which does ``work`` and ends with its exit code.

    Call it in a process that has one thread and no event loop.
    """
    made: list[Copy] = []
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a collection in a copy would else touch, and so have copied, all that is loaded
    with ExitStack() as stack:
        for _copy in range(number):
            made.append(_made(work, [end for copy in made for end in copy.ends]))
            stack.callback(_let_go, made[-1])
        yield made


def _let_go(copy: Copy) -> None:
    copy.end()
    for end in copy.ends:
        os.close(end)


def _made(work: Callable[[], int], of_others: Sequence[int]) -> Copy:
    (its_stdin, stdin), (stdout, its_stdout), (stderr, its_stderr) = (
        map(_beyond_standard, os.pipe()) for _ in range(3)
    )
    ours, its = (stdin, stdout, stderr), (its_stdin, its_stdout, its_stderr)
    pid = os.fork()
    if pid:
        for end in its:
            os.close(end)
        return Copy(pid, ours)
    code = exits.FAILED
    try:
        os.setsid()  # else the terminal's Ctrl-C would reach it, too; it is told what that means
        for end in (*ours, *of_others):  # whoever had one of these open would keep the others from hearing of our end
            os.close(end)
        for number, end in enumerate(its):
            os.dup2(end, number)
            os.close(end)
        sys.stdin, sys.stderr = open(0), open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
        code = work()
    except SystemExit as end_of_process:
        code = end_of_process.code if isinstance(end_of_process.code, int) else exits.OK
    finally:
        sys.stderr.flush()
        os._exit(code)


def _beyond_standard(descriptor: int) -> int:
    """Return a descriptor's place beyond the standard streams, one of which it takes where that was closed."""
    if descriptor >= _FIRST:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    os.close(descriptor)
    return moved
