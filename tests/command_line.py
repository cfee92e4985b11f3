"""The real command line run as a shell would, inside the test process or as one of its own; and what it audits."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import structlog
import typer.main

from auditor.cli.main import start
from auditor.simulator import SimulatedToken, Simulator, SteppedClock, World, serve
from tests import forking
from tests.forking import Command

T = TypeVar("T")

_command_of = cache(typer.main.get_command)
"""Made anew for each run, the tree of commands takes longer than most commands."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """The lines of standard error that are for the user, without ``auditor: ``."""
        return [line.removeprefix("auditor: ") for line in self.err.splitlines() if line.startswith("auditor: ")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str, environ: Mapping[str, str], stdin: bytes = b"") -> Ended:
    """Run a command in this process, with streams and an environment of its own."""
    contents = [io.BytesIO(content) for content in (stdin, b"", b"")]
    streams = [io.TextIOWrapper(content, encoding="utf-8", newline="") for content in contents]
    exit_code: object = None
    with ExitStack() as stack:
        stack.enter_context(_logging_put_back())
        stack.enter_context(patch.object(typer.main, "get_command", _command_of))
        stack.enter_context(patch.dict(os.environ, dict(environ), clear=True))
        stack.enter_context(patch.object(sys, "argv", ["auditor", *arguments]))
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            stack.enter_context(patch.object(sys, name, stream))
        try:
            start()
        except SystemExit as end:
            exit_code = end.code
    assert isinstance(exit_code, int)
    for stream in streams:
        stream.flush()
    out, err = (content.getvalue().decode() for content in contents[1:])
    return Ended(exit_code, out, err)


def started(*arguments: str, environ: Mapping[str, str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command as a user does; its output is piped unless ``options`` say otherwise.

    A process of its own that ``forking.command`` gives starts in a tenth of the time.
    """
    piped: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "auditor", *arguments], env=dict(environ), **(piped | options))


def ended(process: "subprocess.Popen[bytes] | Command") -> Ended:
    """Wait for a process; one that does not end is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        exit_code = process.wait()
    return Ended(exit_code, (out or b"").decode(), (err or b"").decode())


@contextmanager
def _logging_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    try:
        yield
    finally:
        logging.captureWarnings(False)
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def ordinary_environ(**more: str) -> dict[str, str]:
    """What a process needs of its environment, and nothing of the developer's."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | more


CONFIGURATION = """\
[database]
url = { env = "DATABASE_URL" }

[encryption]
key = { file = "master.key" }

[policy]
files = ["policy.toml"]

[environments.prod]
url = "PROD"
token = { file = "prod.token" }
attempts = 1
allow_http = true

[environments.staging]
url = "STAGING"
token = { file = "staging.token" }
attempts = 1
allow_http = true

[sources.list]
type = "plain"
path = "prod.txt"
environment = "prod"

[sources.deploy]
type = "dotenv"
path = "staging.env"
environment = "staging"

[sources.vault]
type = "encrypted"
allow_empty = true
"""


@dataclass
class Site:
    """A directory with a configuration of two simulated environments, and tokens in two files."""

    directory: Path
    environ: dict[str, str]
    simulator: Simulator
    worlds: Mapping[str, World]
    in_simulator: Callable[[Callable[[], object]], None]
    """Runs a function in the thread that serves the environments."""
    tokens: dict[str, list[SimulatedToken]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.directory / "auditor.toml"

    def configure(self, text: str = CONFIGURATION, more: str = "") -> None:
        """Write the configuration, with more tables at its end."""
        for name in self.worlds:
            text = text.replace(f'"{name.upper()}"', f'"{self.simulator.url(name)}"')
        self.config.write_text(f"{text}\n{more}", encoding="utf-8")

    def store(self, name: str, tokens: Sequence[SimulatedToken]) -> None:
        """Put tokens where the source of an environment reads them."""
        self.tokens[name] = list(tokens)
        secrets = [token.secret for token in tokens]
        if name == "prod":
            self.write("prod.txt", "".join(f"{secret}\n" for secret in secrets))
        else:
            self.write("staging.env", "".join(f"TOKEN_{n}={secret}\n" for n, secret in enumerate(secrets)))

    def write(self, name: str, text: str) -> Path:
        """Write a file that nobody else may read."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ended:
        return run("--config", str(self.config), *arguments, environ=self.environ | environ, stdin=stdin)

    def started(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        return started("--config", str(self.config), *arguments, environ=self.environ, **options)

    def forked(self, *arguments: str, stdout: int | None = None) -> Command:
        return forking.command("--config", str(self.config), *arguments, environ=self.environ, stdout=stdout)


@contextmanager
def site(directory: Path, database_url: str) -> Iterator[Site]:
    """Serve two environments from a thread, and write the configuration that audits them."""
    now = datetime.now(UTC)
    clock = SteppedClock(now)
    worlds = {name: World((), clock=clock, seed=str(directory / name)) for name in ("prod", "staging")}
    with served(worlds) as (simulator, in_simulator):
        made = Site(
            directory,
            ordinary_environ(DATABASE_URL=database_url, STATE_DIRECTORY=str(directory / "state")),
            simulator,
            worlds,
            in_simulator,
        )
        made.configure()
        made.write("policy.toml", 'name = "test"\n')
        made.write("master.key", "2a" * 32)
        for name, world in worlds.items():
            made.write(f"{name}.token", world.create("auditor", ["metrics.read"]).secret)
        good = now + timedelta(days=30)
        made.store(
            "prod",
            [
                worlds["prod"].create("deploy", ["metrics.read"], owner="svc-deploy", expiration_date=good),
                worlds["prod"].create("forever", ["metrics.read"], owner="svc-old"),
                worlds["prod"].create("mighty", ["settings.write"], owner="jane.doe", expiration_date=good),
            ],
        )
        made.store("staging", [worlds["staging"].create("ci", ["logs.ingest"], expiration_date=good)])
        yield made


@contextmanager
def served(worlds: Mapping[str, World]) -> Iterator[tuple[Simulator, Callable[[Callable[[], object]], None]]]:
    """Serve worlds from a thread with a loop of its own; yields the simulator and a way to act in that thread."""
    with in_thread(serve(worlds)) as (simulator, act):
        yield simulator, act


@contextmanager
def in_thread(opened: AbstractAsyncContextManager[T]) -> Iterator[tuple[T, Callable[[Callable[[], object]], None]]]:
    """Keep something open in a thread with a loop of its own; yields it and a way to act in that thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    def wait_for(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=30)

    async def act(function: Callable[[], object]) -> None:
        function()

    try:
        value = wait_for(opened.__aenter__())
        try:
            yield value, lambda function: wait_for(act(function))
        finally:
            wait_for(opened.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
