"""What is read for verdicts: each token's evidence and uses, its successor, and how its policy grades scopes."""

import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.model.history import Use
from auditor.model.lookup import Lookup, Outcome
from auditor.policy.lineage import LONGEST, name_stem
from auditor.policy.revocation import OLD_EVIDENCE, Record, Successor
from auditor.policy.scopes import RiskSettings, RiskTier
from auditor.store.connection import Connection, Pool
from auditor.store.lineage import name_stem as name_stem_in_sql
from auditor.store.revocation import Filter, records, risks
from tests.store.history import HOUR, MISSING, NOW, TOKEN, Swept, begin, enrolment, failed, found

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
OLD, NEW = "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA", "dt0c01.BBBBBBBBBBBBBBBBBBBBBBBB"
NEWER = "dt0c01.CCCCCCCCCCCCCCCCCCCCCCCC"


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


def of(label: str, **fields: Any) -> Lookup:
    return found(NOW, **({"id": label, "creation_date": NOW - 300 * DAY} | fields))


async def record(sweep: Swept, *lookups: Lookup) -> None:
    labelled = [(enrolment(one.metadata.id, public_id=one.metadata.id), one) for one in lookups if one.metadata]
    assert len(labelled) == len(lookups)
    await sweep.record(*labelled)


async def read(connection: Connection, now: datetime = NOW, batch: int = 1000, **wanted: Any) -> list[Record]:
    async with connection.transaction():
        stream = records(connection, Filter(**wanted), now, batch=batch)
        return [one async for batch_read in stream for one in batch_read]


async def successor(connection: Connection, label: str = OLD, now: datetime = NOW) -> Successor | None:
    (one,) = await read(connection, now, label=label)
    return one.successor


async def test_record_tells_what_sweeps_saw(connection: Connection) -> None:
    await record(await begin(connection, now=NOW - DAY), found(NOW - DAY, id=OLD, last_used_date=NOW - 3 * DAY))
    await record(await begin(connection), found(NOW, id=OLD, last_used_date=NOW - HOUR, enabled=False))
    (one,) = await read(connection)
    assert one == Record(
        environment="prod",
        label=OLD,
        token=msgspec.structs.replace(TOKEN, id=OLD, enabled=False),
        outcome=Outcome.FOUND,
        first_evident_at=NOW - DAY,
        evident_at=NOW,
        lookups=2,
        misses=0,
        failures=0,
        reason="",
        disabled_since=NOW,
        is_stored=True,
        uses=(Use(NOW - DAY, NOW - 3 * DAY, "203.0.113.7"), Use(NOW, NOW - HOUR, "203.0.113.7")),
        successor=None,
    )


async def test_token_that_vanished_keeps_what_it_was(connection: Connection) -> None:
    one = enrolment("one")
    await (await begin(connection)).record((one, found()))
    for hour in (1, 2):
        at = NOW + hour * HOUR
        await (await begin(connection, now=at)).record((one, msgspec.structs.replace(MISSING, at=at)))
    (gone,) = await read(connection)
    assert (gone.outcome, gone.misses, gone.lookups) == (Outcome.MISSING, 2, 3)
    assert gone.token is not None
    assert gone.token.name == TOKEN.name


async def test_failure_is_told_with_its_reason_and_the_evidence_before_it(connection: Connection) -> None:
    one, never = enrolment("one"), enrolment("two", public_id=NEW)
    await (await begin(connection)).record((one, found()))
    later = await begin(connection, now=NOW + HOUR)
    await later.record(*((token, msgspec.structs.replace(failed(), at=NOW + HOUR)) for token in (one, never)))
    known, unknown = sorted(await read(connection), key=lambda seen: seen.lookups, reverse=True)
    assert (known.evident_at, known.failures, known.reason) == (NOW, 1, "HTTP 429")
    assert (unknown.token, unknown.outcome, unknown.evident_at, unknown.failures) == (None, None, None, 1)


async def test_tokens_come_by_environment_and_label_in_batches_of_any_size(connection: Connection) -> None:
    for name in ("staging", "prod"):
        await record(await begin(connection, name), of(NEW), of(OLD))
    everything = [("prod", OLD), ("prod", NEW), ("staging", OLD), ("staging", NEW)]
    for batch in (1, 2, 3, 4, 5):
        assert [(one.environment, one.label) for one in await read(connection, batch=batch)] == everything
    assert [one.environment for one in await read(connection, environments=("staging",))] == ["staging"] * 2
    assert [one.environment for one in await read(connection, label=OLD)] == ["prod", "staging"]
    assert await read(connection, environments=("nowhere",)) == []


async def test_token_that_no_source_holds_is_read_only_by_name(connection: Connection) -> None:
    sweep = await begin(connection)
    await record(sweep, of(OLD), of(NEW))
    await sweep.finish()
    after = await begin(connection, now=NOW + HOUR)
    await record(after, of(NEW))
    await after.finish()
    assert [one.label for one in await read(connection)] == [NEW]
    (removed,) = await read(connection, label=OLD)
    assert not removed.is_stored


async def test_newest_token_of_the_lineage_that_is_in_use_is_the_successor(connection: Connection) -> None:
    await record(
        await begin(connection),
        of(OLD, name="ingest"),
        of(NEW, name="Ingest-2026-03", creation_date=NOW - 50 * DAY),
        of(NEWER, name="ingest (new)", creation_date=NOW - 10 * DAY, last_used_date=NOW - 2 * HOUR),
    )
    newest = Successor(NEWER, NOW - 10 * DAY, NOW - 2 * HOUR)
    assert await successor(connection) == newest
    assert await successor(connection, NEW) == newest
    assert await successor(connection, NEWER) is None


