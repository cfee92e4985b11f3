"""The account of a sweep, its owner, its slot, and what becomes of one whose process died."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from auditor.model.lookup import Outcome
from auditor.model.sweep import SweepStatus
from auditor.store import posture, sweeps
from auditor.store.connection import Connection, Pool
from tests.store.history import HOUR, MISSING, NOW, begin, enrolment, failed, found


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


async def test_account_adds_up_over_batches(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((enrolment("a"), found()), (enrolment("b"), MISSING), (enrolment("c"), failed()))
    await sweep.record((enrolment("d"), failed(Outcome.REFUSED)), (enrolment("e"), failed(Outcome.MALFORMED)))
    await sweeps.count(connection, sweep.id, {}, {"HTTP 429": 1}, NOW)
    summary = await sweep.finish(SweepStatus.INCOMPLETE, unread={"wiki": "away"})
    assert (summary.enrolled, summary.found, summary.missing, summary.refused, summary.failed) == (5, 1, 1, 1, 2)
    assert summary.is_balanced
    assert (summary.status, summary.finished_at) == (SweepStatus.INCOMPLETE, NOW)
    assert (summary.reasons, summary.source_problems) == ({"HTTP 429": 1}, {"wiki": "away"})
    assert await sweeps.latest(connection, "prod") == summary
    assert await sweeps.latest(connection, "nowhere") is None


async def test_account_that_does_not_add_up_cannot_be_closed(connection: Connection) -> None:
    sweep = await begin(connection)
    await connection.execute("update sweep set enrolled = 1")
    with pytest.raises(asyncpg.CheckViolationError, match="accounts_for_every_token"):
        await sweep.finish()


async def test_enrolment_is_forgotten_with_the_sweep(connection: Connection) -> None:
    sweep, other = await begin(connection), await begin(connection, "staging")
    await sweep.enrol(enrolment("a"))
    await other.enrol(enrolment("a"))
    await sweep.finish()
    assert await connection.fetchval("select array_agg(sweep_id) from enrolment") == [other.id]


async def test_sweep_of_a_process_that_died_is_closed_as_failed_and_keeps_its_account(connection: Connection) -> None:
    died = await begin(connection)
    await died.record((enrolment("a"), found()), (enrolment("b"), failed()))
    await died.enrol(enrolment("c"))
    other = await begin(connection, "staging", NOW + HOUR)
    await begin(connection, now=NOW + 2 * HOUR)
    row = await connection.fetchrow(
        "select status, finished_at, enrolled, found, failed from sweep where id = $1", died.id
    )
    assert tuple(row or ()) == ("failed", NOW + 2 * HOUR, 2, 1, 1)
    reasons = await connection.fetchval("select reasons->>$2 from sweep where id = $1", died.id, sweeps.INTERRUPTED)
    assert reasons == "1"
    assert await connection.fetchval("select count(*) from enrolment where sweep_id = $1", died.id) == 0
    assert await connection.fetchval("select status from sweep where id = $1", other.id) == "running"


async def test_policy_is_kept_once_whole(connection: Connection) -> None:
    for _number in range(2):
        await (await begin(connection)).finish()
    assert await connection.fetchval("select array_agg(document->>'name') from policy") == ["test"]


async def test_environment_is_made_once_and_follows_its_url(connection: Connection) -> None:
    first = await sweeps.environment_id(connection, "prod", "https://one.example.com")
    assert await sweeps.environment_id(connection, "prod", "https://two.example.com") == first
    assert await connection.fetchval("select url from environment") == "https://two.example.com"


async def test_slot_is_taken_once_however_many_try(database: Pool) -> None:
    async with database.acquire() as connection:
        environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")

    async def take() -> bool:
        async with database.acquire() as connection, connection.transaction():
            return await sweeps.take_slot(connection, environment, NOW, NOW)

    assert sorted(await asyncio.gather(*(take() for _number in range(4)))) == [False, False, False, True]


async def test_slot_that_was_given_back_can_be_taken(connection: Connection) -> None:
    environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")

    async def fail() -> None:
        async with connection.transaction():
            assert await sweeps.take_slot(connection, environment, NOW, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await sweeps.take_slot(connection, environment, NOW, NOW)


async def test_slot_that_a_sweep_has_begun_after_is_served(connection: Connection) -> None:
    sweep = await begin(connection)
    assert not await sweeps.take_slot(connection, sweep.environment, NOW, NOW + HOUR)
    assert not await sweeps.take_slot(connection, sweep.environment, NOW - HOUR, NOW + HOUR)
    assert await sweeps.take_slot(connection, sweep.environment, NOW + HOUR, NOW + HOUR)


async def test_sweep_that_began_under_a_clock_that_was_ahead_serves_no_slot(connection: Connection) -> None:
    sweep = await begin(connection)
    assert await sweeps.take_slot(connection, sweep.environment, NOW - HOUR, NOW - HOUR)


async def test_slots_are_forgotten_after_a_month(connection: Connection) -> None:
    environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")
    for days in (0, 1, 31):
        assert await sweeps.take_slot(connection, environment, NOW + timedelta(days=days), NOW + timedelta(days=days))
    assert await connection.fetchval("select min(slot) from schedule_slot") == NOW + timedelta(days=1)


async def test_posture_says_how_each_environment_stands(connection: Connection) -> None:
    complete = await begin(connection)
    await complete.record((enrolment("a"), found()), (enrolment("b"), MISSING), (enrolment("gone"), found()))
    first = await complete.finish()
    incomplete = await begin(connection, now=NOW + HOUR)
    await incomplete.record((enrolment("a"), failed()), (enrolment("b"), MISSING), (enrolment("c"), failed()))
    second = await incomplete.finish(SweepStatus.INCOMPLETE)
    await begin(connection, now=NOW + 2 * HOUR)  # still running: says nothing yet
    await sweeps.environment_id(connection, "new", "https://new.example.com")
    new, prod = await posture.environments(connection, NOW)
    assert (prod.name, prod.url, prod.policy_name) == ("prod", "https://prod.example.com", "test")
    assert prod.last_sweep == second
    assert prod.last_complete_at == first.finished_at
    assert (prod.stored_tokens, prod.unknown_tokens) == (3, 2)
    assert list(prod.rules) == ["DT-EXP-01"]
    assert (new.name, new.last_sweep, new.last_complete_at, new.stored_tokens) == ("new", None, None, 0)
    assert (new.policy_name, new.rules) == ("", {})


async def test_token_whose_last_evidence_is_older_than_14_days_is_unknown(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((enrolment("a"), found()), (enrolment("b"), MISSING), (enrolment("c"), failed()))
    await sweep.finish(SweepStatus.INCOMPLETE)
    (state,) = await posture.environments(connection, NOW + timedelta(days=14))
    assert (state.unknown_tokens, state.outdated_tokens) == (1, 0)
    (state,) = await posture.environments(connection, NOW + timedelta(days=14, seconds=1))
    assert (state.unknown_tokens, state.outdated_tokens) == (3, 2)


async def test_first_sweep_stands_as_running_until_it_ends(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((enrolment("a"), found()))
    (state,) = await posture.environments(connection, NOW)
    assert state.last_sweep is not None
    assert (state.last_sweep.status, state.last_sweep.finished_at, state.last_sweep.found) == ("running", None, 1)
    await sweep.finish()
    await begin(connection, now=NOW + HOUR)
    (state,) = await posture.environments(connection, NOW)
    assert state.last_sweep is not None
    assert state.last_sweep.status is SweepStatus.COMPLETE
