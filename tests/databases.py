"""Databases of a test server."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from auditor.model.secret import Secret
from auditor.store import embedded

_numbers = itertools.count()


@asynccontextmanager
async def fresh_database(server: embedded.Address) -> AsyncIterator[Secret]:
    """Make a database for the length of the block: a copy of the migrated one."""
    name = f"test_{next(_numbers)}"
    await execute(server, f"create database {name} template migrated strategy file_copy")
    yield url_of(server, name)
    await execute(server, f"drop database {name} with (force)")


def url_of(address: embedded.Address, name: str) -> Secret:
    """Return the URL of a database."""
    return Secret(f"postgresql:///{name}?host={address.socket_directory}&user={embedded.DATABASE_USER}")


async def execute(address: embedded.Address, statement: str) -> None:
    """Run a statement beside the databases, as one that makes them."""
    connection = await asyncpg.connect(url_of(address, embedded.DATABASE_NAME).reveal())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
