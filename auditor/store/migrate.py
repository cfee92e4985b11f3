"""Brings the database's schema up to what this auditor speaks; forward only, one migration a transaction.

Older replicas may be at work meanwhile, so a migration never waits long for a lock: what comes after a waiting one
waits behind it. It gives way and tries again. How migrations are written for that stands in
docs/decisions/0003-migrations.md.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Final

import asyncpg

from auditor.model.errors import StoreMismatch, StoreUnavailable
from auditor.store.connection import Connection

_LOCK: Final = 0x6175_6469_746F_72  # "auditor" in ASCII: one key for every process that migrates
_LOCK_TIMEOUT: Final = "500ms"
"""Less than PostgreSQL takes to look for a deadlock: a migration gives way before a sweep is chosen to."""
_PAUSE_SECONDS: Final = 0.5
_TRIES: Final = 120
"""Over one to two minutes; the longest transaction of a sweep is much shorter."""
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_BOOKKEEPING: Final = """
create table if not exists schema_migration (
    number integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
);
create table if not exists schema_component (
    name text primary key,
    version text not null
);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    sql: str


def migrations() -> Sequence[Migration]:
    """Return the shipped migrations in the order of their numbers."""
    found: list[Migration] = []
    for entry in files("auditor.store").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(connection: Connection) -> Sequence[str]:
    """Apply what is missing, under a lock that lets one process at a time migrate; return what was applied.

    Raises ``StoreMismatch`` where the database was migrated by a newer auditor, and ``StoreUnavailable`` where others
    hold what a migration changes for minutes; what was applied until then stays.
    """
    await connection.execute("select pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(_BOOKKEEPING)
        known = {migration.number: migration for migration in migrations()}
        applied = {
            row["number"]: row["name"] for row in await connection.fetch("select number, name from schema_migration")
        }
        newer = [name for number, name in applied.items() if number not in known]
        if newer:
            raise StoreMismatch(
                f"the database was migrated by a newer auditor ({', '.join(sorted(newer))}); "
                "upgrade this one, or restore the database from before that upgrade"
            )
        done: list[str] = []
        for number, migration in known.items():
            if number in applied:
                continue
            await _apply(connection, migration)
            done.append(migration.name)
        return [*done, *await _migrate_queue(connection)]
    finally:
        await connection.execute("select pg_advisory_unlock($1)", _LOCK)


async def _apply(connection: Connection, migration: Migration) -> None:
    for _try in range(_TRIES):
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into schema_migration (number, name) values ($1, $2)", migration.number, migration.name
                )
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
    raise StoreUnavailable(
        f"{migration.name} cannot be applied: other transactions hold its tables for minutes; "
        "pg_stat_activity shows them, end them or stop the older auditors"
    )


async def _migrate_queue(connection: Connection) -> Sequence[str]:
    """PgQueuer makes and upgrades its own tables; it is asked to whenever its version changed."""
    wanted = version("pgqueuer")
    if await connection.fetchval("select version from schema_component where name = 'pgqueuer'") == wanted:
        return ()
    from auditor.store.queue import install_queue  # with its library, which most commands can save

    await install_queue(connection)
    await connection.execute(
        """
        insert into schema_component (name, version) values ('pgqueuer', $1)
        on conflict (name) do update set version = excluded.version
        """,
        wanted,
    )
    return (f"pgqueuer {wanted}",)


async def is_current(connection: Connection) -> bool:
    """Tell whether every shipped migration is applied, without changing anything."""
    try:
        applied = {row["number"] for row in await connection.fetch("select number from schema_migration")}
    except asyncpg.UndefinedTableError:
        return False
    return applied >= {migration.number for migration in migrations()}
