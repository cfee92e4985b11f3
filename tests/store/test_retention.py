"""What is older than it is kept goes; what is evidence of the rest is proved as before."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
import pytest

from auditor.model.retention import Retention
from auditor.model.secret import Secret
from auditor.reports.evidence.package import write
from auditor.reports.evidence.verifying import Verified, verify_database, verify_package
from auditor.reports.period import Period, parse_period
from auditor.store import as_of, chain, lookback, sweeps
from auditor.store.chain import Header
from auditor.store.connection import Connection, Pool
from auditor.store.database import connected
from auditor.store.embedded import Address
from auditor.sweep.pruning import Kind, Pruned, prune, would_prune
from tests.databases import copied_database, execute, url_of
from tests.reports.evidence_samples import KEY, begun
from tests.store.history import HOUR, NOW, enrolment, found

DAY = timedelta(days=1)
KEPT = Retention(uses=30 * DAY, alerts=None, queue_log=None)
LATER = NOW + 64 * DAY
"""A day of January on which what is older than December goes: NOW is 24 November."""
HORIZON = datetime.fromisoformat("2026-12-01T00:00Z")
RARE, OFTEN = "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA", "dt0c01.BBBBBBBBBBBBBBBBBBBBBBBB"


async def lived_through(connection: Connection, days: int = 12) -> None:
    """A sweep a day: one token is used before each of them, another was once, the day before the first."""
    for day in range(days):
        now = NOW + day * DAY
        sweep = await begun(connection, "prod", now)
        async with chain.linked(connection, sweep.environment, now):
            await sweep.record(
                (enrolment("rare", public_id=RARE), found(now, id=RARE, last_used_date=NOW - DAY)),
                (enrolment("often", public_id=OFTEN), found(now, id=OFTEN, last_used_date=now - HOUR)),
            )
        async with chain.linked(connection, sweep.environment, now):
            await sweep.finish()


@pytest.fixture(scope="module")
def before(server: Address) -> Iterator[Secret]:
    """The URL of a database that lived through twelve days."""
    url = url_of(server, "before_retention")

    async def live() -> None:
        await execute(server, "create database before_retention template migrated strategy file_copy")
        async with connected(url, application="tests", connections=1) as pool, pool.acquire() as connection:
            await lived_through(connection)

    asyncio.run(live())
    yield url
    asyncio.run(execute(server, "drop database before_retention with (force)"))


@pytest.fixture
async def old(server: Address, before: Secret) -> AsyncIterator[Pool]:
    """A pool on a database that lived through twelve days."""
    async with copied_database(server, before) as url, connected(url, application="tests") as pool:
        yield pool


async def seen(connection: Connection) -> list[tuple[str, datetime]]:
    rows = await connection.fetch(
        "select t.label, u.observed_at from token_use u join token t on t.id = u.token_id order by 1, 2"
    )
    return [tuple(row) for row in rows]


async def verified(connection: Connection) -> Verified:
    async with connection.transaction():
        return await verify_database(connection)


async def last_used(connection: Connection, instant: datetime) -> Sequence[object]:
    async with connection.transaction():
        await as_of.look_back(connection, instant)
        rows = await connection.fetch("select label, last_used_date, last_used_ip_address from token order by 1")
    return [tuple(row) for row in rows]


async def packed(database: Pool, period: Period | None = None) -> Verified:
    out = io.BytesIO()
    await write(database, out, now=LATER, period=period, environments=["prod"], key=KEY)
    return verify_package(out)  # type: ignore[arg-type]  # a zip file may be an open one


async def test_uses_of_before_go_and_the_last_one_of_each_token_stays(old: Pool) -> None:
    async with old.acquire() as connection:
        assert await would_prune(connection, KEPT, LATER) == [Pruned(Kind.USES, HORIZON, 6)]
        assert await prune(old, KEPT, LATER) == [Pruned(Kind.USES, HORIZON, 6)]
        days = [NOW + day * DAY for day in range(6, 12)]  # of 30 November, the last before the horizon, and later
        assert await seen(connection) == [(RARE, NOW), *((OFTEN, day) for day in days)]
        assert await prune(old, KEPT, LATER) == [Pruned(Kind.USES, HORIZON, 0)]


async def test_chain_is_proved_after_uses_went_and_says_so(old: Pool) -> None:
    async with old.acquire() as connection:
        before = await verified(connection)
        await prune(old, KEPT, LATER)
        after = await verified(connection)
        async with connection.transaction():
            *_earlier, last = [link async for link in chain.links(connection, "prod")]
    assert (after.problems, after.uses_removed) == ([], 6)
    assert (after.links, after.records) == (before.links + 1, before.records - 6)
    header = msgspec.json.decode(last.header, type=Header)
    assert header.states == {
        "uses_removed": {"through": 14, "before": "2026-12-01T00:00:00Z", "removed": 6, "carried": 2}
    }
    assert (header.records, header.uses) == (0, 2)


@pytest.mark.parametrize("at_once", [1, 3, 5000])
async def test_uses_go_in_batches_that_are_links_of_their_own(
    old: Pool, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("auditor.store.retention.AT_ONCE", at_once)
    monkeypatch.setattr("auditor.store.retention._LINKS_AT_ONCE", 2)
    async with old.acquire() as connection:
        await prune(old, KEPT, LATER)
        assert len(await seen(connection)) == 7
        assert (await verified(connection)).problems == []


async def test_uses_that_were_carried_over_go_in_their_turn(old: Pool) -> None:
    async with old.acquire() as connection:
        await prune(old, KEPT, LATER)
        await prune(old, KEPT, LATER + 31 * DAY)
        await prune(old, KEPT, LATER + 62 * DAY)
        assert await seen(connection) == [(RARE, NOW), (OFTEN, NOW + 11 * DAY)]
        assert (await verified(connection)).problems == []


async def test_reports_from_the_horizon_on_are_as_before(old: Pool) -> None:
    instants = [HORIZON, HORIZON + HOUR, NOW + 9 * DAY, LATER]
    async with old.acquire() as connection:
        before = [await last_used(connection, instant) for instant in instants]
        await prune(old, KEPT, LATER)
        assert [await last_used(connection, instant) for instant in instants] == before


async def test_rules_see_the_same_as_far_as_they_look_back(old: Pool) -> None:
    async with old.acquire() as connection:
        tokens = [row["id"] for row in await connection.fetch("select id from token")]
        before = (await lookback.uses(connection, tokens, HORIZON))[tokens[1]]
        await prune(old, KEPT, LATER)
        after = (await lookback.uses(connection, tokens, HORIZON))[tokens[1]]
    assert after == before[-len(after) :]
    assert after[0].observed_at < HORIZON <= after[1].observed_at


async def test_reports_of_before_say_that_they_are_not_exact(old: Pool) -> None:
    async with old.acquire() as connection:
        await connection.execute("update schema_migration set applied_at = $1", NOW)
        assert await as_of.exact_since(connection) == NOW
        await prune(old, KEPT, LATER)
        assert await as_of.exact_since(connection, ["prod"]) == HORIZON
        assert await as_of.exact_since(connection, ["dev"]) == NOW


async def test_packages_are_proved_after_uses_went(old: Pool) -> None:
    await prune(old, KEPT, LATER)
    whole = await packed(old)
    assert (whole.problems, whole.uses_removed) == ([], 6)
    november = await packed(old, parse_period("2026-11"))
    assert (november.problems, november.links > 0) == ([], True)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("update token_use set ip_address = '198.51.100.1' where observed_at < '2026-11-25'", "its records are not"),
        ("delete from token_use where observed_at < '2026-12-01'", "its uses are not there, and no later link says"),
        ("delete from token_use where observed_at > '2026-12-03'", "its uses are not there, and no later link says"),
    ],
)
async def test_uses_that_went_past_the_auditor_are_named(old: Pool, statement: str, problem: str) -> None:
    async with old.acquire() as connection:
        await prune(old, KEPT, LATER)
        await connection.execute(statement)
        (said,) = (await verified(connection)).problems
    assert problem in said


async def test_uses_of_links_from_before_uses_had_a_digest_stay(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection, 3)
        await connection.execute("update chain_link set header = replace(header, '\"uses\":', '\"was\":')")
        await prune(database, KEPT, LATER)
        assert len(await seen(connection)) == 4


async def test_what_is_kept_for_good_stays(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection, 3)
        assert await prune(database, Retention(uses=None, alerts=None, queue_log=None), LATER) == []
        assert len(await seen(connection)) == 4


async def test_one_process_at_a_time_removes(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection, 3)
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(x'72657461696e'::bigint)")
            assert await prune(database, KEPT, LATER) is None


async def test_link_under_way_meanwhile_is_no_hindrance(old: Pool) -> None:
    async with old.acquire() as connection, old.acquire() as other:
        environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")
        async with chain.linked(other, environment, LATER, states={"a": "sweep's batch"}):
            await prune(old, KEPT, LATER)
        assert (await verified(connection)).problems == []


async def test_queue_log_of_before_goes(database: Pool) -> None:
    async with database.acquire() as connection:
        await connection.execute(
            """
            insert into queue_log (job_id, status, priority, entrypoint, created)
            select n, 'successful', 0, 'sweep:prod', $1::timestamptz + n * interval '1 day' from generate_series(0, 9) n
            """,
            NOW,
        )
        kept = Retention(uses=None, alerts=None, queue_log=4 * DAY)
        assert await prune(database, kept, NOW + 9 * DAY) == [Pruned(Kind.QUEUE_LOG, NOW + 5 * DAY, 5)]
        assert await connection.fetchval("select min(created) from queue_log") == NOW + 5 * DAY
