"""The schema: from nothing, from every earlier version with data in it, by several at once, and never backwards."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import timedelta

import asyncpg
import pytest

from auditor.model.errors import StoreMismatch, StoreUnavailable
from auditor.model.finding import Severity, Violation
from auditor.reports.evidence.verifying import verify_database
from auditor.store import findings
from auditor.store import migrate as module
from auditor.store.as_of import look_back
from auditor.store.chain import linked
from auditor.store.connection import Connection, Pool
from auditor.store.database import connected
from auditor.store.embedded import Address
from auditor.store.migrate import is_current, migrate, migrations
from tests.databases import copied_database, url_of
from tests.reports.evidence_samples import POLICY, begun
from tests.store.history import HOUR, NOW, TOKEN, enrolment, found


@pytest.fixture
async def empty(server: Address) -> AsyncIterator[Pool]:
    """A pool on a database that nobody has migrated."""
    async with copied_database(server, url_of(server, "template0")) as url, connected(url, application="tests") as pool:
        yield pool


DIGEST = hashlib.sha256(POLICY).hexdigest()
WITH_SUBJECTS = 4
"""From this migration on a finding names its environment."""
WITH_DEADLINES = 10
"""From this migration on a finding says since when it has its severity."""
WITH_CHAIN = 12
"""From this migration on what is added to history is covered by a link of the chain."""
WITH_AGES = 13
"""From this migration on a delivery says since when it may leave, and what trying for too long ends in is dead."""
WITH_WITHDRAWALS = 22
"""From this migration on a use that lookups tell of no more is known to be gone."""
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
        await _assert_kept(connection, version)
        await _assert_next_sweep_goes_on(connection)
        await _assert_proved(connection)


async def _assert_kept(connection: Connection, version: int) -> None:
    assert await connection.fetchval("select count(*) from lookup where outcome = 'found'") == 1
    if version <= NAMES.index("0007_evidence.sql"):
        traced = await connection.fetchrow("select evidence, first_evident_at from lookup")
        assert tuple(traced or ()) == (1, NOW)
    states = await connection.fetch("select hook, state from delivery order by hook")
    assert [tuple(row) for row in states] == [("ops", "dead"), ("team", "delivered")]
    tried = await connection.fetch("select hook, number, is_delivered, answer from delivery_attempt order by hook")
    assert [tuple(row) for row in tried] == ([("ops", 9, False, "no"), ("team", 1, True, "HTTP 204")])
    shown = await findings.show(connection, f"prod/{TOKEN.id}/DT-EXP-01", NOW)
    assert shown is not None
    assert (shown[0].label, shown[0].owner, len(shown[1])) == (TOKEN.id, TOKEN.owner, 1)


async def _assert_next_sweep_goes_on(connection: Connection) -> None:
    """What was known is known, what is no longer so resolves, what is new opens; and the past stays as it was."""
    later = NOW + HOUR
    again = await begun(connection, "prod", later)
    async with linked(connection, again.environment, later):
        looked = (enrolment("one"), found(later))
        await again.record(looked, says={TOKEN.id: (Violation("DT-STA-01", Severity.LOW, "new", {}),)})
    async with linked(connection, again.environment, later):
        await again.finish()
    assert await connection.fetchval("select count(*) from token") == 1
    now = await connection.fetch("select rule_id, status from finding order by rule_id")
    assert [tuple(row) for row in now] == [("DT-EXP-01", "resolved"), ("DT-STA-01", "open")]
    async with connection.transaction():
        await look_back(connection, NOW)
        then = await connection.fetch("select rule_id, status, label from finding f join token t on t.id = f.token_id")
    assert [tuple(row) for row in then] == [("DT-EXP-01", "open", TOKEN.id)]


async def _assert_proved(connection: Connection) -> None:
    async with connection.transaction():
        proved = await verify_database(connection)
    assert proved.problems == []
    assert proved.records > 0


async def _fill(connection: Connection, version: int) -> None:
    """Write a token with a finding and its alert as an auditor of that version wrote them."""
    await connection.execute("insert into environment (name, url) values ('prod', 'https://prod.example.com')")
    await connection.execute("insert into policy values ($1, $2, $3)", DIGEST, POLICY.decode(), NOW)
    async with linked(connection, 1, NOW) if version >= WITH_CHAIN else nullcontext():
        await _fill_history(connection, version)
        if version >= WITH_CHAIN:
            await connection.execute("update sweep set batch = current_setting('auditor.batch')::bigint")
    await _fill_alerts(connection, version)


async def _fill_history(connection: Connection, version: int) -> None:
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


async def _fill_alerts(connection: Connection, version: int) -> None:
    await connection.execute(
        """
        insert into alert (id, event, severity, environment, at, data)
        values ('00000000-0000-0000-0000-000000000001', 'finding.opened', 'high', 'prod', $1, $2)
        """,
        NOW,
        f'{{"key": "prod/{TOKEN.id}/DT-EXP-01"}}',
    )
    has_ages = version >= WITH_AGES
    await connection.execute(
        f"""
        insert into delivery (alert_id, hook, state, attempts, last_attempt_at, last_answer
            {", since" if has_ages else ""})
        select id, hook, state, attempts, $1, answer {", at" if has_ages else ""}
        from alert, (values ('team', 'delivered', 1, 'HTTP 204'), ('ops', $2, 9, 'no'))
            tried (hook, state, attempts, answer)
        """,
        NOW,
        "dead" if has_ages else "given_up",
    )
    if has_ages:
        await connection.execute(
            """
            insert into delivery_attempt (alert_id, hook, number, at, is_delivered, answer)
            select alert_id, hook, attempts, last_attempt_at, state = 'delivered', last_answer from delivery
            """
        )


async def test_migration_that_fails_leaves_nothing_of_itself(empty: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = module.Migration(9000, "9000_broken.sql", "create table half (n integer); select no_such_function()")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), broken])
    async with empty.acquire() as connection:
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await migrate(connection)
        assert await connection.fetchval("select to_regclass('half')") is None
        applied = await connection.fetch("select name from schema_migration order by number")
        assert [row["name"] for row in applied] == NAMES
        assert await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)


def also(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Ship one more migration."""
    shipped = [*migrations(), module.Migration(9000, "9000_more.sql", sql)]
    monkeypatch.setattr(module, "migrations", lambda: shipped)


