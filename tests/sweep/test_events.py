"""Findings about events, sweep after sweep: they outlive the sweep that saw the event, and end when they should."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from auditor.model.finding import Finding, Resolution
from auditor.store.connection import Pool
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, stored
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

DAY = timedelta(days=1)
HERE, THERE = "203.0.113.7", "198.51.100.9"


class Watched:
    """One stored token of a stage, swept after a day or as many as told."""

    def __init__(self, database: Pool, stage: Stage) -> None:
        self.stage = stage
        self._database = database
        made = stage.world.create("ingest", ["metrics.ingest"], expiration_date=stage.world.now + 400 * DAY)
        self.id = made.token.id
        self._subject = stage.subject(ListSource("vault", stored([made.secret])))

    async def sweeps(self, count: int = 1, *, span: timedelta = DAY) -> None:
        for _ in range(count):
            self.stage.clock.advance(span)
            await sweep(self._database, self._subject)

    async def finding(self, rule_id: str) -> Finding | None:
        return (await read_findings(self._database)).get(f"prod/{self.id}/{rule_id}")


async def standing(watched: Watched, rule_id: str) -> str | None:
    """Return how a finding stands: its status and, where it is resolved, why."""
    finding = await watched.finding(rule_id)
    if finding is None:
        return None
    return finding.status if finding.resolution is None else f"{finding.status} by {finding.resolution}"


async def test_enabling_a_token_again_is_told_for_thirty_days(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        await watched.sweeps()
        stage.world.disable(watched.id)
        await watched.sweeps()
        assert await standing(watched, "DT-STA-02") is None
        stage.world.enable(watched.id)
        await watched.sweeps()
        opened = await watched.finding("DT-STA-02")
        assert opened is not None
        for _ in range(3):
            await watched.sweeps(span=9 * DAY)
            later = await watched.finding("DT-STA-02")
            assert later is not None
            assert later.status == "open"
            assert later.message.startswith(opened.message), "but for its deadline, which passes"
            assert later.evidence["seen_at"] == opened.evidence["seen_at"]
        await watched.sweeps(span=3 * DAY)
        assert await standing(watched, "DT-STA-02") == f"resolved by {Resolution.EVIDENCE}"


async def test_owner_that_is_put_back_ends_the_finding_for_good(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        await watched.sweeps()
        stage.world.change(watched.id, owner="somebody.else")
        await watched.sweeps()
        assert await standing(watched, "DT-OWN-03") == "open"
        stage.world.change(watched.id, owner="demo.operator")
        for _ in range(5):
            await watched.sweeps(span=9 * DAY)
            assert await standing(watched, "DT-OWN-03") == f"resolved by {Resolution.EVIDENCE}"


async def test_deleted_token_is_told_once_confirmed_and_its_return_too(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        await watched.sweeps()
        deleted = stage.world.delete(watched.id)
        await watched.sweeps()
        assert await standing(watched, "DT-STA-03") is None
        await watched.sweeps()
        opened = await watched.finding("DT-STA-03")
        assert opened is not None
        assert opened.status == "open"
        assert opened.evidence["reading"] == "revoked"
        await watched.sweeps(3)
        assert await watched.finding("DT-STA-03") is not None
        assert await standing(watched, "DT-STA-03") == "open"
        stage.world.restore(deleted)
        await watched.sweeps()
        assert await standing(watched, "DT-STA-03") == f"resolved by {Resolution.EVIDENCE}"
        back = await watched.finding("DT-STA-04")
        assert back is not None
        assert back.evidence["misses"] == 5
        await watched.sweeps()
        assert await standing(watched, "DT-STA-04") == "open"


async def test_vanished_token_is_told_for_thirty_days(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        await watched.sweeps()
        stage.world.delete(watched.id)
        await watched.sweeps(2)
        await watched.sweeps(span=28 * DAY)
        assert await standing(watched, "DT-STA-03") == "open"
        await watched.sweeps()
        assert await standing(watched, "DT-STA-03") == f"resolved by {Resolution.MISSING}"


async def test_stored_token_that_was_never_there_is_read_as_one_of_another_environment(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        stage.world.delete(watched.id)
        await watched.sweeps()
        assert await standing(watched, "DT-STA-03") is None
        await watched.sweeps()
        finding = await watched.finding("DT-STA-03")
        assert finding is not None
        assert finding.evidence["reading"] == "wrong environment"


async def test_use_from_elsewhere_is_told_when_later_uses_came_from_the_old_place(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        for _ in range(6):
            stage.world.use(watched.id, HERE)
            await watched.sweeps()
        assert await standing(watched, "DT-NET-02") is None
        stage.world.use(watched.id, THERE)
        await watched.sweeps()
        assert await standing(watched, "DT-NET-02") == "open"
        for _ in range(3):
            stage.world.use(watched.id, HERE)
            await watched.sweeps()
        finding = await watched.finding("DT-NET-02")
        assert finding is not None
        assert (finding.status, finding.evidence["ip_address"]) == ("open", THERE)


async def test_first_use_after_months_is_told_at_the_next_sweeps_too(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        await watched.sweeps(2)
        await watched.sweeps(span=60 * DAY)
        stage.world.use(watched.id, THERE)
        await watched.sweeps()
        assert await standing(watched, "DT-USE-03") == "open"
        stage.world.use(watched.id, THERE)
        await watched.sweeps(2)
        assert await standing(watched, "DT-USE-03") == "open"


async def test_silence_of_a_regular_token_is_told_until_it_is_used(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        watched = Watched(database, stage)
        for _ in range(11):
            stage.world.use(watched.id, HERE)
            await watched.sweeps()
        await watched.sweeps(4)
        assert await standing(watched, "DT-USE-05") is None
        await watched.sweeps(2)
        assert await standing(watched, "DT-USE-05") == "open"
        stage.world.use(watched.id, HERE)
        await watched.sweeps(span=timedelta(hours=1))
        assert await standing(watched, "DT-USE-05") == f"resolved by {Resolution.EVIDENCE}"


async def test_use_that_is_withdrawn_is_recorded_once(database: Pool, staged: Staged) -> None:
    used, withdrawn = "select last_used_date is not null from token", "select count(*) from use_withdrawal"
    async with staged() as stage:
        watched = Watched(database, stage)
        stage.world.use(watched.id, HERE)
        await watched.sweeps()
        assert (await value(database, used), await value(database, withdrawn)) == (True, 0)
        stage.world.change(watched.id, last_used_date=None, last_used_ip_address=None)
        for _ in range(2):
            await watched.sweeps()
            assert (await value(database, used), await value(database, withdrawn)) == (False, 1)
