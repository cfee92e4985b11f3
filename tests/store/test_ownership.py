"""Environments that a process owns: one owner at a time, and one connection for all that one process owns."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from auditor.model.errors import StoreUnavailable, SweepUnderWay
from auditor.model.secret import Secret
from auditor.store.connection import Connection, Pool
from auditor.store.database import connected
from auditor.store.ownership import Ownership, guard


@pytest.fixture
async def rival(database_url: Secret) -> AsyncIterator[Ownership]:
    """Another process."""
    async with connected(database_url, application="rival", connections=1) as pool:
        yield Ownership(pool)


async def locks(database: Pool) -> list[int]:
    async with database.acquire() as connection:
        rows = await connection.fetch("select objid::int as id from pg_locks where locktype = 'advisory' order by 1")
    return [row["id"] for row in rows]


async def end(database: Pool, connection: Connection) -> None:
    process = await connection.fetchval("select pg_backend_pid()")
    async with database.acquire() as other:
        await other.execute("select pg_terminate_backend($1, 10000)", process)


async def test_environment_has_one_owner(database: Pool, rival: Ownership) -> None:
    ownership = Ownership(database)
    async with ownership.of("prod", 1):
        for other in (rival, ownership):
            with pytest.raises(SweepUnderWay, match='"prod" is being swept by another process'):
                async with other.of("prod", 1):
                    pass
        async with rival.of("other", 2):
            pass
    async with rival.of("prod", 1):
        pass


async def test_many_environments_are_owned_on_one_connection_which_goes_back(database: Pool) -> None:
    ownership = Ownership(database)
    connections = set()

    async def own(number: int, all_own: asyncio.Barrier) -> None:
        async with ownership.of(f"environment {number}", number) as connection:
            connections.add(connection)
            await all_own.wait()
            if number == 0:
                assert await locks(database) == list(range(10))
            await all_own.wait()

    barrier = asyncio.Barrier(10)
    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(own(number, barrier))
    assert len(connections) == 1
    assert await locks(database) == []


async def test_ownership_ends_with_its_connection_and_can_be_had_again_on_another(
    database: Pool, rival: Ownership
) -> None:
    ownership = Ownership(database)
    async with ownership.of("prod", 1) as owner:
        watching = asyncio.create_task(guard(owner, "prod"))
        await asyncio.sleep(0)
        await end(database, owner)
        with pytest.raises(StoreUnavailable, match='the connection that owns environment "prod" was lost'):
            await watching
        async with rival.of("prod", 1):
            pass
        async with ownership.of("other", 2):
            assert await locks(database) == [2]
    async with ownership.of("prod", 1):
        assert await locks(database) == [1]
