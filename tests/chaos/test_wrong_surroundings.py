"""Names that do not resolve, certificates that are refused, clocks that are wrong or stepped: nothing is evidence."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psutil

from auditor.dynatrace.client import Client
from auditor.model.secret import Secret
from auditor.model.sweep import SweepStatus
from auditor.simulator import SteppedClock
from auditor.store.connection import Pool
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.chaos import account
from tests.chaos.account import ONE_RULE
from tests.chaos.held import held, kept
from tests.chaos.stage import rounds
from tests.chaos.stage import stage as chaos_stage
from tests.dynatrace.lookup_servers import answering, http, make_certificate
from tests.sweep.conftest import NOW, ListSource, Stage, client_of, stored, subject_of

TOKENS = 20
POOL = 4
"""Connections to the database that may have been opened meanwhile."""
DAY = timedelta(days=1)
STEPS = (7 * DAY, -8 * DAY, 2 * DAY, -DAY)
"""To a week ahead, a day behind, a day ahead, and back."""
Staged = Callable[..., AbstractAsyncContextManager[Stage]]


class Truth:
    """A few tokens, and how often what is true of each was changed."""

    def __init__(self, stage: Stage, draw: random.Random) -> None:
        made = [stage.world.create(f"t{number}", ["metrics.read"]) for number in range(TOKENS)]
        self._stage = stage
        self._random = draw
        self._ids = [token.token.id for token in made]
        self.source = ListSource("vault", stored(token.secret for token in made))
        self.changes: Counter[str] = Counter()

    def flip(self) -> None:
        for token_id in self._random.sample(self._ids, 3):
            self.changes[token_id] += 1
            end = None if token_id not in self.breaking else self._stage.clock() + timedelta(days=60)
            self._stage.world.change(token_id, expiration_date=end)

    @property
    def breaking(self) -> set[str]:
        tokens = [self._stage.world.get(token_id) for token_id in self._ids]
        return {token.id for token in tokens if token is not None and token.expiration_date is None}

    async def complaints(self, database: Pool) -> list[str]:
        async with database.acquire() as connection:
            return [
                *await account.of_sweeps(connection, TOKENS),
                *await account.of_findings(connection, self.breaking),
                *await account.of_transitions(connection, self.changes),
            ]


def subject(stage: Stage, truth: Truth, client: Client, clock: SteppedClock) -> Subject:
    return subject_of(client, stage.url, clock, truth.source, policy=ONE_RULE)


@asynccontextmanager
async def unusable(stage: Stage, directory: Path) -> AsyncIterator[list[Client]]:
    """Clients that reach something that is not the environment, or nothing."""
    async with AsyncExitStack() as stack:
        urls: list[tuple[str, Path | None]] = [("https://environment.invalid", None)]
        for host, is_trusted, has_ended in (
            ("127.0.0.1", False, False),
            ("127.0.0.1", True, True),
            ("localhost", True, False),
        ):
            folder = directory / f"{host}-{is_trusted}-{has_ended}"
            folder.mkdir()
            certificate, tls = make_certificate(folder, ended=has_ended)
            server = await stack.enter_async_context(answering(http(404, b"{}"), tls=tls))
            urls.append((f"https://{host}:{server.port}", certificate if is_trusted else None))
        clients = [client_of(url, stage.own, stage.clock, ca_file=ca_file) for url, ca_file in urls]
        yield [await stack.enter_async_context(client) for client in clients]


async def test_names_and_certificates_that_are_wrong_are_no_evidence(
    tmp_path: Path, database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        truth = Truth(stage, random.Random(6))
        await sweep(database, subject(stage, truth, stage.client, stage.clock))
        opened = set(truth.breaking)
        truth.flip()
        before = psutil.Process().num_fds()
        async with unusable(stage, tmp_path) as clients:
            for client in clients:
                failed = await sweep(database, subject(stage, truth, client, stage.clock))
                assert (failed.status, failed.found, failed.failed) == (SweepStatus.INCOMPLETE, 0, TOKENS)
        assert psutil.Process().num_fds() <= before + POOL
        async with database.acquire() as connection:
            assert await account.of_findings(connection, opened) == []
        await sweep(database, subject(stage, truth, stage.client, stage.clock))
        assert await truth.complaints(database) == []


async def test_clock_that_is_wrong_and_stepped_again_and_again(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        truth = Truth(stage, random.Random(6))
        ours = SteppedClock(NOW)
        async with client_of(stage.url, stage.own, ours) as client:
            for _ in range(rounds(2)):
                for step in (-DAY, 2 * DAY, -DAY, timedelta(seconds=-1)):
                    ours.advance(step)
                    stage.clock.advance(timedelta(minutes=1))
                    truth.flip()
                    summary = await sweep(database, subject(stage, truth, client, ours))
                    assert summary.status is SweepStatus.COMPLETE
                    assert await truth.complaints(database) == []


async def test_service_whose_clock_is_stepped_again_and_again(tmp_path: Path, database_url: Secret) -> None:
    # The hook takes nothing meanwhile: to a clock that is a week ahead, what waits for it has waited for too long.
    async with chaos_stage(tmp_path, database_url) as hurt, hurt.service() as service:
        await hurt.caught_up(service)
        before = await held(hurt, service)
        for number in range(rounds(2)):
            hurt.hook_fails = 1.0
            hurt.flip()
            await service.until("delivery_failed", len(service.said("delivery_failed")) + 1)
            await hurt.step_clock(service, STEPS[number % len(STEPS)])
            hurt.hook_fails = 0.0
            assert await kept(hurt, service, before) == []
        assert await service.stop() == 0
        assert await hurt.complaints() == []
