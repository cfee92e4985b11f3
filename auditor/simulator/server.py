"""Serves simulated environments on a loopback port for the length of a block."""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from auditor.simulator.app import Environment, make_app
from auditor.simulator.capacity import Capacity
from auditor.simulator.faults import Faults
from auditor.simulator.world import World

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_SHUTDOWN_SECONDS: Final = 0.5  # for answers under way; a fault may hold one much longer


@dataclass(frozen=True, slots=True)
class Simulator:
    """A server that is running."""

    base_url: str
    """``http://127.0.0.1:PORT``, or https where it has a certificate."""
    environments: Mapping[str, Environment]
    root: str | None = None

    def url(self, name: str) -> str:
        """Return the base URL of an environment, which an auditor's configuration takes."""
        if name not in self.environments:
            raise KeyError(f"no simulated environment {name!r}; there are {', '.join(self.environments)}")
        return self.base_url if name == self.root else f"{self.base_url}/e/{name}"


@asynccontextmanager
async def serve(
    worlds: Mapping[str, World],
    *,
    capacity: Capacity | None = None,
    faults: Faults | None = None,
    ssl_context: ssl.SSLContext | None = None,
    root: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Simulator]:
    """Serve each world as an environment of its own, at ``/e/{name}``; the one named ``root`` at ``/`` as well.

    Every environment starts with the given capacity and faults; ``simulator.environments[name]`` changes them while
    it runs. Port 0 takes a free one. Raises ``ValueError`` for a name that does not fit into a path and ``OSError``
    where the port cannot be had.
    """
    for name in worlds:
        if not _NAME.fullmatch(name):
            raise ValueError(f"simulated environment {name!r}: use letters, digits, '.', '_' and '-' only")
    if root is not None and root not in worlds:
        raise ValueError(f"root {root!r} is not among the simulated environments")
    environments = {
        name: Environment(world, capacity=capacity, faults=faults, seed=name) for name, world in worlds.items()
    }
    runner = web.AppRunner(
        make_app(environments, root),
        access_log=None,
        handler_cancellation=True,  # a client that left must not hold the server for the length of a fault
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=ssl_context)
        await site.start()
        scheme = "https" if ssl_context else "http"
        yield Simulator(f"{scheme}://{host}:{_port_of(runner)}", environments, root)
    finally:
        await runner.cleanup()


def _port_of(runner: web.AppRunner) -> int:
    address = runner.addresses[0]
    port = address[1]
    assert isinstance(port, int)
    return port
