"""The schema: from nothing, from every earlier version with data in it, by several at once, and never backwards."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import asyncpg
import pytest

from auditor.model.errors import StoreMismatch
from auditor.model.secret import Secret
from auditor.store.connection import Pool
from auditor.store.database import connected
from auditor.store.migrate import is_current, migrate, migrations
from tests.store.history import begin, enrolment, found

_numbers = count()


@pytest.fixture
async def empty(database: Pool, database_url: Secret) -> AsyncIterator[Pool]:
    """A pool on a database that nobody has migrated."""
    name = f"empty_{next(_numbers)}"
    async with database.acquire() as connection:
        await connection.execute(f"create database {name} template template0")
        try:
            url = Secret(f"postgresql:///{name}?{database_url.reveal().partition('?')[2]}")
            async with connected(url, application="tests") as pool:
                yield pool
        finally:
            await connection.execute(f"drop database {name} with (force)")


NAMES = [migration.name for migration in migrations()]


async def test_empty_database_gets_every_migration_and_the_queue_once(empty: Pool) -> None:
    async with empty.acquire() as connection:
        assert not await is_current(connection)
        *applied, queue = await migrate(connection)
        assert applied == NAMES
        assert queue.startswith("pgqueuer ")
        assert await is_current(connection)
        assert await migrate(connection) == []


async def test_processes_that_migrate_at_the_same_time_take_turns(empty: Pool) -> None:
    async def one() -> list[str]:
        async with empty.acquire() as connection:
            return list(await migrate(connection))

    applied = await asyncio.gather(*(one() for _number in range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(NAMES) + 1]


async def test_database_of_a_newer_auditor_is_refused_and_left_alone(database: Pool) -> None:
    async with database.acquire() as connection:
        await connection.execute("insert into schema_migration (number, name) values (9999, '9999_future.sql')")
        with pytest.raises(StoreMismatch, match=r"newer auditor \(9999_future.sql\); upgrade this one"):
            await migrate(connection)
        assert await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


@pytest.mark.parametrize("version", range(1, len(NAMES) + 1))
async def test_database_of_an_earlier_version_migrates_on_with_its_data(empty: Pool, version: int) -> None:
    async with empty.acquire() as connection:
        await connection.execute(
            """
            create table schema_migration (
                number integer primary key, name text not null, applied_at timestamptz not null default now());
            """
        )
        for migration in migrations()[:version]:
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into schema_migration (number, name) values ($1, $2)", migration.number, migration.name
            )
        sweep = await begin(connection)
        await sweep.record((enrolment("one"), found()))
        await sweep.finish()
        assert list(await migrate(connection))[:-1] == NAMES[version:]
        assert await connection.fetchval("select count(*) from lookup where outcome = 'found'") == 1
        again = await begin(connection)
        ((_entry, known),) = await again.enrol(enrolment("one"))
        assert known is not None
        assert known.previous is not None


async def test_migration_that_fails_leaves_nothing_of_itself(empty: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    from auditor.store import migrate as module

    broken = module.Migration(9000, "9000_broken.sql", "create table half (n integer); select no_such_function()")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), broken])
    async with empty.acquire() as connection:
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await migrate(connection)
        assert await connection.fetchval("select to_regclass('half')") is None
        applied = await connection.fetch("select name from schema_migration order by number")
        assert [row["name"] for row in applied] == NAMES
        assert await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(NAMES) + 1))
