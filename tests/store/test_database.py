"""The pool, and what is said of a server that is away, refuses or is exhausted."""

import asyncio
from datetime import UTC, datetime, timedelta
from threading import Thread
from uuid import UUID

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionHolder

from auditor.model.errors import StoreUnavailable
from auditor.model.secret import Secret
from auditor.store.connection import Pool
from auditor.store.database import connected, translated, until_lost


async def open_and_close(url: str) -> None:
    async with connected(Secret(url), application="tests"):
        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://auditor:hush@127.0.0.1:1/auditor", r"PostgreSQL cannot be reached: .*\[database\] url is right"),
        ("postgresql:///auditor?host=/nonexistent", r"PostgreSQL cannot be reached: .*"),
        ("mysql://auditor:hush@127.0.0.1/auditor", r"\[database\] url is not a PostgreSQL URL such as .*"),
        ("postgresql://auditor:hush@127.0.0.1:port/auditor", r"\[database\] url is not a PostgreSQL URL such as .*"),
    ],
)
async def test_server_that_is_not_there_is_told_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message) as raised:
        await open_and_close(url)
    assert "hush" not in str(raised.value)


async def test_database_that_does_not_exist_is_a_refusal(database_url: Secret) -> None:
    with pytest.raises(StoreUnavailable, match=r'PostgreSQL refused: database "nowhere" does not exist; see that'):
        await open_and_close(f"postgresql:///nowhere?{database_url.reveal().partition('?')[2]}")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (asyncpg.DiskFullError("no space left"), "PostgreSQL cannot work: no space left; see to its disk"),
        (asyncpg.TooManyConnectionsError("too many clients"), "PostgreSQL cannot work: too many clients"),
        (asyncpg.AdminShutdownError("terminating"), "PostgreSQL cannot be reached: terminating"),
        (asyncpg.DatabaseDroppedError("dropped"), "PostgreSQL cannot be reached: dropped"),
        (
            asyncpg.PostgresIOError("could not read block"),
            "PostgreSQL cannot work: could not read block; see to its log",
        ),
        (asyncpg.QueryCanceledError("user request"), "PostgreSQL gave up what it was asked: user request; try again"),
        (asyncpg.IdleSessionTimeoutError("idle"), "PostgreSQL gave up what it was asked: idle; try again, and if"),
        (asyncpg.IdleInTransactionSessionTimeoutError("idle"), "PostgreSQL gave up what it was asked: idle; try again"),
        (asyncpg.TransactionTimeoutError("long"), "PostgreSQL gave up what it was asked: long; try again"),
        (TimeoutError(), "PostgreSQL cannot be reached: TimeoutError"),
    ],
)
async def test_outage_of_any_kind_is_unavailability(error: Exception, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message), translated():
        raise error


@pytest.mark.parametrize(
    ("setting", "statement", "message"),
    [
        ("default_transaction_read_only = on", "create table t ()", "takes no writes: .*leads to the primary"),
        ("statement_timeout = '10ms'", "select pg_sleep(60)", "gave up what it was asked: .*due to statement timeout"),
        ("lock_timeout = '10ms'", "select from finding", "gave up what it was asked: .*due to lock timeout"),
    ],
)
async def test_what_an_administrator_sets_is_unavailability(
    database: Pool, setting: str, statement: str, message: str
) -> None:
    async def ask() -> None:
        with translated():
            async with database.acquire() as connection:
                await connection.execute(f"set {setting}")
                await connection.execute(statement)

    async with database.acquire() as other, other.transaction():
        await other.execute("lock table finding")
        with pytest.raises(StoreUnavailable, match=f"PostgreSQL {message}"):
            await ask()


async def test_defect_of_ours_is_none() -> None:
    with pytest.raises(asyncpg.UniqueViolationError), translated():
        raise asyncpg.UniqueViolationError("duplicate key")


async def test_cancellation_is_not_lost_where_the_database_goes_away_meanwhile() -> None:
    async def work() -> None:
        with translated():
            try:
                await asyncio.sleep(60)
            finally:
                raise asyncpg.InterfaceError("cannot roll back: the underlying connection is closed")

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()


async def test_connection_that_ends_just_before_it_is_closed_does_not_fail_the_end(
    database_url: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(process: int) -> None:
        connection = await asyncpg.connect(database_url.reveal())
        await connection.execute("select pg_terminate_backend($1, 10_000)", process)
        await connection.close()

    async def close(holder: PoolConnectionHolder) -> None:
        if holder.is_connected():  # our loop stands meanwhile, and does not hear of it
            ending = Thread(target=lambda: asyncio.run(end(process)))
            ending.start()
            ending.join()
            ended.append(process)
        await closed(holder)

    ended: list[int] = []
    closed = PoolConnectionHolder.close
    monkeypatch.setattr(PoolConnectionHolder, "close", close)
    async with connected(database_url, application="tests") as pool, pool.acquire() as connection:
        process = await connection.fetchval("select pg_backend_pid()")
    assert ended == [process]


async def test_connection_that_is_never_released_does_not_hold_up_the_end(
    database_url: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.store.database.CLOSE_SECONDS", 0.1)
    async with asyncio.timeout(20), connected(database_url, application="tests") as pool:
        await pool.acquire().__aenter__()


async def test_loss_of_a_connection_is_noticed_while_nobody_uses_it(database: Pool) -> None:
    async with database.acquire() as watched, database.acquire() as other:
        waiting = asyncio.create_task(until_lost(watched))
        process = await watched.fetchval("select pg_backend_pid()")
        assert not waiting.done()
        await other.execute("select pg_terminate_backend($1)", process)
        async with asyncio.timeout(20):
            await waiting


async def test_watch_that_ends_leaves_the_connection_as_it_was(database: Pool) -> None:
    async with database.acquire() as watched:
        waiting = asyncio.create_task(until_lost(watched))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert await watched.fetchval("select 1") == 1


async def test_server_is_told_to_look_soon_whether_a_connection_still_lives(database: Pool) -> None:
    async with database.acquire() as connection:
        rows = await connection.fetch(
            "select name from pg_settings where name ~ '^tcp_keepalives_' and source = 'client'"
        )
    assert len(rows) == 3


async def test_connection_asks_nothing_about_arrays(database_url: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement with one would cost PostgreSQL some milliseconds, on each connection anew."""
    asked: list[object] = []

    async def ask(_connection: object, oids: object, _seconds: object) -> None:
        asked.append(oids)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", ask)
    at = datetime(2026, 7, 1, tzinfo=UTC)
    values = (
        [True],
        [b"\x00"],
        [-1],
        [2**40],
        [0.5],
        [at.date()],
        [at],
        [timedelta(hours=1)],
        [UUID(int=7)],
        ["a", None],
    )
    async with connected(database_url, application="tests") as pool, pool.acquire() as connection:
        row = await connection.fetchrow(
            """
            select $1::boolean[], $2::bytea[], $3::integer[], $4::bigint[], $5::double precision[], $6::date[],
                $7::timestamptz[], $8::interval[], $9::uuid[], $10::text[]
            """,
            *values,
        )
    assert asked == []
    assert tuple(row or ()) == values
