"""Answers ``/healthz``, ``/readyz`` and ``/metrics`` on loopback or a Unix socket."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from aiohttp import web

from auditor.model.errors import ConfigError, Problem, StoreUnavailable
from auditor.store import findings, outbox, posture, reports
from auditor.store.connection import Pool
from auditor.store.database import translated
from auditor.web.metrics import Metrics

_UNIX: Final = "unix:"
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE_SECONDS: Final = 8.0
"""How long the database may take; Prometheus waits for 10 s."""


class Endpoint:
    """What the daemon answers about itself.

    ``pool`` gives the database while there is one, ``environments`` the names of those that are configured, None before
    that is in force; ``why_not_ready`` says why sweeps cannot run, or None when they can.
    """

    def __init__(
        self,
        metrics: Metrics,
        pool: Callable[[], Pool | None],
        environments: Callable[[], Collection[str] | None],
        why_not_ready: Callable[[], str | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._metrics = metrics
        self._pool = pool
        self._environments = environments
        self._why_not_ready = why_not_ready
        self._clock = clock

    async def health(self, _request: web.Request) -> web.Response:
        """The process lives and its loop turns; says nothing of anything else."""
        return web.Response(text="ok\n")

    async def readiness(self, _request: web.Request) -> web.Response:
        """Sweeps can run: the configuration is loaded and the database answers."""
        why_not = self._why_not_ready()
        pool = self._pool()
        if why_not is None and pool is not None:
            try:
                with translated():
                    async with asyncio.timeout(_PATIENCE_SECONDS), pool.acquire() as connection:
                        await connection.fetchval("select 1")
            except StoreUnavailable as error:
                why_not = str(error)
        if why_not is None:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"not ready: {why_not}\n")

    async def metrics(self, _request: web.Request) -> web.Response:
        """Everything measured, in Prometheus' text format; 503 while the database is away.

        Of environments that are configured no more the database keeps all, and nothing is told.
        """
        pool, configured = self._pool(), self._environments()
        if pool is None or configured is None:
            return web.Response(status=503, text="the database is not open\n")
        now = self._clock()
        try:
            with translated():
                async with asyncio.timeout(_PATIENCE_SECONDS), pool.acquire() as connection:
                    body = self._metrics.render(
                        [state for state in await posture.environments(connection, now) if state.name in configured],
                        await findings.count_open(connection, now),
                        await findings.count_waived(connection, now),
                        await outbox.count(connection),
                        await outbox.oldest_pending(connection),
                        await reports.last_made(connection),
                    )
        except StoreUnavailable as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(body=body, headers={"Content-Type": _TEXT})


@asynccontextmanager
async def listening(endpoint: Endpoint, listen: str) -> AsyncIterator[str]:
    """Serve the endpoint at ``HOST:PORT`` or ``unix:PATH`` for the length of the block; yields where it listens.

    Raises ``ConfigError`` where that address cannot be had.
    """
    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", endpoint.health),
            web.get("/readyz", endpoint.readiness),
            web.get("/metrics", endpoint.metrics),
        ]
    )
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        try:
            where = await _start(runner, listen)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                Problem("web.listen", f"{listen} cannot be listened on: {reason}; choose another address")
            ) from error
        try:
            yield where
        finally:
            if listen.startswith(_UNIX):
                await asyncio.to_thread(Path(listen.removeprefix(_UNIX)).unlink, missing_ok=True)
    finally:
        await runner.cleanup()


async def _start(runner: web.AppRunner, listen: str) -> str:
    if listen.startswith(_UNIX):
        path = Path(listen.removeprefix(_UNIX))
        if await _is_answered(path):  # a socket that nobody listens on any more is replaced
            raise OSError(errno.EADDRINUSE, "another process listens there")
        await web.UnixSite(runner, str(path)).start()
        await asyncio.to_thread(path.chmod, 0o660)
        return listen
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    bound = runner.addresses[0]
    return f"{host}:{bound[1]}"


async def _is_answered(path: Path) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            _reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True
