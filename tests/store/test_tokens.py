"""Stored tokens: what a lookup writes, what it leaves alone, and where a token is stored."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from auditor.model.lookup import Outcome
from auditor.model.token import PLACES_LIMIT
from auditor.store.connection import Connection, Pool
from auditor.store.tokens import Enrolment, KnownToken, locations_of
from tests.store.history import HOUR, MISSING, NOW, TOKEN, Swept, begin, enrolment, failed, found, place

_IS_ANYBODY_WAITING = """
    select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')
"""
ONE, TWO = enrolment("one"), enrolment("two", public_id="dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA")


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


async def known(connection: Connection, now: object = NOW) -> KnownToken:
    """Return what the store knows of the first token, as the next sweep would learn it."""
    ((_entry, token),) = await (await begin(connection, now=NOW + 99 * HOUR)).enrol(ONE)
    assert token is not None
    return token


async def test_new_token_is_written_whole_and_read_back_the_same(connection: Connection) -> None:
    sweep = await begin(connection)
    tagged = msgspec.structs.replace(ONE, tags=frozenset({"a", "b"}), locations=(place(), place("wiki", "page 7")))
    ((number, label),) = await sweep.record((tagged, found()))
    token = await known(connection)
    assert (token.id, token.label, token.first_seen_at, token.misses, token.failures) == (number, label, NOW, 0, 0)
    assert token.previous is not None
    assert token.previous.metadata == TOKEN
    assert token.previous.at == NOW
    row = await connection.fetchrow("select places, tags from token")
    assert row is not None
    assert (locations_of(row["places"]), row["tags"]) == ((place(), place("wiki", "page 7")), ["a", "b"])


async def test_unchanged_token_writes_nothing_but_its_lookup(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, found()))
    before = await rows(connection)
    again = await begin(connection, now=NOW + HOUR)
    await again.record((ONE, found(NOW + HOUR)))
    after = await rows(connection)
    assert after.pop("lookup") != before.pop("lookup")
    assert after == before
    token = await known(connection)
    assert token.previous is not None
    assert token.previous.at == NOW + HOUR


async def rows(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of a token's tables with the place where it lies on disk."""
    return {
        table: [tuple(row) for row in await connection.fetch(f"select ctid::text, * from {table} order by 1")]
        for table in ("token", "lookup", "token_change", "token_use")
    }


async def test_change_of_anything_but_use_keeps_the_state_before_and_after(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, found()))
    renamed = await begin(connection, now=NOW + HOUR)
    await renamed.record((ONE, found(NOW + HOUR, name="renamed")))
    history = await connection.fetch(
        "select at, sweep_id, outcome, state->>'name' as name, state from token_change order by at"
    )
    assert [(row["at"], row["name"]) for row in history] == [(NOW, "ingest"), (NOW + HOUR, "renamed")]
    assert history[1]["sweep_id"] == renamed.id
    assert "203.0.113.7" not in history[1]["state"]
    assert await connection.fetchval("select changed_at from token") == NOW + HOUR
    assert await connection.fetchval("select count(*) from token_use") == 1


async def test_use_is_a_row_of_its_own_and_no_change(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, found()))
    await (await begin(connection, now=NOW + HOUR)).record(
        (ONE, found(NOW + HOUR, last_used_date=NOW, last_used_ip_address="198.51.100.1"))
    )
    uses = await connection.fetch("select observed_at, used_at, ip_address from token_use order by 1")
    assert [tuple(row) for row in uses] == [
        (NOW, NOW - HOUR, "203.0.113.7"),
        (NOW + HOUR, NOW, "198.51.100.1"),
    ]
    assert await connection.fetchval("select count(*) from token_change") == 1
    assert await connection.fetchval("select changed_at from token") == NOW
    assert await connection.fetchval("select last_used_ip_address from token") == "198.51.100.1"


