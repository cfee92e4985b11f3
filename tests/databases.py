"""Databases of a test server."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from types import SimpleNamespace
from typing import Any, Final, Self
from urllib.parse import urlsplit

import asyncpg

from auditor.model.secret import Secret
from auditor.store import embedded
from auditor.store.connection import Connection, Pool, Row
from auditor.store.database import connected

_USES: Final = 50
"""So many tests have a database one after another: rows that were deleted stay in its files."""
_BYTES: Final = 4_000_000
"""A database whose tables' files are larger is given to no other test: each looks through them again and again."""
_OF_POSTGRESQL: Final = range(16_384)
"""The object identifiers of its own types, the same in every database (PostgreSQL, "pg_type.dat")."""
_COPY: Final = "test_"
_LEAVE_SECONDS: Final = 0.5
"""What a test's processes of the server have to end in, once their clients have gone."""
_STATE: Final = """
select
    (
        select array_agg(oid::regclass::text) from pg_class
        where relkind = 'r' and oid >= 16384 and pg_relation_size(oid) > 0
          and relname not in ('schema_migration', 'schema_component')
    ) as filled,
    (select sum(pg_relation_size(oid)) from pg_class where relkind = 'r' and oid >= 16384) as bytes,
    (
        select count(setval(seqrelid, seqstart, false)) from pg_sequence
        where pg_sequence_last_value(seqrelid) is not null
    ) as sequences_set_back,
    (
        select count(*) from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and application_name <> $1
    ) as others,
    array[
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_attribute where attrelid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_constraint where oid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_index where indexrelid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_proc where oid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_rewrite where oid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_sequence),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_trigger where oid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_type where oid >= 16384),
        (select count(*) || ' ' || max(xmin::text::bigint) from pg_namespace),
        (select count(*) || ' ' || max(xmin::text::bigint) from schema_migration),
        (select count(*) || ' ' || max(xmin::text::bigint) from schema_component),
        (select count(*) || ' ' || coalesce(max(reltuples), 0) from pg_class where oid >= 16384),
        (select count(*)::text from pg_statistic where starelid >= 16384),
        (
            select count(*)::text from pg_db_role_setting
            where setdatabase = (select oid from pg_database where datname = current_database())
        )
    ] as schema
"""
"""What a test left, and whether it changed more than rows: what is added, changed or gone has another count or xmin."""
_APPLICATION: Final = "tests, one after another"
_numbers = itertools.count()
_used: list[str] = []
_of_the_schema: set[int] = set()


class Database:
    """A copy of the migrated database, which one test has after another, and a pool on it that stays open.

    A copy for each test would take four times as much of PostgreSQL's time for a sweep: it is made, and each new
    connection has to learn what its tables are, and to plan the same statements.
    """

    def __init__(self, url: Secret, pool: Pool, pools: AsyncExitStack, schema: object) -> None:
        self.url = url
        self.pool = pool
        self._pools = pools
        self._schema = schema
        self._uses = 1

    @classmethod
    async def made(cls, server: embedded.Address) -> Self:
        """Copy the migrated database."""
        url = await _copy_of_migrated(server)
        pools = AsyncExitStack()
        pool = await pools.enter_async_context(connected(url, application=_APPLICATION))
        async with pool.acquire() as connection:
            state = await connection.fetchrow(_STATE, _APPLICATION)
        assert state is not None
        return cls(url, pool, pools, state["schema"])

    async def emptied(self) -> bool:
        """Make it as new; tell whether it is, which it is not where a test did more than write rows and go."""
        self._uses += 1
        if self._uses > _USES or not self._is_at_rest():
            return False
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                state = await self._alone(connection)
                if state is None or state["schema"] != self._schema or state["bytes"] > _BYTES:
                    return False
                if state["filled"]:
                    await connection.execute(
                        "set local lock_timeout = '1s'; set local session_replication_role = replica; "  # no triggers
                        + "; ".join(f"delete from {table}" for table in state["filled"])
                    )
            return self._is_at_rest()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    def _is_at_rest(self) -> bool:
        pool: Any = self.pool
        return not pool.is_closing() and pool.get_idle_size() == pool.get_size()

    @staticmethod
    async def _alone(connection: Connection) -> Row | None:
        """Return the state once nobody else is connected."""
        until = monotonic() + _LEAVE_SECONDS
        while monotonic() < until:
            state = await connection.fetchrow(_STATE, _APPLICATION)
            if state is not None and not state["others"]:
                return state
            await asyncio.sleep(0.002)
        return None

    async def close(self) -> None:
        """Close the pool; the database is dropped when the next is made."""
        self.pool.terminate()
        await self._pools.aclose()
        _used.append(_name(self.url))


class Databases:
    """The databases of a server that tests have one after another."""

    def __init__(self, server: embedded.Address) -> None:
        self._server = server
        self._idle: list[Database] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Database]:
        """Give one that is as new, for the length of the block."""
        database = await self._as_new()
        yield database
        self._idle.append(database)

    async def _as_new(self) -> Database:
        while self._idle:
            database = self._idle.pop()
            if await database.emptied():
                return database
            await database.close()
        return await Database.made(self._server)

    async def close(self) -> None:
        """Let go of all of them."""
        for database in self._idle:
            await database.close()


@asynccontextmanager
async def fresh_database(server: embedded.Address) -> AsyncIterator[Secret]:
    """Give a database for the length of the block: a copy of the migrated one."""
    url = await _copy_of_migrated(server)
    yield url
    _used.append(_name(url))


@asynccontextmanager
async def copied_database(server: embedded.Address, database: Secret) -> AsyncIterator[Secret]:
    """Give a copy of a database, to which nobody may be connected when the block begins."""
    name = f"{_COPY}{next(_numbers)}"
    await execute(server, f"create database {name} template {_name(database)} strategy file_copy")
    yield url_of(server, name)
    _used.append(name)


async def _copy_of_migrated(server: embedded.Address) -> Secret:
    name = f"{_COPY}{next(_numbers)}"
    await execute(
        server,
        *(f"drop database {used} with (force)" for used in _used),
        f"create database {name} template migrated strategy file_copy",
    )
    _used.clear()
    return url_of(server, name)


def _name(url: Secret) -> str:
    return urlsplit(url.reveal()).path.removeprefix("/")


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
