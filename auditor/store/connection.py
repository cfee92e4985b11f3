"""What the store's functions need of a connection: the part of asyncpg that they use, typed."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Any
"""A record of asyncpg: values by column name or position."""


class Connection(Protocol):
    """One connection; ``asyncpg.Connection`` and a pool's proxy both are."""

    async def execute(self, query: str, *args: object) -> str: ...
    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None: ...
    async def fetch(self, query: str, *args: object) -> Sequence[Row]: ...
    async def fetchrow(self, query: str, *args: object) -> Row | None: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...
    def is_in_transaction(self) -> bool: ...
    def transaction(self, *, isolation: str = ..., readonly: bool = ...) -> AbstractAsyncContextManager[None]: ...
    def cursor(self, query: str, *args: object, prefetch: int = ...) -> "Cursor": ...
    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...
    def remove_termination_listener(self, callback: Callable[[object], None]) -> None: ...


class OpenCursor(Protocol):
    """A cursor that was awaited."""

    async def fetch(self, n: int) -> Sequence[Row]: ...


class Cursor(Protocol):
    """The rows of a query: one by one by iteration, many at a time once awaited. Lives within a transaction."""

    def __aiter__(self) -> AsyncIterator[Row]: ...
    def __await__(self) -> Generator[Any, None, OpenCursor]: ...


class Pool(Protocol):
    """A pool of connections; ``asyncpg.Pool`` is."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


async def fetch_planned_anew(connection: Connection, query: str, *args: object) -> Sequence[Row]:
    """Fetch with a plan made for these values and the tables as they are now.

    PostgreSQL keeps the plan of a statement that it has run some times, and one made while a table was nearly empty
    reads the whole of it once it is large. For all statements of a connection at once the setting would be wrong: the
    checks of foreign keys, one a row, would be planned anew, too.
    """
    force = "set local plan_cache_mode = force_custom_plan"
    if connection.is_in_transaction():  # a savepoint would be two round trips more
        await connection.execute(force)
        rows = await connection.fetch(query, *args)
        await connection.execute("set local plan_cache_mode = auto")
        return rows
    async with connection.transaction():
        await connection.execute(force)
        return await connection.fetch(query, *args)
