"""Running other programs: no shell, a scrubbed environment, an end in time, and nothing left behind."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PASSED_ON: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")
"""The only variables of the auditor's own environment that another program gets; its secrets are in none of them."""

_LAST_WORDS_SECONDS: Final = 0.5
"""How long what a program wrote is read on after its end, where something that it left behind holds its pipes."""


def scrubbed(environ: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what of an environment a child may see, with ``extra`` laid over it."""
    kept = {name: environ[name] for name in PASSED_ON if name in environ}
    return kept | dict(extra or {})


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended. ``stdout`` may hold secrets; ``stderr`` is its last part, for a message."""

    exit_code: int
    stdout: bytes
    stderr: str


class OutputTooLarge(Exception):
    """A program wrote more than it was allowed to."""


def python_of(module: str) -> tuple[str, ...]:
    """Return the command that runs a module of ours in a process of its own.

    ``-P``: else modules of the directory that auditor was called in would go before the installed ones.
    """
    return (sys.executable, "-P", "-m", module)


def located(argv: Sequence[str], directory: Path) -> tuple[str, ...]:
    """Return ``argv`` with its program found from ``directory`` where it has a slash; else ``PATH`` has it."""
    program = argv[0]
    return (os.path.join(directory, program) if "/" in program else program, *argv[1:])  # noqa: PTH118 -- keeps ./


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class Process(asyncio.subprocess.Process):
    """A program that was started."""

    def __init__(
        self, transport: asyncio.SubprocessTransport, protocol: _Protocol, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(transport, protocol, loop)
        self.exited = protocol.exited
        """Its end, for which ``wait`` may not be enough: that waits until its pipes are closed, whoever has them."""
        self._pipes = [transport.get_pipe_transport(1), transport.get_pipe_transport(2)]

    def let_go(self, *, is_fed: bool) -> None:
        """Close the pipes on this side, standard input unless ``is_fed``, and what was read from them stays."""
        if self.stdin is not None and not is_fed:
            self.stdin.transport.abort()
        for pipe in self._pipes:
            if pipe is not None:
                pipe.close()


@asynccontextmanager
async def started(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    stdin: bool = False,
    stderr: bool = True,
    limit: int = 65_536,
) -> AsyncIterator[Process]:
    """Run ``argv`` in a session of its own for the length of the block; its whole process group ends with the block.

    Raises ``OSError`` where the program cannot be started. ``limit`` is the longest line that its streams can read.
    What it writes to stdout, and to stderr unless that is False, must be read, or it waits for a reader for ever.
    """
    # uvloop would cut it off there, and asyncio raise another error.
    if any("\0" in word for word in (*argv, *environ, *environ.values())):
        raise OSError(errno.EINVAL, "no program can be given a word with a NUL character in it")
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(
        loop.subprocess_exec(
            lambda: _Protocol(limit, loop),
            *argv,
            stdin=pipe if stdin else nothing,
            stdout=pipe,
            stderr=pipe if stderr else nothing,
            env=dict(environ),
            start_new_session=True,
        )
    )
    try:
        transport, protocol = await asyncio.shield(starting)
    except asyncio.CancelledError:  # the loop would leave behind what it was starting
        with suppress(OSError):
            await _end(*await starting)
        raise
    try:
        yield Process(transport, protocol, loop)
    finally:
        await _end(transport, protocol)


async def _end(transport: asyncio.SubprocessTransport, protocol: _Protocol) -> None:
    """End a program's process group, and wait until it is gone."""
    process = Process(transport, protocol, asyncio.get_running_loop())
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # Output that nobody read, or a grandchild that left the group with the pipes, would keep wait() waiting.
    transport.close()
    await process.wait()


async def tail(stream: asyncio.StreamReader, size: int = 2_000) -> str:
    """Read a stream to its end and return the last ``size`` bytes of it as text, for a message."""
    kept = b""
    while chunk := await stream.read(8_192):
        kept = (kept + chunk)[-size:]
    return kept.decode(errors="replace").strip()


async def run(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    stdin: bytes | None = None,
    timeout_seconds: float,
    max_output: int = 1_000_000,
) -> Completed:
    """Run a program to its end and return how it ended; what it left behind in the background is killed then.

    Raises ``TimeoutError`` after ``timeout_seconds``, ``OutputTooLarge`` past ``max_output`` bytes of output, and
    ``OSError`` where it cannot be started; in each case the program and its children are killed.
    """
    async with (
        asyncio.timeout(timeout_seconds) as patience,
        started(argv, environ=environ, stdin=stdin is not None) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.TaskGroup() as tasks:
                stderr = tasks.create_task(tail(process.stderr))
                stdout = tasks.create_task(_read(process.stdout, max_output))
                feeding = tasks.create_task(feed(process.stdin, stdin or b"")) if process.stdin is not None else None
                await process.exited.wait()
                patience.reschedule(None)
                piped: list[asyncio.Task[Any]] = [task for task in (stdout, stderr, feeding) if task is not None]
                _done, held = await asyncio.wait(piped, timeout=_LAST_WORDS_SECONDS)
                if held:
                    process.let_go(is_fed=feeding not in held)
        except ExceptionGroup as group:
            if group.subgroup(OutputTooLarge) is None:
                raise
            raise OutputTooLarge(f"more than {max_output} bytes of output") from None
        assert process.returncode is not None
        return Completed(process.returncode, stdout.result(), stderr.result())


async def feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    """Write a program's input and close it; a program need not read it, and may have ended before it is written."""
    with suppress(BrokenPipeError, ConnectionResetError):
        if not stream.is_closing():  # uvloop raises RuntimeError for what is written to a closed pipe
            stream.write(data)
            await stream.drain()
    stream.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()


async def _read(stream: asyncio.StreamReader, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(65_536):
        size += len(chunk)
        if size > limit:
            raise OutputTooLarge
        chunks.append(chunk)
    return b"".join(chunks)
