"""Databases of a test server."""

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from auditor.model.secret import Secret
from auditor.store import embedded

_AT_ONCE: Final = 8
"""So many databases are dropped and made on one connection: a process of the server takes a third of their time."""
_OF_POSTGRESQL: Final = range(16_384)
"""The object identifiers of its own types, the same in every database (PostgreSQL, "pg_type.dat")."""
_COPY: Final = "test_"
_numbers = itertools.count()
_fresh: list[str] = []
_used: list[str] = []
_of_the_schema: set[int] = set()


@asynccontextmanager
async def fresh_database(server: embedded.Address) -> AsyncIterator[Secret]:
    """Give a database for the length of the block: a copy of the migrated one."""
    if not _fresh:
        await _renew(server)
    name = _fresh.pop()
    yield url_of(server, name)
    _used.append(name)


@asynccontextmanager
async def copied_database(server: embedded.Address, database: Secret) -> AsyncIterator[Secret]:
    """Give a copy of a database, to which nobody may be connected when the block begins."""
    name, template = f"{_COPY}{next(_numbers)}", urlsplit(database.reveal()).path.removeprefix("/")
    await execute(server, f"create database {name} template {template} strategy file_copy")
    yield url_of(server, name)
    _used.append(name)


async def _renew(server: embedded.Address) -> None:
    names = [f"{_COPY}{next(_numbers)}" for _ in range(_AT_ONCE)]
    await execute(
        server,
        *(f"drop database {name} with (force)" for name in _used),
        *(f"create database {name} template migrated strategy file_copy" for name in names),
    )
    _used.clear()
    _fresh.extend(names)


def remember_types() -> None:
    """Have asyncpg ask once what types are, not on each connection: a fifth of its work, and more of PostgreSQL's."""
    ask = asyncpg.Connection._introspect_types
    known: dict[frozenset[int], Any] = {}

    async def introspected(connection: Any, oids: set[int], seconds: float) -> Any:
        asked = frozenset(oids)
        is_copy = connection._params.database.startswith(_COPY)
        if not all(oid in _OF_POSTGRESQL or (is_copy and oid in _of_the_schema) for oid in asked):
            return await ask(connection, oids, seconds)
        if asked not in known:
            known[asked], _statement = await ask(connection, oids, seconds)
        return known[asked], SimpleNamespace(name="no statement came between")

    asyncpg.Connection._introspect_types = introspected


def note_types(oids: Iterable[int]) -> None:
    """Note the object identifiers of the types of the migrated database, which are the same in all its copies."""
    _of_the_schema.update(oids)


def url_of(address: embedded.Address, name: str) -> Secret:
    """Return the URL of a database."""
    return Secret(f"postgresql:///{name}?host={address.socket_directory}&user={embedded.DATABASE_USER}")


async def execute(address: embedded.Address, *statements: str) -> None:
    """Run statements beside the databases, as those that make them, each in a transaction of its own."""
    connection = await asyncpg.connect(url_of(address, embedded.DATABASE_NAME).reveal())
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
