"""The connection pool to PostgreSQL, and what its failures mean to a caller."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import asyncpg

from auditor.model.errors import StoreUnavailable
from auditor.model.secret import Secret
from auditor.store.connection import Connection, Pool
from auditor.store.embedded import DATABASE_NAME, DATABASE_USER, Address

CONNECT_SECONDS: Final = 10.0
COMMAND_SECONDS: Final = 120.0
_KEEPALIVE: Final = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""So that the server notices within half a minute that a machine is gone, whose locks it would else keep for hours."""
CLOSE_SECONDS: Final = 3.0

_ARRAYS: Final = {
    1000: ("bool", 16),
    1001: ("bytea", 17),
    1007: ("int4", 23),
    1016: ("int8", 20),
    1022: ("float8", 701),
    1182: ("date", 1082),
    1185: ("timestamptz", 1184),
    1187: ("interval", 1186),
    2951: ("uuid", 2950),
}
"""Types of arrays that statements send or return: each with its elements' type, by the numbers that every PostgreSQL
gives to its own types (``pg_type.dat``)."""

_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
_READ_ONLY: Final = asyncpg.ReadOnlySQLTransactionError
"""A standby, or a primary that was told to take no writes."""
_EXHAUSTED: Final = asyncpg.InsufficientResourcesError
"""Of disk, memory or connections."""
_FAULTY: Final = asyncpg.PostgresSystemError
"""A file of the server that cannot be read or written, for instance."""
_CANCELLED: Final = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
)
"""By an administrator, or by a time limit of the server or the role."""
_BROKEN_OFF: Final = asyncpg.TransactionRollbackError
"""A deadlock, with a migration for instance, that PostgreSQL ended at our cost."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors about a server that is away or ill, refuses, takes no writes or broke off into ``StoreUnavailable``.

    In a task that is being cancelled they are its cancellation again, in whose place they came: a transaction or a
    connection that is given up may fail at that. Who goes on after ``StoreUnavailable`` would never end else.
    """
    try:
        yield
    except (*_REFUSED, _READ_ONLY, _EXHAUSTED, _FAULTY, *_CANCELLED, _BROKEN_OFF, *_LOST) as error:
        if is_being_cancelled():
            raise asyncio.CancelledError from error
        raise StoreUnavailable(_told(error)) from error


def is_being_cancelled() -> bool:
    """Whether the running task was asked to end: an error that it meets on its way must not keep it from that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _told(error: Exception) -> str:
    if isinstance(error, _REFUSED):
        return (
            f"PostgreSQL refused: {error}; see that the role and the database of [database] url exist and that the "
            "role may create tables and a schema"
        )
    if isinstance(error, _READ_ONLY):
        return (
            f"PostgreSQL takes no writes: {error}; see that [database] url leads to the primary, and that "
            "default_transaction_read_only is off"
        )
    if isinstance(error, _CANCELLED):
        return (
            f"PostgreSQL gave up what it was asked: {error}; try again, and if it persists see in its log who cancels, "
            "and to the time limits of the role (statement_timeout, lock_timeout and their like)"
        )
    if isinstance(error, _FAULTY):
        return f"PostgreSQL cannot work: {error}; see to its log and its disk"
    if isinstance(error, _EXHAUSTED):
        return f"PostgreSQL cannot work: {error}; see to its disk, memory and connections"
    if isinstance(error, _BROKEN_OFF):
        return f"PostgreSQL broke a transaction off: {error}; try again"
    return (
        f"PostgreSQL cannot be reached: {str(error) or type(error).__name__}; see that the server runs and that "
        "[database] url is right"
    )


async def until_lost(connection: Connection) -> None:
    """Return when a connection has ended without being asked to: its server stopped, or the way there broke."""
    is_lost = asyncio.Event()

    def note(_connection: object) -> None:
        is_lost.set()

    connection.add_termination_listener(note)
    try:
        await is_lost.wait()
    finally:
        if not is_lost.is_set():
            connection.remove_termination_listener(note)


@asynccontextmanager
async def connected(server: Secret | Address, *, application: str, connections: int = 4) -> AsyncIterator[Pool]:
    """Open a pool to the server of a URL or to an embedded one, for the length of the block.

    ``application`` is what ``pg_stat_activity`` shows. Raises ``StoreUnavailable`` where no connection can be made;
    no message shows the URL, which may hold a password.
    """
    if isinstance(server, Address):
        where: dict[str, str] = {
            "host": str(server.socket_directory),
            "user": DATABASE_USER,
            "database": DATABASE_NAME,
        }
    else:
        where = {"dsn": server.reveal()}
    with translated():
        try:
            pool: Pool = await asyncpg.create_pool(
                **where,
                min_size=1,
                max_size=connections,
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                init=_introduce_arrays,
                server_settings={"application_name": application, "timezone": "UTC", **_KEEPALIVE},
            )
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise StoreUnavailable(
                "[database] url is not a PostgreSQL URL such as postgresql://user@host:5432/database"
            ) from error
    try:
        yield pool
    finally:
        # Who used a connection has let go of it by now, but one that broke at the wrong moment is never released, or
        # breaks where it says that it ends.
        with suppress(*_LOST):
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()


async def _introduce_arrays(connection: asyncpg.Connection) -> None:
    """Tell a new connection of the types of arrays.

    It knows none but ``text[]``, and would ask PostgreSQL about those of each statement, some milliseconds of work.
    """
    connection.get_settings().register_data_types(
        [
            {
                "oid": number,
                "ns": "pg_catalog",
                "name": f"_{element}",
                "kind": b"b",
                "basetype": None,
                "elemtype": element_number,
                "elemdelim": ",",
                "range_subtype": None,
                "attrtypoids": None,
                "attrnames": None,
            }
            for number, (element, element_number) in _ARRAYS.items()
        ]
    )
