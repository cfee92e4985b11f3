"""What a test did to its database reaches no other test."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from auditor.store.embedded import Address
from tests.databases import Database, Databases

CHANGES = {
    "column": "alter table token add column more integer",
    "constraint": "alter table finding add check (reopenings < 1000)",
    "function": "create function more() returns integer language sql as 'select 1'",
    "index": "create index more on token (id)",
    "migration": "update schema_migration set name = name where number = 1",
    "sequence": "alter sequence history_batch increment by 2",
    "setting": "do $$ begin execute format('alter database %I set jit = on', current_database()); end $$",
    "statistics": "analyze schema_migration",
    "table": "create table more ()",
    "temporary table": "create temporary table more ()",
    "trigger": "create trigger more before delete on token execute function suppress_redundant_updates_trigger()",
    "type": "create type more as enum ('one')",
    "view": "create view more as select 1",
}


@pytest.fixture
async def own(server: Address) -> AsyncIterator[Databases]:
    """Databases that no other test has."""
    databases = Databases(server)
    yield databases
    await databases.close()


async def execute(database: Database, statement: str) -> None:
    async with database.pool.acquire() as connection:
        await connection.execute(statement)


async def rows(database: Database) -> int:
    async with database.pool.acquire() as connection:
        number: int = await connection.fetchval("select count(*) from environment")
    return number


async def make_environment(database: Database) -> int:
    """Return the id that its sequence gave it."""
    async with database.pool.acquire() as connection:
        number: int = await connection.fetchval(
            "insert into environment (name, url) values ('prod', 'https://prod') returning id"
        )
    return number


async def test_next_test_has_the_same_database_without_its_rows(own: Databases) -> None:
    async with own.one() as first:
        assert await make_environment(first) == 1
    async with own.one() as second:
        assert second is first
        assert await rows(second) == 0
        assert await make_environment(second) == 1


async def test_sequences_start_again(own: Databases) -> None:
    async with own.one() as first, first.pool.acquire() as connection:
        await connection.execute("select nextval('history_batch'), nextval('history_batch')")
    async with own.one() as second, second.pool.acquire() as connection:
        assert second is first
        assert await connection.fetchval("select nextval('history_batch')") == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_changed_database_is_given_to_no_other_test(own: Databases, change: str) -> None:
    async with own.one() as first:
        await execute(first, change)
    async with own.one() as second:
        assert second is not first


async def test_database_is_given_once_who_used_it_has_gone(own: Databases) -> None:
    async with own.one() as first:
        connection = await asyncpg.connect(first.url.reveal())
        await connection.execute("begin; insert into environment (name, url) values ('prod', 'https://prod')")
        connection.terminate()
    async with own.one() as second:
        assert await rows(second) == 0


async def test_database_that_somebody_still_uses_is_given_to_no_other_test(own: Databases) -> None:
    async with own.one() as first:
        connection = await asyncpg.connect(first.url.reveal())
    try:
        async with own.one() as second:
            assert second is not first
    finally:
        connection.terminate()


async def test_database_whose_connection_was_kept_is_given_to_no_other_test(own: Databases) -> None:
    async with own.one() as first:
        acquired = first.pool.acquire()
        await acquired.__aenter__()
    async with own.one() as second:
        assert second is not first
