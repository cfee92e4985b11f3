"""What rules are shown of a token's past, and for which tokens the database is asked for it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from auditor.model.history import NO_HISTORY, History
from auditor.model.lookup import Lookup, Outcome
from auditor.store.connection import Connection, Pool
from auditor.sweep.lookback import histories
from tests.store.history import HOUR, MISSING, NOW, TOKEN, begin, enrolment, failed, found, recorded

DAY = timedelta(days=1)
SPAN = 30 * DAY
ONE = enrolment("one")


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


async def saw(connection: Connection, *lookups: Lookup) -> None:
    """Record lookups of one token, a sweep each."""
    for lookup in lookups:
        await (await begin(connection, now=lookup.at)).record((ONE, lookup))


async def history(connection: Connection, lookup: Lookup, span: timedelta = SPAN) -> History:
    """Return what rules are shown when a further lookup ends so."""
    ((entry, known),) = await (await begin(connection, now=lookup.at)).enrol(ONE)
    (past,) = await histories(connection, [recorded(entry, known, lookup)], lookup.at, span)
    return past


def missing(at: datetime) -> Lookup:
    return Lookup(Outcome.MISSING, at, None, MISSING.reason, 404)


async def test_first_lookup_has_no_history(connection: Connection) -> None:
    assert await history(connection, found()) == NO_HISTORY


async def test_token_that_never_changed_is_shown_its_last_observation_only(connection: Connection) -> None:
    await saw(connection, found())
    past = await history(connection, found(NOW + HOUR))
    assert (past.states, past.uses, past.misses, past.last_found) == ((), (), 0, TOKEN)
    assert past.previous is not None
    assert past.previous.at == NOW


async def test_change_in_this_very_lookup_shows_the_state_before_it(connection: Connection) -> None:
    await saw(connection, found())
    past = await history(connection, found(NOW + HOUR, name="other"))
    assert [(state.at, state.metadata and state.metadata.name) for state in past.states] == [(NOW, "ingest")]


async def test_changes_are_shown_for_as_long_as_rules_look_back(connection: Connection) -> None:
    changed = NOW + 10 * DAY
    await saw(connection, found(), found(NOW + 5 * DAY, name="b"), found(changed, name="c"))
    second = timedelta(seconds=1)
    for at, names in (
        (changed + HOUR, ["ingest", "b", "c"]),
        (NOW + 35 * DAY, ["b", "c"]),
        (changed + SPAN, ["c"]),
        (changed + SPAN + second, []),
    ):
        past = await history(connection, found(at, name="c"))
        assert [state.metadata.name for state in past.states if state.metadata] == names, at
    assert not (await history(connection, found(changed + HOUR, name="c"), timedelta())).states


async def test_state_in_force_when_the_window_begins_is_shown_with_the_change_that_ended_it(
    connection: Connection,
) -> None:
    await saw(connection, found(), found(NOW + 50 * DAY, enabled=False))
    past = await history(connection, found(NOW + 51 * DAY, enabled=False))
    assert [(state.at, state.metadata and state.metadata.enabled) for state in past.states] == [
        (NOW, True),
        (NOW + 50 * DAY, False),
    ]


async def test_missing_token_keeps_what_was_last_found_and_counts_its_misses(connection: Connection) -> None:
    await saw(connection, found(), missing(NOW + DAY), missing(NOW + 2 * DAY))
    past = await history(connection, missing(NOW + 3 * DAY))
    assert (past.misses, past.last_found) == (2, TOKEN)
    assert [state.outcome for state in past.states] == [Outcome.FOUND, Outcome.MISSING]
    await saw(connection, found(NOW + 3 * DAY))
    past = await history(connection, found(NOW + 4 * DAY))
    assert [(state.outcome, state.misses_before) for state in past.states] == [
        (Outcome.FOUND, 0),
        (Outcome.MISSING, 0),
        (Outcome.FOUND, 2),
    ]
    assert past.misses == 0


async def test_change_is_shown_with_the_lookup_that_still_saw_the_state_before(connection: Connection) -> None:
    quiet, changed = found(NOW + DAY), found(NOW + 2 * DAY, name="b")
    await saw(connection, found(), quiet, changed, found(NOW + 3 * DAY, name="b"))
    past = await history(connection, missing(NOW + 4 * DAY))
    assert [(state.at, state.previous_at) for state in past.states] == [(NOW, None), (NOW + 2 * DAY, NOW + DAY)]
    await saw(connection, missing(NOW + 4 * DAY))
    past = await history(connection, found(NOW + 5 * DAY))
    assert (past.states[-1].at, past.states[-1].previous_at) == (NOW + 4 * DAY, NOW + 3 * DAY)


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ({"last_used_date": None, "last_used_ip_address": None}, {"last_used_date": NOW}),
        ({}, {"last_used_date": NOW - 2 * HOUR}),
        ({}, {"last_used_date": NOW + DAY + HOUR}),
    ],
)
async def test_late_first_use_and_impossible_dates_are_out_of_the_ordinary(
    connection: Connection, before: dict[str, Any], fields: dict[str, Any]
) -> None:
    await saw(connection, found(**before), found(NOW + DAY, **fields))
    past = await history(connection, found(NOW + DAY + 2 * HOUR, **fields))
    assert past.uses[-1].used_at == fields["last_used_date"]


async def test_ordinary_uses_are_not_read(connection: Connection) -> None:
    await saw(connection, found(), *(found(NOW + n * HOUR, last_used_date=NOW + n * HOUR) for n in (1, 2)))
    assert (await history(connection, found(NOW + 3 * HOUR, last_used_date=NOW + 3 * HOUR))).uses == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"last_used_date": NOW + HOUR, "last_used_ip_address": "198.51.100.9"},
        {"last_used_date": NOW - HOUR + DAY},
        {"last_used_date": NOW + HOUR, "enabled": False},
        {"last_used_date": NOW + HOUR, "expiration_date": NOW},
    ],
)
async def test_uses_are_shown_once_one_was_out_of_the_ordinary(
    connection: Connection, fields: dict[str, object]
) -> None:
    await saw(connection, found(enabled=fields.get("enabled", True), expiration_date=fields.get("expiration_date")))
    at = NOW + DAY
    before = await history(connection, found(at, **fields))
    assert [use.used_at for use in before.uses] == [NOW - HOUR]
    await saw(connection, found(at, **fields))
    for later, count in ((at + SPAN, 2), (at + SPAN + timedelta(seconds=1), 0)):
        assert len((await history(connection, found(later, **fields))).uses) == count


async def test_uses_of_a_regular_token_are_shown_while_it_is_silent(connection: Connection) -> None:
    await saw(connection, *(found(NOW + n * HOUR, last_used_date=NOW + n * HOUR) for n in range(10)))
    last = NOW + 9 * HOUR
    assert not (await history(connection, found(last + HOUR / 2, last_used_date=last))).uses
    assert len((await history(connection, found(last + HOUR, last_used_date=last))).uses) == 10
    assert not (await history(connection, found(last + SPAN + HOUR, last_used_date=last))).uses


async def test_lookup_without_evidence_reads_nothing(connection: Connection) -> None:
    await saw(connection, found(), found(NOW + DAY, name="b"))
    assert (await history(connection, failed())).states == ()


async def test_event_stands_before_the_many_uses_that_follow_it(connection: Connection) -> None:
    await saw(connection, found(last_used_date=NOW - 50 * DAY))
    moved = NOW + HOUR
    await saw(connection, found(moved, last_used_date=moved, last_used_ip_address="198.51.100.9"))
    last = moved + 200 * HOUR
    async with connection.transaction():
        await connection.execute(
            """
            insert into token_use (token_id, observed_at, used_at, ip_address)
            select token_id, observed_at + n * interval '1 hour', used_at + n * interval '1 hour', ip_address
            from token_use, generate_series(1, 200) n where observed_at = $1
            """,
            moved,
        )
    at = last + HOUR
    seen = await history(connection, found(at, last_used_date=at, last_used_ip_address="203.0.113.9"))
    used = [use.used_at for use in seen.uses]
    assert used[:2] == [NOW - 50 * DAY, moved]
    assert used[-64:] == [last - n * HOUR for n in reversed(range(64))]
    gaps = [later - earlier for earlier, later in pairwise(used[1:])]
    assert max(gaps) <= 2 * DAY
    assert len(used) < 80


async def test_use_from_elsewhere_while_the_token_was_missing_is_out_of_the_ordinary(connection: Connection) -> None:
    await saw(connection, found(), missing(NOW + HOUR))
    at = NOW + 2 * HOUR
    assert (await history(connection, found(at))).uses == ()
    moved = await history(connection, found(at, last_used_date=at, last_used_ip_address="198.51.100.9"))
    assert [use.ip_address for use in moved.uses] == [TOKEN.last_used_ip_address]
