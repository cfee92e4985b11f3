"""Opens the database that the configuration names: a server's, or an embedded one in the state directory."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import structlog

from auditor.config.document import DatabaseSettings
from auditor.credentials.reference import Resolver, SecretReference
from auditor.model.secret import Secret
from auditor.store import embedded
from auditor.store.connection import Pool
from auditor.store.database import connected, translated
from auditor.store.migrate import migrate

log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened(
    settings: DatabaseSettings, *, resolver: Resolver, state: Path, application: str
) -> AsyncIterator[Pool]:
    """Open the database, bring its schema up to date, and keep it for the length of the block.

    Raises ``StoreUnavailable``, ``StoreMismatch``, or ``ConfigError`` where the URL's secret cannot be had.
    """
    async with opened_at(settings, resolver=resolver, state=state, application=application) as (_server, pool):
        yield pool


@asynccontextmanager
async def opened_at(
    settings: DatabaseSettings, *, resolver: Resolver, state: Path, application: str
) -> AsyncIterator[tuple[Secret | embedded.Address, Pool]]:
    """As ``opened``, and yield beside the pool where the server is, for processes that connect to it themselves."""
    async with (
        server_of(settings, resolver=resolver, state=state) as server,
        connected(server, application=application, connections=settings.connections) as pool,
    ):
        await bring_up_to_date(pool)
        yield server, pool


@asynccontextmanager
async def server_of(
    settings: DatabaseSettings, *, resolver: Resolver, state: Path
) -> AsyncIterator[Secret | embedded.Address]:
    """Yield where the server is; an embedded one runs for the length of the block. Raises as ``opened`` does."""
    if settings.url is None:
        async with _embedded(state / "postgres") as address:
            yield address
    elif isinstance(settings.url, SecretReference):
        yield await resolver.resolve(settings.url, "database.url")
    else:
        yield Secret(settings.url)


async def bring_up_to_date(pool: Pool) -> None:
    """Apply the migrations that are missing; raises ``StoreUnavailable`` or ``StoreMismatch``."""
    with translated():
        async with pool.acquire() as connection:
            for name in await migrate(connection):
                log.info("migration_applied", migration=name)


def url_of(server: Secret | embedded.Address) -> Secret:
    """Return where a server is, as a URL that may hold a password."""
    return server if isinstance(server, Secret) else Secret(server.url)


@asynccontextmanager
async def _embedded(directory: Path) -> AsyncIterator[embedded.Address]:
    loop = asyncio.get_running_loop()
    server = ExitStack()
    with ThreadPoolExecutor(1) as thread:
        try:
            yield await loop.run_in_executor(thread, server.enter_context, embedded.running(directory))
        finally:
            # The thread first ends a start that was cancelled. Nothing may cut short that the server is left in order.
            await asyncio.shield(loop.run_in_executor(thread, server.close))
