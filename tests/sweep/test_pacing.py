"""What a sweep learns of how many requests at once its environment serves, and the next one begins with."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

from auditor.dynatrace.client import Client
from auditor.model.token import StoredToken
from auditor.simulator import Capacity
from auditor.store.connection import Pool
from auditor.sweep.sweeper import sweep
from tests.dynatrace.virtual_environment import run
from tests.sweep.conftest import ListSource, Stage, client_of, secrets_of, stored

MONTH = timedelta(days=31)
ROOMY = Capacity(workers=32, queue=100, service_seconds=0.1)
TIGHT = Capacity(workers=8, queue=100, service_seconds=0.1)
FIRST = 4


class TeachingSource(ListSource):
    """While it is read, the sweep's client learns what an environment of that capacity takes."""

    def __init__(self, stage: Stage, client: Client, capacity: Capacity | None) -> None:
        super().__init__("vault", stored(secrets_of(stage, 1)))  # one lookup by itself teaches nothing
        self._client = client
        self._capacity = capacity

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        if self._capacity is not None:
            run(self._client.limit, self._capacity, 30)
        async for tokens in super().read():
            yield tokens


async def swept(database: Pool, stage: Stage, client: Client, capacity: Capacity | None = None) -> int:
    """Sweep once and return how many requests at once the client permits then."""
    async with client:
        await sweep(database, replace(stage.subject(TeachingSource(stage, client, capacity)), client=client))
    return client.limit.value


async def kept(database: Pool) -> list[tuple[int, str]]:
    """What the database holds, with the transaction that wrote it."""
    async with database.acquire() as connection:
        rows = await connection.fetch("select concurrency, xmin::text as written from learned_limit")
    return [(row["concurrency"], row["written"]) for row in rows]


async def test_next_process_begins_with_half_of_what_the_last_one_learned(
    database: Pool, staged: Callable[..., AbstractAsyncContextManager[Stage]]
) -> None:
    async with staged() as stage:

        def another(**settings: object) -> Client:
            return client_of(stage.url, stage.own, stage.clock, **settings)

        assert await swept(database, stage, another()) == FIRST
        assert await kept(database) == []  # nothing was learned

        owner = another()
        learned = await swept(database, stage, owner, ROOMY)
        (first,) = await kept(database)
        assert first[0] in range(max(30, learned * 4 // 5), learned * 5 // 4)

        assert await swept(database, stage, another()) == (first[0] + 1) // 2
        assert await swept(database, stage, another(concurrency=8)) == FIRST
        assert await swept(database, stage, another(), ROOMY) > 30
        assert await swept(database, stage, owner) == learned  # it knows more than the row
        assert await kept(database) == [first]  # much the same needs no write

        await swept(database, stage, another(), TIGHT)
        ((fewer, _written),) = await kept(database)
        assert fewer in range(7, 25)  # of which a wide queue takes any
        assert await swept(database, stage, owner) == (fewer + 1) // 2  # another has learned more since

        stage.clock.advance(MONTH)
        assert await swept(database, stage, another()) == FIRST


async def test_what_another_url_taught_is_not_taken_up(
    database: Pool, staged: Callable[..., AbstractAsyncContextManager[Stage]]
) -> None:
    async with staged() as stage:
        await swept(database, stage, stage.client, ROOMY)
    async with staged() as moved:
        assert await swept(database, moved, client_of(moved.url, moved.own, moved.clock)) == FIRST
