"""Replays a draft of a policy and the present one over stored observations, in several processes; writes nothing."""

import asyncio
import gc
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from auditor.model.errors import AuditorError
from auditor.model.finding import Severity, Violation
from auditor.model.secret import Secret
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.drafts import Comparison, Difference, compared, differences
from auditor.policy.engine import Policy
from auditor.policy.registry import rules_of
from auditor.store import replay
from auditor.store.connection import Connection
from auditor.store.database import connected, translated
from auditor.store.embedded import Address
from auditor.store.replay import Slice
from auditor.store.tokens import KnownToken
from auditor.sweep.lookback import recalled

SLICE: Final = 20_000
"""Tokens in one piece of work. For fewer than two pieces, starting processes takes longer than the work."""
_MOST_PROCESSES: Final = 8
_COLLECT_EVERY: Final = 20_000

Regrading = tuple[str, str, Severity | None, Severity | None]
"""Environment, rule, severity with the present policy and with the draft; None: no finding."""


class Side(msgspec.Struct, frozen=True):
    """A policy for one environment, in a form that another process can take."""

    document: bytes
    """``PolicyDocument.content``."""
    feeds: Feeds
    environment_kind: str | None

    def policy(self, only: Iterable[str] | None = None) -> Policy:
        """Return the policy, of these rules only where they are given."""
        document = PolicyDocument.model_validate(msgspec.json.decode(self.document))
        known = rules_of(document)
        return Policy(
            document,
            list(known.values()) if only is None else [known[rule_id] for rule_id in only if rule_id in known],
            feeds=self.feeds,
            environment_kind=self.environment_kind,
        )


class Trial(msgspec.Struct, frozen=True):
    """The present policy and a draft, for one environment."""

    present: Side
    draft: Side

    def compare(self) -> Comparison:
        """Return how they differ before any token is seen."""
        present, draft = self.present.policy(), self.draft.policy()
        either = {**rules_of(present.document), **rules_of(draft.document)}
        return compared(present, draft, list(either.values()))


class Tally(msgspec.Struct, gc=False):
    """What the draft would change, counted, with the changes themselves as far as they are wanted."""

    tokens: int = 0
    """Observations that were replayed."""
    counts: Counter[Regrading] = msgspec.field(default_factory=Counter)
    found: list[list[Difference]] = msgspec.field(default_factory=lambda: [[] for _severity in Severity])
    """By rank of the worse severity; within one in the order of environments and tokens."""

    def add(self, other: "Tally", kept: int) -> None:
        """Add another part, whose tokens come later; keep so many differences of each rank."""
        self.tokens += other.tokens
        self.counts.update(other.counts)
        for mine, more in zip(self.found, other.found, strict=True):
            mine.extend(more[: max(kept - len(mine), 0)])


class Instant(NamedTuple):
    """An instant to judge at."""

    at: datetime
    is_past: bool
    """Whether tokens are taken as they were then, and not as they are now."""


class _Work(NamedTuple):
    where: Slice
    when: Instant
    snapshot: str
    kept: int | None
    """Differences of each rank to return at most; None: all."""


class BackTest:
    """Trials over the stored observations of their environments, all of one instant of the database."""

    def __init__(
        self,
        server: Secret | Address,
        trials: Mapping[str, Trial],
        *,
        processes: int | None = None,
        slice_size: int = SLICE,
    ) -> None:
        self._server = server
        self._slice_size = slice_size
        self._trials = trials
        self._processes = processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
        self.comparisons: Mapping[str, Comparison] = {name: trial.compare() for name, trial in trials.items()}

    async def run(
        self, connection: Connection, instants: Sequence[Instant], *, kept: int | None
    ) -> AsyncGenerator[tuple[Instant, Tally], None]:
        """Yield, for each instant in turn, tallies to be added up; each holds a part of the tokens.

        ``kept`` is how many differences of each severity a tally holds at most; None: all. The tallies come in the
        order of environments and tokens. Raises ``StoreUnavailable`` where the database goes away.
        """
        disputed = {name: comparison.disputed for name, comparison in self.comparisons.items() if comparison.disputed}
        async with replay.one_instant(connection) as snapshot:
            cut = await replay.slices(connection, list(disputed), self._slice_size)
            work = [_Work(where, when, snapshot, kept) for when in instants for where in cut]
            bench = _Bench(self._server, self._trials, disputed)
            tokens = sum(where.last - where.first + 1 for where in cut) * len(instants)
            if self._processes == 1 or tokens < 2 * self._slice_size:
                for piece in work:
                    yield piece.when, await bench.tally(piece)
                return
            async with _workers(bench, self._processes) as tally:
                async for piece, result in _in_order(work, tally, 2 * self._processes):
                    yield piece.when, result


