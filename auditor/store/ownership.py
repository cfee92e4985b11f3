"""Which environments a process sweeps: advisory locks, all of them on one connection however many there are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from auditor.model.errors import StoreUnavailable, SweepUnderWay
from auditor.store.connection import Connection, Pool
from auditor.store.database import until_lost

_LOCK_CLASS: Final = 0x7377_6565  # "swee" in ASCII: sweeps among advisory locks of two keys


class _Holder:
    """A connection that holds locks; locks end with it, so a process that was killed owns nothing."""

    def __init__(self, pool: Pool) -> None:
        self.users = 0
        self.turn = asyncio.Lock()
        """Of who asks something: a connection answers one at a time."""
        self.connection: Connection | None = None
        self.is_lost = False
        self._acquired: AbstractAsyncContextManager[Connection] = pool.acquire()

    async def open(self) -> Connection:
        if self.connection is None:
            self.connection = await self._acquired.__aenter__()
            self.connection.add_termination_listener(self._note_loss)
        return self.connection

    async def close(self) -> None:
        if self.connection is not None:
            if not self.is_lost:
                self.connection.remove_termination_listener(self._note_loss)
            await self._acquired.__aexit__(None, None, None)

    def _note_loss(self, _connection: object) -> None:
        self.is_lost = True


class Ownership:
    """The environments that this process owns. Takes a connection of the pool while there are any."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._holder: _Holder | None = None
        self._owned: set[int] = set()
        """Of this process: PostgreSQL gives a session a lock that it has once more."""

    @asynccontextmanager
    async def of(self, name: str, environment: int) -> AsyncIterator[Connection]:
        """Own an environment for the length of the block; it ends with the connection that is given.

        That connection is for nothing but being watched. Raises ``SweepUnderWay`` where somebody else owns the
        environment.
        """
        if environment in self._owned:
            raise _under_way(name)
        if self._holder is None or self._holder.is_lost:
            self._holder = _Holder(self._pool)
        holder = self._holder
        holder.users += 1
        self._owned.add(environment)
        try:
            async with holder.turn:
                connection = await holder.open()
                if not await connection.fetchval("select pg_try_advisory_lock($1, $2)", _LOCK_CLASS, environment):
                    raise _under_way(name)
            try:
                yield connection
            finally:
                async with holder.turn:
                    if not holder.is_lost:
                        await connection.fetchval("select pg_advisory_unlock($1, $2)", _LOCK_CLASS, environment)
        finally:
            self._owned.discard(environment)
            holder.users -= 1
            if not holder.users:
                if self._holder is holder:
                    self._holder = None
                await holder.close()


def _under_way(name: str) -> SweepUnderWay:
    return SweepUnderWay(f'environment "{name}" is being swept by another process; wait for that sweep to end')


async def guard(connection: Connection, name: str) -> None:
    """Raise ``StoreUnavailable`` when the connection that owns an environment ends: another may own it by now."""
    await until_lost(connection)
    raise StoreUnavailable(f'the connection that owns environment "{name}" was lost')
