"""A service as a process of its own, what it audits, and what a service manager hears of it."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from auditor.model.secret import Secret
from auditor.simulator import Simulator, World, serve
from tests.forking import Forked, forked

PATIENCE_SECONDS = 120
"""For what a service does in a few seconds, on a machine that is busy with other things."""
ENVIRONMENT = """\
[environments.prod]
url = "{url}"
token = {{ env = "OWN_TOKEN" }}
attempts = 1
concurrency = 4
allow_http = true

[sources.vault]
type = "plain"
path = "tokens"
environment = "prod"

"""
CONFIGURATION = (
    """\
[database]
url = {{ env = "DATABASE_URL" }}

[encryption]
key = {{ env = "MASTER_KEY" }}

[policy]
files = ["policy.toml"]

"""
    + ENVIRONMENT
    + """\
[schedules.often]
every = "1s"
jitter_seconds = 0

[web]
listen = "{listen}"

[log]
format = "json"
"""
)


@dataclass
class Site:
    """A directory with a configuration, and the simulated environment that it is about."""

    directory: Path
    simulator: Simulator
    world: World
    environ: dict[str, str]
    listen: str = "127.0.0.1:0"

    @property
    def api(self) -> Any:
        return self.simulator.environments["prod"]

    def write(self, text: str = CONFIGURATION) -> None:
        """Write the configuration."""
        (self.directory / "auditor.toml").write_text(
            text.format(url=self.simulator.url("prod"), listen=self.listen), encoding="utf-8"
        )

    def store(self, tokens: int) -> list[str]:
        """Make tokens and put them where the source finds them; return their ids."""
        created = [self.world.create(f"token {number}", ["metrics.read"]) for number in range(tokens)]
        (self.directory / "tokens").write_text("".join(f"{token.secret}\n" for token in created))
        return [token.token.id for token in created]


@asynccontextmanager
async def site(directory: Path, database_url: Secret, *, tokens: int = 3) -> AsyncIterator[Site]:
    """Set everything up but the service."""
    world = World((), clock=lambda: datetime.now(UTC))
    own = world.create("auditor", ["metrics.read"]).secret
    async with serve({"prod": world}) as simulator:
        here = Site(
            directory,
            simulator,
            world,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(directory),
                "STATE_DIRECTORY": str(directory / "state"),
                "DATABASE_URL": database_url.reveal(),
                "MASTER_KEY": os.urandom(32).hex(),
                "OWN_TOKEN": own,
            },
        )
        (directory / "policy.toml").write_text('name = "test"\n')
        here.store(tokens)
        here.write()
        yield here


@dataclass
class Manager:
    """What systemd would hear: the assignments of every datagram, in their order."""

    address: str
    heard: list[dict[str, str]] = field(default_factory=list)

    def has_heard(self, assignment: str) -> bool:
        """Whether an assignment such as ``READY`` was made."""
        return any(assignment in message for message in self.heard)


@contextmanager
def manager(address: str) -> Iterator[Manager]:
    """Listen at a path, or at an abstract address, which begins with ``@``."""
    listening = Manager(address)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        channel.bind(address.replace("@", "\0", 1))

        def hear() -> None:
            message = channel.recv(65_536).decode()
            listening.heard.append(dict(line.split("=", 1) for line in message.split("\n")))

        loop.add_reader(channel, hear)
        try:
            yield listening
        finally:
            loop.remove_reader(channel)


class Gate:
    """A TCP port before a PostgreSQL that only has a Unix socket; closed, it refuses and cuts every connection.

    While ``is_passing`` is cleared, nothing comes through and no connection is cut.
    """

    def __init__(self, url: Secret) -> None:
        match = re.fullmatch(r"postgresql:///(\w+)\?host=([^&]+)&user=(\w+)", url.reveal())
        assert match is not None
        self._socket = f"{match[2]}/.s.PGSQL.5432"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = Secret(f"postgresql://{match[3]}@127.0.0.1:{self._port}/{match[1]}?sslmode=disable")
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_open = False
        self.is_passing = asyncio.Event()
        self.is_passing.set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Let connections through for the length of the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
            self.is_passing.set()
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await server.wait_closed()
            await until(lambda: not self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        ends = {writer, far_writer}
        if not self._is_open:
            for end in ends:
                end.transport.abort()
            return
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._copy(reader, far_writer))
                ways.create_task(self._copy(far_reader, writer))
        finally:
            self._writers -= ends

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self.is_passing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class Running:
    """One ``auditor run``."""

    def __init__(self, process: asyncio.subprocess.Process | Forked, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        """Its log so far."""
        self.words = ""
        """What else it wrote to standard error."""
        self._http = http

    async def read(self) -> None:
        """Read its log until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if line.startswith(b"{"):
                self.events.append(json.loads(line))
            else:
                self.words += line.decode()

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the events of that name with these fields."""
        return [e for e in self.events if e["event"] == event and fields.items() <= e.items()]

    async def until(self, event: str, number: int = 1, **fields: object) -> dict[str, Any]:
        """Wait for an event to have been logged so often; return the last."""
        await until(lambda: len(self.said(event, **fields)) >= number, self)
        return self.said(event, **fields)[-1]

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the endpoint."""
        listen = self.said("service_started")[0]["listen"]
        base = "http://localhost" if listen.startswith("unix:") else f"http://{listen}"
        async with self._http.get(f"{base}{path}") as response:
            return response.status, await response.text()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        async with asyncio.timeout(30):
            return await self.process.wait()


async def _executed(*command: str, environ: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "auditor",
        *command,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def running(
    here: Site, *arguments: str, role: str = "all", is_forked: bool = True, **environ: str
) -> AsyncIterator[Running]:
    """Run the service for the length of the block; kill it at the end where it still runs."""
    command = ("--config", str(here.directory / "auditor.toml"), *arguments, "run", f"--role={role}")
    process = await (forked if is_forked else _executed)(*command, environ=here.environ | environ)
    connector = aiohttp.UnixConnector(here.listen[5:]) if here.listen.startswith("unix:") else None
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as tasks:
        service = Running(process, http)
        reading = tasks.create_task(service.read())
        try:
            yield service
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading


def samples_of(metrics: str) -> dict[tuple[str, ...], float]:
    """Return the values of metrics by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }


async def until(is_so: Callable[[], bool], *services: Running) -> None:
    """Wait until something is so, at most as long as the services live; say what they logged last where it never is."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():
                for service in services:
                    if service.process.returncode is not None:
                        await asyncio.sleep(0.1)  # for its last words to be read
                        raise AssertionError(
                            f"a service ended with {service.process.returncode} after:\n{last(service)}"
                        )
                await asyncio.sleep(0.02)
    except TimeoutError:
        told = "\n\n".join(map(last, services))
        raise AssertionError(f"nothing for {PATIENCE_SECONDS} s after these events:\n{told}") from None


def last(service: Running) -> str:
    """Return what a service logged last, and what else it wrote."""
    return "\n".join([*map(str, service.events[-40:]), service.words])