async def test_missing_token_keeps_the_metadata_that_it_last_had(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, found()))
    await (await begin(connection, now=NOW + HOUR)).record((ONE, msgspec.structs.replace(MISSING, at=NOW + HOUR)))
    row = await connection.fetchrow("select outcome, name, owner, scopes, changed_at from token")
    assert tuple(row or ()) == ("missing", "ingest", "svc-ingest", ["metrics.ingest", "metrics.read"], NOW + HOUR)
    token = await known(connection)
    assert token.misses == 1
    assert token.previous is not None
    assert (token.previous.outcome, token.previous.metadata) == (Outcome.MISSING, None)
    assert await connection.fetchval("select string_agg(outcome, ' ' order by at) from token_change") == "found missing"


async def test_misses_and_failures_count_what_runs_without_a_break(connection: Connection) -> None:
    counted = []
    for hour, lookup in enumerate((failed(), failed(), MISSING, failed(), MISSING, found(), MISSING)):
        sweep = await begin(connection, now=NOW + hour * HOUR)
        await sweep.record((ONE, msgspec.structs.replace(lookup, at=NOW + hour * HOUR)))
        row = await connection.fetchrow("select misses, failures from lookup")
        counted.append(tuple(row or ()))
    assert counted == [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (0, 0), (1, 0)]


async def test_failure_leaves_the_last_evidence_as_it_was(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, found()))
    await (await begin(connection, now=NOW + HOUR)).record((ONE, msgspec.structs.replace(failed(), at=NOW + HOUR)))
    token = await known(connection)
    assert (token.misses, token.failures) == (0, 1)
    assert token.previous is not None
    assert (token.previous.at, token.previous.metadata) == (NOW, TOKEN)
    row = await connection.fetchrow("select at, outcome, reason, evident_at from lookup")
    assert tuple(row or ()) == (NOW + HOUR, "throttled", "HTTP 429", NOW)


async def test_token_that_no_lookup_ever_told_anything_of_has_no_previous_observation(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, failed()))
    token = await known(connection)
    assert (token.previous, token.failures) == (None, 1)
    assert await connection.fetchval("select count(*) from token_change") == 0
    ((_number, label),) = await (await begin(connection, now=NOW + HOUR)).record((ONE, found(NOW + HOUR)))
    assert label == TOKEN.id
    assert await connection.fetchval("select count(*) from token_change") == 1


async def test_token_that_went_by_its_fingerprint_takes_the_id_that_a_lookup_tells(connection: Connection) -> None:
    old = enrolment("old", public_id=None)
    ((number, label),) = await (await begin(connection)).record((old, failed()))
    assert label == f"fp:{old.fingerprint.hex()}"
    told = found(NOW + HOUR, id="6f6f0b1e-7b6b-4a52-9d6c-0a6a4f4c7f10")
    identity = (number, "6f6f0b1e-7b6b-4a52-9d6c-0a6a4f4c7f10")
    assert await (await begin(connection, now=NOW + HOUR)).record((old, told)) == [identity]
    gone = msgspec.structs.replace(MISSING, at=NOW + 2 * HOUR)
    assert await (await begin(connection, now=NOW + 2 * HOUR)).record((old, gone)) == [identity]


async def test_two_secrets_that_claim_one_public_id_are_told_apart(connection: Connection) -> None:
    damaged, worse = enrolment("damaged"), enrolment("worse")
    labels = [label for _number, label in await (await begin(connection)).record((ONE, found()), (damaged, MISSING))]
    assert sorted(label.partition("~")[0] for label in labels) == [TOKEN.id, TOKEN.id]
    assert len(set(labels)) == 2
    later = await (await begin(connection, now=NOW + HOUR)).record(
        (ONE, found(NOW + HOUR)), (damaged, MISSING), (worse, MISSING)
    )
    assert [label for _number, label in later][:2] == labels
    assert later[2][1] == f"{TOKEN.id}~{worse.fingerprint.hex()[:8]}"


async def test_label_by_which_a_token_would_be_told_apart_may_be_taken(connection: Connection) -> None:
    copy = enrolment("copy")
    taken = f"{TOKEN.id}~{copy.fingerprint.hex()[:8]}"
    ids = await (await begin(connection)).record((ONE, found()), (enrolment("odd", public_id=taken), found()))
    assert [label for _number, label in ids] == [TOKEN.id, taken]
    ((_number, label),) = await (await begin(connection)).record((copy, found()))
    assert label == f"{TOKEN.id}~{copy.fingerprint.hex()}"