class _Bench:
    """What a process needs for its pieces of work."""

    def __init__(
        self, server: Secret | Address, trials: Mapping[str, Trial], disputed: Mapping[str, Sequence[str]]
    ) -> None:
        self.server = server
        self.trials = trials
        self.disputed = disputed

        self._policies: dict[str, tuple[Policy, Policy]] = {}

    def policies(self, environment: str) -> tuple[Policy, Policy]:
        """Return the present policy and the draft, of the rules that they differ on."""
        if environment not in self._policies:
            trial, only = self.trials[environment], self.disputed[environment]
            self._policies[environment] = trial.present.policy(only), trial.draft.policy(only)
        return self._policies[environment]

    async def tally(self, piece: _Work) -> Tally:
        """Replay one slice."""
        result = Tally()
        async with connected(self.server, application="auditor policy diff", connections=1) as pool:
            with translated():
                async with pool.acquire() as connection, replay.joined(connection, piece.snapshot):
                    await self._replay(connection, piece, result)
        return result

    async def _replay(self, connection: Connection, piece: _Work, result: Tally) -> None:
        where, (at, is_past) = piece.where, piece.when
        before, after = self.policies(where.environment)
        span = max(before.lookback, after.lookback)
        until = at if is_past else None
        batches = replay.past(connection, where, at) if is_past else replay.present(connection, where)
        async for batch in batches:
            result.tokens += len(batch)
            for known, history in zip(batch, await recalled(connection, batch, at, span, until), strict=True):
                observation = known.previous
                assert observation is not None
                for one, other in differences(
                    before.assess(observation, history, at), after.assess(observation, history, at)
                ):
                    _add(result, _difference(where.environment, known, one, other), piece.kept)


def _difference(environment: str, known: KnownToken, one: Violation | None, other: Violation | None) -> Difference:
    said = other or one
    assert said is not None
    return Difference(
        environment,
        known.label,
        said.rule_id,
        said.discriminator,
        one.severity if one else None,
        other.severity if other else None,
        said.message,
    )


def _add(result: Tally, difference: Difference, kept: int | None) -> None:
    key = (difference.environment, difference.rule_id, difference.before, difference.after)
    result.counts[key] += 1
    found = result.found[difference.rank]
    if kept is None or len(found) < kept:
        found.append(difference)


# Processes


@asynccontextmanager
async def _workers(bench: _Bench, processes: int) -> AsyncIterator[Callable[[_Work], "asyncio.Future[Tally]"]]:
    """Start processes that work on pieces, each with connections of its own."""
    server = bench.server.reveal() if isinstance(bench.server, Secret) else bench.server
    executor = ProcessPoolExecutor(
        processes,
        # A fork would take the event loop, its connections and their locks along.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_up,
        initargs=(server, dict(bench.trials), dict(bench.disputed)),
    )
    loop = asyncio.get_running_loop()
    try:
        with _told_when_broken():
            yield lambda piece: loop.run_in_executor(executor, _tally_in_process, piece)
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _told_when_broken() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise AuditorError(
            "a process of the back-test was ended from outside, perhaps for want of memory; nothing was written, "
            "so try it again"
        ) from error


async def _in_order(
    work: Sequence[_Work], tally: Callable[[_Work], "asyncio.Future[Tally]"], ahead: int
) -> AsyncGenerator[tuple[_Work, Tally], None]:
    """Yield the result of each piece in their order; so many are begun before the first is taken."""
    begun: deque[tuple[_Work, asyncio.Future[Tally]]] = deque()
    for piece in work:
        if len(begun) == ahead:
            first, future = begun.popleft()
            yield first, await future
        future = tally(piece)
        future.add_done_callback(_is_heard)
        begun.append((piece, future))
    while begun:
        first, future = begun.popleft()
        yield first, await future


def _is_heard(future: "asyncio.Future[Tally]") -> None:
    """Take note of how a piece ended: where one fails nobody awaits those after it, and the event loop complains."""
    if not future.cancelled():
        future.exception()


_benches: list[_Bench] = []
"""In a process that works for a back-test, its bench."""


def _set_up(server: str | Address, trials: Mapping[str, Trial], disputed: Mapping[str, Sequence[str]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the terminal sends to all; the process that asked tells
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    _benches.append(_Bench(Secret(server) if isinstance(server, str) else server, trials, disputed))


def _tally_in_process(piece: _Work) -> Tally:
    return asyncio.run(_benches[0].tally(piece))