@pytest.mark.parametrize(
    ("fields", "is_successor"),
    [
        ({}, True),
        ({"name": "ingest-v2"}, True),
        ({"name": "ingest-2"}, False),
        ({"name": None}, False),
        ({"owner": "svc-other"}, False),
        ({"owner": None}, False),
        ({"scopes": ("logs.read", "metrics.ingest", "metrics.read")}, True),
        ({"scopes": ("metrics.ingest",)}, False),
        ({"enabled": False}, False),
        ({"enabled": None}, False),
        ({"creation_date": NOW - 300 * DAY}, False),
        ({"creation_date": NOW - 300 * DAY + SECOND}, True),
        ({"creation_date": None}, False),
        ({"last_used_date": None}, False),
        ({"last_used_date": NOW - 50 * DAY}, True),
        ({"last_used_date": NOW - 50 * DAY - SECOND}, False),
        ({"expiration_date": NOW}, False),
        ({"expiration_date": NOW + SECOND}, True),
        ({"expiration_date": None}, True),
    ],
)
async def test_successor_can_do_all_that_the_token_can(
    connection: Connection, fields: dict[str, Any], is_successor: bool
) -> None:
    await record(await begin(connection), of(OLD), of(NEW, **{"creation_date": NOW - 50 * DAY} | fields))
    assert (await successor(connection) is not None) is is_successor


async def test_token_of_another_environment_is_no_successor(connection: Connection) -> None:
    await record(await begin(connection, "prod"), of(OLD))
    await record(await begin(connection, "staging"), of(NEW, creation_date=NOW - 50 * DAY))
    assert await successor(connection) is None


async def test_successor_that_is_no_longer_looked_up_or_stored_is_none(connection: Connection) -> None:
    sweep = await begin(connection)
    await record(sweep, of(OLD), of(NEW, creation_date=NOW - 50 * DAY))
    await sweep.finish()
    assert await successor(connection, now=NOW + OLD_EVIDENCE) is not None
    assert await successor(connection, now=NOW + OLD_EVIDENCE + SECOND) is None
    later = await begin(connection, now=NOW + HOUR)
    await later.record((enrolment(NEW, public_id=NEW), msgspec.structs.replace(failed(), at=NOW + HOUR)))
    assert await successor(connection) is None
    await later.finish()
    after = await begin(connection, now=NOW + 2 * HOUR)
    await record(after, of(OLD))
    await after.finish()
    assert await successor(connection) is None


async def test_lineage_of_thousands_is_not_compared_with_itself(connection: Connection) -> None:
    numbers = itertools.count()
    tokens = [
        of(f"dt0c01.{next(numbers):024d}", creation_date=NOW - 300 * DAY + n * SECOND, expiration_date=None)
        for n in range(3000)
    ]
    await record(await begin(connection), *tokens)
    found_successors = [one.successor for one in await read(connection)]
    newest = Successor(tokens[-1].metadata.id, NOW - 300 * DAY + 2999 * SECOND, NOW - HOUR)  # type: ignore[union-attr]
    assert found_successors == [newest] * 2999 + [None]


async def test_reading_verdicts_leaves_the_planner_as_it_was(connection: Connection) -> None:
    async with connection.transaction():
        assert [batch async for batch in records(connection, Filter(), NOW)] == []
        assert await connection.fetchval("show enable_nestloop") == "on"
    await record(await begin(connection), of(OLD))
    async with connection.transaction():
        async for _batch in records(connection, Filter(), NOW):
            assert await connection.fetchval("show enable_nestloop") == "on"


async def test_each_environment_grades_scopes_as_its_last_sweep_did(connection: Connection) -> None:
    await (await begin(connection, "prod")).finish()
    await connection.execute(
        """
        insert into policy (digest, document, first_applied_at)
        values ($1, '{"name": "strict", "risk": {"unknown": "high", "scopes": {"logs.read": "critical"}}}', $2)
        """,
        "f" * 64,
        NOW,
    )
    sweep = await begin(connection, "staging")
    await connection.execute("update sweep set policy_digest = $1 where id = $2", "f" * 64, sweep.id)
    assert await risks(connection) == {"prod": RiskSettings()}
    await sweep.finish()
    graded = await risks(connection)
    assert graded["prod"] == RiskSettings()
    assert (graded["staging"].unknown, graded["staging"].tier_of("logs.read")) == (RiskTier.HIGH, RiskTier.CRITICAL)


names = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from(["-", "Old", "2026", "03", "v1", ".", "q1", "(", "]", "x", "É"]), max_size=9).map("".join),
    st.sampled_from(["n" * (LONGEST - 4) + "-old", "n" * (LONGEST - 3) + "-OLD", "a\n-old", "-old\n", "İ-old"]),
)


async def test_stem_of_a_name_is_the_same_in_sql(database: Pool) -> None:
    async with database.acquire() as connection:

        @settings(max_examples=50, deadline=None)
        @given(st.lists(names, max_size=40))
        def generated(several: list[str]) -> None:
            examples.extend(several)

        examples: list[str] = []
        generated()
        stems = await connection.fetch(
            f"select {name_stem_in_sql('name')} as stem from unnest($1::text[]) with ordinality as n (name, place) "
            "order by place",
            examples,
        )
        assert [row["stem"] for row in stems] == [name_stem(name) for name in examples]
        assert len(set(examples)) > 20
