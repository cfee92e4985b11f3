"""In which order a sweep looks tokens up, and what becomes of those that were read far ahead of their lookups."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest
from aiohttp import web

from auditor.model.secret import Secret
from auditor.model.sweep import SweepStatus
from auditor.model.token import Location, StoredToken
from auditor.simulator.answers import Answer
from auditor.simulator.api import Call, secret_in
from auditor.simulator.app import Environment
from auditor.store.connection import Pool
from auditor.sweep.side_by_side import SideBySide
from auditor.sweep.subject import Progress
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import ListSource, Stage, secrets_of, stored
from tests.sweep.reading import until, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


class Gate:
    """Lets no request through while it is closed; notes whom they are about, in their order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    def close(self) -> None:
        self.asked.clear()
        self.open.clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    answer = Environment._answer  # the one place that every request passes

    async def gated(
        environment: Environment, request: web.Request, body: bytes, call: Callable[[Call], Answer]
    ) -> Answer:
        if body:
            gate.asked.append(secret_in(body))
        await gate.open.wait()
        return await answer(environment, request, body, call)

    monkeypatch.setattr(Environment, "_answer", gated)
    return gate


async def test_the_riskiest_at_the_end_of_the_source_are_looked_up_first(
    database: Pool, staged: Staged, gate: Gate
) -> None:
    async with staged(concurrency=1) as stage:
        calm = secrets_of(stage, 60)
        powerful = [stage.world.create(f"p{number}", ["apiTokens.write"]).secret for number in range(3)]
        subject = stage.subject(ListSource("vault", stored([*calm, *powerful]), batch=10))
        await sweep(database, subject)
        stage.clock.advance(timedelta(days=30))
        progress = Progress("prod")
        gate.close()
        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, subject, progress=progress))
            await until(lambda: progress.enrolled == 63)
            gate.open.set()
    assert gate.asked == [calm[0], *powerful, *calm[1:]]  # nobody waited until all was read
    assert sweeping.result().status is SweepStatus.COMPLETE


async def test_what_was_never_looked_up_comes_before_all(database: Pool, staged: Staged, gate: Gate) -> None:
    async with staged(concurrency=1) as stage:
        powerful = [stage.world.create(f"p{number}", ["apiTokens.write"]).secret for number in range(20)]
        await sweep(database, stage.subject(ListSource("vault", stored(powerful))))
        new = secrets_of(stage, 2)
        progress = Progress("prod")
        gate.close()
        async with asyncio.TaskGroup() as tasks:
            subject = stage.subject(ListSource("vault", stored([*powerful, *new]), batch=5))
            tasks.create_task(sweep(database, subject, progress=progress))
            await until(lambda: progress.enrolled == 22)
            gate.open.set()
    assert gate.asked[1:3] == new


class CountingSource(ListSource):
    """Notes how many tokens it had yielded, at most, beyond those whose lookups had ended."""

    progress: Progress
    ahead = 0

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        yielded = 0
        async for batch in super().read():
            yielded += len(batch)
            self.ahead = max(self.ahead, yielded - self.progress.done)
            yield batch


async def test_reading_runs_ahead_up_to_a_number(
    database: Pool, staged: Staged, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.sweep.lookahead.WINDOW", 30)
    monkeypatch.setattr("auditor.sweep.lookahead.AT_LEAST", 10)
    async with staged() as stage:
        source = CountingSource("vault", stored(secrets_of(stage, 200)), batch=10)
        source.progress = Progress("prod")
        gate.close()
        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, stage.subject(source), progress=source.progress))
            await until(lambda: source.progress.enrolled >= 30)
            gate.open.set()
        under_way = stage.client.concurrency
    assert sweeping.result().found == 200
    assert 30 <= source.ahead <= 30 + 10 + under_way


async def test_secret_that_waits_and_is_met_again_is_looked_up_once(database: Pool, staged: Staged, gate: Gate) -> None:
    async with staged(concurrency=1) as stage:
        secrets = secrets_of(stage, 5)
        again = [StoredToken("prod", Secret(secret), Location("other", "again")) for secret in secrets]
        progress = Progress("prod")
        gate.close()
        async with asyncio.TaskGroup() as tasks:
            subject = stage.subject(ListSource("vault", stored(secrets)), ListSource("other", again), batch_of_one())
            sweeping = tasks.create_task(sweep(database, subject, progress=progress))
            await until(lambda: progress.enrolled == 6)
            gate.open.set()
    assert len(gate.asked) == len(set(gate.asked)) == 6
    assert sweeping.result().enrolled == 6
    assert await value(database, "select count(*) from token where cardinality(places) = 2") == 5


def batch_of_one() -> ListSource:
    """A last source, whose token tells that those before it were read."""
    return ListSource("zuletzt", stored([f"dt0c01.{'Z' * 24}.{'Z' * 64}"], source="zuletzt"))


async def test_what_was_read_ahead_of_a_stop_is_accounted_for(database: Pool, staged: Staged, gate: Gate) -> None:
    async with staged() as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 150)), batch=10))
        progress = Progress("prod")
        gate.close()
        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweep(database, subject, progress=progress))
            await until(lambda: progress.enrolled == 150)
            stage.world.delete(stage.own.public_id or "")
            gate.open.set()
        summary = sweeping.result()
        asked = len(gate.asked)
    assert (summary.status, summary.enrolled, summary.found) == (SweepStatus.FAILED, 150, 0)
    assert summary.is_balanced
    assert (
        sum(number for reason, number in summary.reasons.items() if reason.startswith("not attempted")) == 150 - asked
    )


async def test_what_was_read_ahead_of_a_crash_is_met_again(database: Pool, staged: Staged, gate: Gate) -> None:
    async with staged() as stage:
        subject = stage.subject(ListSource("vault", stored(secrets_of(stage, 150)), batch=10))
        progress, side_by_side = Progress("prod"), SideBySide(database)
        gate.close()
        sweeping = asyncio.create_task(sweep(database, subject, progress=progress, side_by_side=side_by_side))
        await until(lambda: progress.enrolled == 150)
        await until(lambda: side_by_side.crowd.waiting == 150 - len(gate.asked))
        sweeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sweeping
        assert side_by_side.crowd.waiting == 0
        gate.open.set()
        summary = await sweep(database, subject, side_by_side=side_by_side)
    assert (summary.status, summary.enrolled, summary.found) == (SweepStatus.COMPLETE, 150, 150)
    assert await value(database, "select count(*) from sweep") == 1