@pytest.mark.usefixtures("impatient")
async def test_migration_gives_way_to_who_is_at_work_and_is_applied_when_they_have_ended(
    database: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    also(monkeypatch, "alter table delivery add column more integer; alter table finding add column more integer")
    async with database.acquire() as migrating, database.acquire() as older:
        async with older.transaction():
            await older.execute("lock table finding in row exclusive mode")
            applied = asyncio.create_task(migrate(migrating))
            await _until_it_waits(older)
            await older.execute("lock table delivery in row exclusive mode")  # which the migration locked before
            assert not applied.done()
        assert await applied == ["9000_more.sql"]


async def _until_it_waits(connection: Connection) -> None:
    async with asyncio.timeout(20):
        while not await connection.fetchval("select exists (select from pg_locks where not granted)"):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@pytest.mark.usefixtures("impatient")
async def test_migration_that_never_gets_its_locks_ends_and_says_what_to_do(
    database: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    also(monkeypatch, "alter table finding add column more integer")
    monkeypatch.setattr(module, "_TRIES", 2)
    async with database.acquire() as migrating, database.acquire() as older, older.transaction():
        await older.execute("lock table finding in row exclusive mode")
        with pytest.raises(StoreUnavailable, match=r"9000_more.sql cannot be applied: .* pg_stat_activity shows them"):
            await migrate(migrating)
        assert await older.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


DISRUPTIVE = {
    "drops what older replicas use": r"\bdrop (table|column|view|schema|sequence)|\brename\b",
    "rewrites or reads a whole table under a lock": r"\balter( column)? \w+ (type|set not null)\b",
    "makes older replicas' rows fail": r"\badd column \w+ (?!.*\bdefault\b)[^,;]*\bnot null\b",
    "checks a whole table under a lock": r"\badd constraint\b(?![^,;]*\bnot valid\b)",
    "writes many rows under a lock": r"^\s*(update|delete from)\b",
}
"""What a migration must not do while older replicas run, and how SQL says it; docs/decisions/0003-migrations.md."""
BEFORE_ANY_RELEASE = 13
"""Up to this migration no replica ran an older schema."""


@pytest.mark.parametrize("migration", migrations()[BEFORE_ANY_RELEASE:], ids=lambda migration: str(migration.name))
def test_migration_is_safe_while_older_replicas_run(migration: module.Migration) -> None:
    assert disruptions(migration.sql) == []


def disruptions(sql: str) -> list[str]:
    """What is wrong with a migration; a line ``-- unlike the rule: REASON`` before a statement excuses it."""
    excused = re.sub(r"^-- unlike the rule: .+\n(?:--.*\n)*[^;]*;", "", sql, flags=re.MULTILINE)
    plain = re.sub(r"--.*", "", excused).lower()
    made = set(re.findall(r"\bcreate (?:unlogged )?table (\w+)", plain))
    indexed = set(re.findall(r"\bcreate (?:unique )?index \w+ on (\w+)", plain))
    found = ["builds an index over a table in use"] if indexed - made else []
    return found + [
        what
        for what, pattern in DISRUPTIVE.items()
        if any(re.search(pattern, statement, re.MULTILINE) for statement in plain.split(";"))
    ]


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("alter table t add column a integer; create table u (n integer not null); create index i on u (n);", 0),
        ("alter table t add column a integer not null default 0;", 0),
        ("alter table t add constraint c check (a > 0) not valid;", 0),
        ("-- unlike the rule: u is empty until this\nalter table u\n    alter a set not null;", 0),
        ("alter table t drop column a;", 1),
        ("alter table t alter column a type bigint;", 1),
        ("alter table t\n    add b integer,\n    alter b set not null;", 1),
        ("alter table t add column a integer not null;", 1),
        ("alter table t add constraint c check (a > 0);", 1),
        ("create unique index i on t (a);", 1),
        ("update t set a = 1;", 1),
        ("-- unlike the rule: small\nupdate t set a = 1; drop table t;", 1),
    ],
)
def test_what_would_disturb_older_replicas_is_found(sql: str, wrong: int) -> None:
    assert len(disruptions(sql)) == wrong


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(NAMES) + 1))


async def test_finding_is_severity_since_it_was_last_reopened(empty: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_use_that_is_gone_was_gone_when_the_token_changed_last(
    empty: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = migrations()
    async with empty.acquire() as connection:
        monkeypatch.setattr(module, "migrations", lambda: whole[: WITH_WITHDRAWALS - 1])
        await migrate(connection)
        await _fill(connection, WITH_WITHDRAWALS - 1)
        await connection.execute("update token set last_used_date = null, uses = 1, changed_at = $1", NOW + HOUR)
        monkeypatch.setattr(module, "migrations", lambda: whole)
        await migrate(connection)
        for instant, used in ((NOW, NOW), (NOW + HOUR, None)):
            async with connection.transaction():
                await look_back(connection, instant)
                assert await connection.fetchval("select last_used_date from token") == used