@pytest.mark.parametrize("second", [enrolment("copy"), enrolment("old", public_id=None)])
async def test_label_that_another_transaction_is_taking_is_told_apart(
    database: Pool, connection: Connection, second: Enrolment
) -> None:
    if second.public_id is None:
        await (await begin(connection)).record((second, failed()))
    sweep = await begin(connection)
    async with database.acquire() as other, asyncio.TaskGroup() as tasks, connection.transaction():
        await sweep.record((ONE, found()))
        writing = tasks.create_task(Swept(other, sweep.environment, sweep.id, NOW).record((second, found())))
        while not await connection.fetchval(_IS_ANYBODY_WAITING):  # noqa: ASYNC110 -- only the database knows
            await asyncio.sleep(0.01)
    assert [label for _number, label in writing.result()] == [f"{TOKEN.id}~{second.fingerprint.hex()[:8]}"]


async def test_old_secret_that_tells_a_label_which_is_taken_is_told_apart(connection: Connection) -> None:
    old = enrolment("old", public_id=None)
    await (await begin(connection)).record((ONE, found()), (old, failed()))
    later = await (await begin(connection, now=NOW + HOUR)).record((ONE, found(NOW + HOUR)), (old, found(NOW + HOUR)))
    assert [label for _number, label in later] == [TOKEN.id, f"{TOKEN.id}~{old.fingerprint.hex()[:8]}"]


async def test_same_public_id_in_two_environments_is_two_tokens(connection: Connection) -> None:
    first = await (await begin(connection)).record((ONE, found()))
    second = await (await begin(connection, "staging")).record((ONE, found()))
    assert first[0][1] == second[0][1]
    assert first[0][0] != second[0][0]


async def test_secret_that_a_sweep_meets_again_is_not_new_and_gains_its_place(connection: Connection) -> None:
    sweep = await begin(connection)
    assert len(await sweep.enrol(ONE, TWO)) == 2
    elsewhere = msgspec.structs.replace(ONE, locations=(place("wiki", "page 7"),), tags=frozenset({"lab"}))
    assert await sweep.enrol(elsewhere) == []
    row = await connection.fetchrow("select places, tags from enrolment where fingerprint = $1", ONE.fingerprint)
    assert row is not None
    assert len(row["places"]) == 2
    assert row["tags"] == ["lab"]


async def places(connection: Connection) -> dict[str, tuple[list[str], bool]]:
    """Return by label where a token is stored, and whether it is at all."""
    return {
        row["label"]: ([found.replace("\x1f", " ") for found in row["places"]], row["removed_at"] is None)
        for row in await connection.fetch("select label, places, removed_at from token")
    }


async def test_places_follow_what_the_last_complete_reading_met(connection: Connection) -> None:
    assert TWO.public_id is not None
    sweep = await begin(connection)
    await sweep.record((enrolment("one", place(), place("wiki", "page 7")), found()), (TWO, found(id=TWO.public_id)))
    await sweep.finish()
    later = await begin(connection, now=NOW + HOUR)
    await later.record((enrolment("one", place("vault", "line 9")), found(NOW + HOUR)))
    await later.finish()
    assert await places(connection) == {
        TOKEN.id: (["vault line 9"], True),
        TWO.public_id: (["vault line 1"], False),
    }
    assert await connection.fetchval("select removed_at from token where label = $1", TWO.public_id) == NOW + HOUR


async def test_place_in_a_source_that_was_not_read_to_its_end_is_kept(connection: Connection) -> None:
    assert TWO.public_id is not None
    sweep = await begin(connection)
    await sweep.record((enrolment("one", place(), place("wiki", "page 7")), found()), (TWO, found(id=TWO.public_id)))
    await sweep.finish()
    later = await begin(connection, now=NOW + HOUR)
    await later.record((enrolment("one", place("wiki", "page 8")), found(NOW + HOUR)))
    await later.finish(unread={"vault": "away"})
    assert await places(connection) == {
        TOKEN.id: (["vault line 1", "wiki page 8"], True),
        TWO.public_id: (["vault line 1"], True),
    }


