"""Brings the database's schema up to what this auditor speaks; forward only, one migration a transaction."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Final

import asyncpg

from auditor.model.errors import StoreMismatch
from auditor.store.connection import Connection
from auditor.store.queue import install_queue

_LOCK: Final = 0x6175_6469_746F_72  # "auditor" in ASCII: one key for every process that migrates
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

    Raises ``StoreMismatch`` where the database was migrated by a newer auditor.
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
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into schema_migration (number, name) values ($1, $2)", number, migration.name
                )
            done.append(migration.name)
        return [*done, *await _migrate_queue(connection)]
    finally:
        await connection.execute("select pg_advisory_unlock($1)", _LOCK)


async def _migrate_queue(connection: Connection) -> Sequence[str]:
    """PgQueuer makes and upgrades its own tables; it is asked to whenever its version changed."""
    wanted = version("pgqueuer")
    if await connection.fetchval("select version from schema_component where name = 'pgqueuer'") == wanted:
        return ()
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
