"""The schema: from nothing, from every earlier version with data in it, by several at once, and never backwards."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import asyncpg
import pytest

from auditor.model.errors import StoreMismatch
from auditor.model.secret import Secret
from auditor.store import findings
from auditor.store.connection import Connection, Pool
from auditor.store.database import connected
from auditor.store.migrate import is_current, migrate, migrations
from tests.store.history import DIGEST, NOW, TOKEN, begin, enrolment

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


WITH_SUBJECTS = 4
"""From this migration on a finding names its environment."""
WITH_DEADLINES = 10
"""From this migration on a finding says since when it has its severity."""
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
        await _fill(connection, version)
        assert list(await migrate(connection))[:-1] == NAMES[version:]
        assert await connection.fetchval("select count(*) from lookup where outcome = 'found'") == 1
        if version <= NAMES.index("0007_evidence.sql"):
            traced = await connection.fetchrow("select evidence, first_evident_at from lookup")
            assert tuple(traced or ()) == (1, NOW)
        again = await begin(connection)
        ((_entry, known),) = await again.enrol(enrolment("one"))
        assert known is not None
        assert known.previous is not None
        shown = await findings.show(connection, f"prod/{TOKEN.id}/DT-EXP-01")
        assert shown is not None
        assert (shown[0].label, shown[0].owner, len(shown[1])) == (TOKEN.id, TOKEN.owner, 1)


async def _fill(connection: Connection, version: int) -> None:
    """Write a token with a finding as an auditor of that version wrote them."""
    await connection.execute("insert into environment (name, url) values ('prod', 'https://prod.example.com')")
    await connection.execute("insert into policy values ($1, '{}', $2)", DIGEST, NOW)
    await connection.execute(
        """
        insert into sweep (environment_id, policy_digest, rules, self_lookup, started_at, finished_at, status,
            enrolled, found)
        values (1, $1, '{}', false, $2, $2, 'complete', 1, 1)
        """,
        DIGEST,
        NOW,
    )
    await connection.execute(
        """
        insert into token (environment_id, fingerprint, label, public_id, places, tags, first_seen_at, outcome,
            changed_at, returned_id, name, owner, enabled, creation_date, last_used_date)
        values (1, $1, $2, $2, '{}', '{}', $3, 'found', $3, $2, $4, $5, true, $3, $3)
        """,
        enrolment("one").fingerprint,
        TOKEN.id,
        NOW,
        TOKEN.name,
        TOKEN.owner,
    )
    await connection.execute("insert into lookup values (1, 1, $1, 'found', '', $1, 0, 0)", NOW)
    await connection.execute("insert into token_change values (1, $1, 1, 'found', '{}')", NOW)
    await connection.execute("insert into token_use (token_id, observed_at, used_at) values (1, $1, $1)", NOW)
    further = {"environment_id": WITH_SUBJECTS, "severity_since": WITH_DEADLINES}
    columns = [name for name, since in further.items() if version >= since]
    values = {"environment_id": "1", "severity_since": "$1"}
    await connection.execute(
        f"""
        insert into finding (token_id, rule_id, discriminator, severity, status, message, evidence, opened_at
            {"".join(f", {name}" for name in columns)})
        values (1, 'DT-EXP-01', '', 'high', 'open', 'said', '{{}}', $1
            {"".join(f", {values[name]}" for name in columns)})
        """,
        NOW,
    )
    await connection.execute(
        """
        insert into finding_event (finding_id, sweep_id, at, transition, severity, message, evidence)
        values (1, 1, $1, 'opened', 'high', 'said', '{}')
        """,
        NOW,
    )


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


async def test_finding_is_severity_since_it_was_last_reopened(empty: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    from auditor.store import migrate as module

    whole = migrations()
    async with empty.acquire() as connection:
        monkeypatch.setattr(module, "migrations", lambda: whole[: WITH_DEADLINES - 1])
        await migrate(connection)
        await _fill(connection, WITH_DEADLINES - 1)
        for days, transition in enumerate(("resolved", "reopened", "escalated"), 1):
            await connection.execute(
                """
                insert into finding_event (finding_id, sweep_id, at, transition, severity, message, evidence)
                values (1, 1, $1::timestamptz + $2 * interval '1 day', $3, 'high', 'said', '{}')
                """,
                NOW,
                days,
                transition,
            )
        monkeypatch.setattr(module, "migrations", lambda: whole)
        await migrate(connection)
        assert await connection.fetchval("select severity_since - opened_at from finding") == timedelta(days=3)