async def test_of_very_many_places_the_first_of_each_source_are_kept(connection: Connection) -> None:
    everywhere = [place("vault", f"line {number:05}") for number in range(2 * PLACES_LIMIT)]
    sweep = await begin(connection)
    await sweep.record((enrolment("one", *everywhere[:300], *everywhere[:300]), found()))
    assert (await places(connection))[TOKEN.id][0] == [f"vault line {number:05}" for number in range(300)]
    for start in range(len(everywhere) - 500, -1, -500):
        await sweep.enrol(enrolment("one", *everywhere[start : start + 500]))
    await sweep.enrol(enrolment("one", place("wiki", "page 7"), place("wiki", "page 9")))
    await sweep.finish()
    kept = [f"vault line {number:05}" for number in range(PLACES_LIMIT - 2)] + ["wiki page 7", "wiki page 9"]
    assert (await places(connection))[TOKEN.id][0] == kept
    later = await begin(connection, now=NOW + HOUR)
    await later.enrol(enrolment("one", place("attic"), place("wiki", "page 8")))
    await later.finish(unread={"vault": "away"})
    kept = ["attic line 1", *kept[: PLACES_LIMIT - 2], "wiki page 8"]
    assert (await places(connection))[TOKEN.id][0] == kept


async def test_more_places_at_once_than_are_kept_are_cut(connection: Connection) -> None:
    sweep = await begin(connection)
    (enrolled,) = await sweep.enrol(enrolment("one", *(place("vault", f"{number:05}") for number in range(1500))))
    assert enrolled[1] is None
    row = await connection.fetchrow("select places from enrolment")
    assert row is not None
    assert (len(row["places"]), row["places"][-1]) == (PLACES_LIMIT, "vault\x1f00999")


async def test_token_of_another_environment_is_never_settled(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((ONE, found()))
    await sweep.finish()
    other = await begin(connection, "staging", NOW + HOUR)
    await other.finish()
    assert await places(connection) == {TOKEN.id: (["vault line 1"], True)}


async def test_dates_far_away_and_awkward_texts_survive(connection: Connection) -> None:
    awkward: dict[str, Any] = {
        "name": "=cmd()\N{RIGHT-TO-LEFT OVERRIDE}<script>\n\t'; drop table token; --",
        "owner": "",
        "creation_date": NOW - timedelta(days=365_000),
        "expiration_date": NOW.replace(year=9999),
        "scopes": ("", "a,b", "{c}", 'd"', "\\e", "NULL"),
        "additional_metadata": {"": "\N{PILE OF POO}"},
    }
    await (await begin(connection)).record((ONE, found(**awkward)))
    token = await known(connection)
    assert token.previous is not None
    assert token.previous.metadata == msgspec.structs.replace(TOKEN, **awkward)


async def test_evidence_counts_the_lookups_that_gave_any_from_the_first_on(connection: Connection) -> None:
    counted = []
    for hour, lookup in enumerate((failed(), found(), failed(), MISSING, found())):
        sweep = await begin(connection, now=NOW + hour * HOUR)
        await sweep.record((ONE, msgspec.structs.replace(lookup, at=NOW + hour * HOUR)))
        row = await connection.fetchrow("select evidence, first_evident_at, evident_at from lookup")
        counted.append(tuple(row or ()))
    first = NOW + HOUR
    assert counted == [
        (0, None, None),
        (1, first, NOW + HOUR),
        (1, first, NOW + HOUR),
        (2, first, NOW + 3 * HOUR),
        (3, first, NOW + 4 * HOUR),
    ]


async def test_token_that_is_found_at_once_has_its_first_evidence(connection: Connection) -> None:
    await (await begin(connection)).record((ONE, found()))
    row = await connection.fetchrow("select evidence, first_evident_at from lookup")
    assert tuple(row or ()) == (1, NOW)
