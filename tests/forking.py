"""The program in a process of its own, forked from one that has imported it: most of a start is imports."""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from auditor.cli.main import start

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["auditor.cli.main", "auditor.cli.running"])


class Forked:
    """A process that runs a command, with the face of ``asyncio.subprocess.Process``."""

    def __init__(self, process: multiprocessing.process.BaseProcess, stderr: asyncio.StreamReader) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self.stderr = stderr
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

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


async def forked(*arguments: str, environ: Mapping[str, str]) -> Forked:
    """Start a command; only its standard error is read."""
    heard, said = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_run, args=(arguments, dict(environ), said))
    process.start()
    said.close()
    stderr = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(os.dup(heard.fileno()), "rb")
    )
    heard.close()
    return Forked(process, stderr)


def _run(arguments: tuple[str, ...], environ: Mapping[str, str], stderr: Connection) -> None:
    os.environ.clear()
    os.environ.update(environ)
    with Path(os.devnull).open("r+b") as nothing:
        for there, here in ((nothing, 0), (nothing, 1), (stderr, 2)):
            os.dup2(there.fileno(), here)
    stderr.close()
    sys.argv[:] = ["auditor", *arguments]
    start()
