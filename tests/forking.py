"""The program in a process of its own, forked from one that has imported it: most of a start is imports."""

import asyncio
import multiprocessing
import os
import runpy
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from auditor.cli.main import start

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class _Heard(asyncio.StreamReaderProtocol):
    """Closes the pipe at its end."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class _Forked:
    """A process that runs a command."""

    def __init__(self, process: BaseProcess) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)


class Forked(_Forked):
    """The same with the face of ``asyncio.subprocess.Process``; only its standard error is read."""

    def __init__(self, process: BaseProcess, stderr: asyncio.StreamReader) -> None:
        super().__init__(process)
        self.stderr = stderr

    async def wait(self) -> int:
        loop = asyncio.get_running_loop()
        has_ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, has_ended.set)
        try:
            await has_ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self.returncode is not None
        return self.returncode


class Command(_Forked):
    """The same with the face of ``subprocess.Popen``."""

    def __init__(self, process: BaseProcess, stdout: Connection, stderr: Connection) -> None:
        super().__init__(process)
        self.stdout, self.stderr = (os.fdopen(os.dup(one.fileno()), "rb", buffering=0) for one in (stdout, stderr))

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.returncode

    def communicate(self, timeout: float = 60) -> tuple[bytes, bytes]:
        """Read to the end of both streams, and wait for that of the process."""
        until = time.monotonic() + timeout
        said = {stream: b"" for stream in (self.stdout, self.stderr) if not stream.closed}
        with selectors.DefaultSelector() as selector:
            for stream in said:
                selector.register(stream, selectors.EVENT_READ, stream)
            while selector.get_map():
                ready = selector.select(until - time.monotonic())
                if not ready:
                    raise subprocess.TimeoutExpired(self._process.name, timeout)
                for key, _events in ready:
                    chunk = os.read(key.fd, 65_536)
                    said[key.data] += chunk
                    if not chunk:
                        selector.unregister(key.data)
                        key.data.close()
        self.wait(timeout)
        return said.get(self.stdout, b""), said.get(self.stderr, b"")


async def forked(*arguments: str, environ: Mapping[str, str]) -> Forked:
    """Start a command; only its standard error is read."""
    heard, said = _CONTEXT.Pipe(duplex=False)
    process = _started(arguments, environ, None, said)
    stderr = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Heard(stderr), os.fdopen(os.dup(heard.fileno()), "rb"))
    heard.close()
    return Forked(process, stderr)


def command(
    *arguments: str, environ: Mapping[str, str], directory: Path | None = None, stdout: int | None = None
) -> Command:
    """Start a command, in a directory of its own if there is one; its output is piped unless a descriptor is given."""
    (shown, out), (heard, said) = _CONTEXT.Pipe(duplex=False), _CONTEXT.Pipe(duplex=False)
    with shown, heard:
        if stdout is not None:
            os.dup2(stdout, out.fileno())
        return Command(_started(arguments, environ, out, said, directory), shown, heard)


def _started(
    arguments: tuple[str, ...],
    environ: Mapping[str, str],
    stdout: Connection | None,
    stderr: Connection,
    directory: Path | None = None,
) -> BaseProcess:
    """Start the process, and close our ends of what it writes to."""
    process = _CONTEXT.Process(target=_run, args=(arguments, dict(environ), stdout, stderr, directory))
    process.start()
    for stream in filter(None, (stdout, stderr)):
        stream.close()
    return process


def _run(
    arguments: tuple[str, ...],
    environ: Mapping[str, str],
    stdout: Connection | None,
    stderr: Connection,
    directory: Path | None,
) -> None:
    # A shell that starts the tests in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environ)
    if directory is not None:
        os.chdir(directory)
    with Path(os.devnull).open("r+b") as nothing:
        for there, here in ((nothing, 0), (stdout or nothing, 1), (stderr, 2)):
            os.dup2(there.fileno(), here)
    for stream in filter(None, (stdout, stderr)):
        stream.close()
    sys.argv[:] = ["auditor", *arguments]
    for script in _customizing(environ):
        runpy.run_path(script)
    start()


def _customizing(environ: Mapping[str, str]) -> list[str]:
    """Return the scripts that an interpreter of this environment would begin with (Python, "site")."""
    directories = environ.get("PYTHONPATH", "").split(os.pathsep)
    scripts = [Path(directory, "sitecustomize.py") for directory in directories if directory]
    return [str(script) for script in scripts if script.exists()]
