"""A sweep that may make only so many lookups: what it chooses, what it leaves, and how it says so."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

import pytest

from auditor.model.secret import Secret
from auditor.model.sweep import SweepStatus
from auditor.model.token import Location, StoredToken
from auditor.store.connection import Pool
from auditor.sweep.subject import Progress, Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import SLOW, ListSource, Stage, secrets_of, stored
from tests.sweep.reading import stopped_after, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


def with_budget(stage: Stage, secrets: list[str], budget: int) -> Subject:
    return replace(stage.subject(ListSource("vault", stored(secrets), batch=7)), lookups_per_sweep=budget)


async def test_what_is_left_is_counted_as_not_audited_and_has_its_turn(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        subject = with_budget(stage, secrets_of(stage, 30), 12)
        first = await sweep(database, subject)
        assert stage.api.lookups == 12
        assert (first.status, first.enrolled, first.found, first.failed) == (SweepStatus.INCOMPLETE, 30, 12, 18)
        assert first.reasons == {"left to later sweeps: lookups_per_sweep = 12": 18}
        assert await value(database, "select count(*) from token") == 12
        for _sweep in range(3):
            stage.clock.advance(timedelta(days=1))
            await sweep(database, subject)
    assert stage.api.lookups == 4 * 12
    assert await value(database, "select count(*) from token where removed_at is null") == 30
    assert await value(database, "select count(*) from enrolment") == 0


async def test_comparing_rules_wait_until_every_token_was_seen(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        subject = with_budget(stage, secrets_of(stage, 30), 20)
        standing = "select rules->'DT-OWN-04'->>'state' from sweep order by id desc limit 1"
        await sweep(database, subject)
        assert await value(database, standing) == "not assessed"
        stage.clock.advance(timedelta(days=1))
        await sweep(database, subject)
        assert await value(database, standing) == "assessed"


async def test_budget_that_is_large_enough_leaves_nothing(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        summary = await sweep(database, with_budget(stage, secrets_of(stage, 10), 10))
    assert (summary.status, summary.found, summary.reasons) == (SweepStatus.COMPLETE, 10, {})


async def test_secret_in_two_batches_is_looked_up_once(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        (secret,) = secrets_of(stage, 1)
        twice = [StoredToken("prod", Secret(secret), Location("vault", f"line {line}")) for line in (1, 2)]
        subject = replace(stage.subject(ListSource("vault", twice, batch=1)), lookups_per_sweep=5)
        summary = await sweep(database, subject)
        assert stage.api.lookups == 1
    assert (summary.enrolled, summary.found) == (1, 1)
    assert await value(database, "select cardinality(places) from token") == 2


class OnceSource(ListSource):
    """Holds nothing any more once it was read."""

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        async for batch in super().read():
            yield batch
        self._tokens.clear()


async def test_sources_are_read_once(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        source = OnceSource("vault", stored(secrets_of(stage, 25)), batch=7)
        summary = await sweep(database, replace(stage.subject(source), lookups_per_sweep=20))
    assert (summary.enrolled, summary.found, summary.failed) == (25, 20, 5)


async def test_more_are_chosen_than_may_wait(database: Pool, staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.sweep.lookahead.WINDOW", 8)
    monkeypatch.setattr("auditor.sweep.lookahead.AT_LEAST", 4)
    monkeypatch.setattr("auditor.sweep.enrolling.BATCH", 5)
    async with staged() as stage:
        progress = Progress("prod")
        summary = await sweep(database, with_budget(stage, secrets_of(stage, 60), 40), progress=progress)
    assert (summary.enrolled, summary.found, summary.failed) == (60, 40, 20)
    assert (progress.enrolled, progress.done) == (40, 40)


async def test_what_was_read_of_a_source_that_breaks_is_chosen_among(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        source = ListSource("vault", stored(secrets_of(stage, 10)), breaks="gone")
        summary = await sweep(database, replace(stage.subject(source), lookups_per_sweep=6))
    assert (summary.enrolled, summary.found, summary.failed) == (10, 6, 4)
    assert summary.source_problems == {"vault": "gone"}


async def test_what_is_known_of_the_chosen_is_known_at_their_lookups(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        subject = with_budget(stage, secrets_of(stage, 10), 10)
        for _sweep in range(2):
            await sweep(database, subject)
            stage.clock.advance(timedelta(days=1))
    assert await value(database, "select count(*) from token") == 10
    assert await value(database, "select count(*) from lookup where evidence = 2") == 10


async def test_sweep_that_goes_on_spends_what_is_left_of_its_budget(database: Pool, staged: Staged) -> None:
    async with staged(capacity=SLOW) as stage:
        subject = with_budget(stage, secrets_of(stage, 60), 40)
        begun = await stopped_after(stage, database, subject, 10)
        assert 0 < begun.found < 40
        stage.api.set_capacity(None)
        summary = await sweep(database, subject)
        assert stage.api.lookups == 40
    assert (summary.id, summary.enrolled, summary.found, summary.failed) == (begun.id, 60, 40, 20)
