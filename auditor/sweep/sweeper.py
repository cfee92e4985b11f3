"""Runs one sweep: enrols what the sources yield, looks it up concurrently, and has each batch recorded.

Four stages run side by side: reading and enrolling, looking up, judging, recording. The first runs ahead of the second,
up to a number of tokens, of which the most urgent are looked up first (``lookahead``); short queues join the others. So
many tokens and a few batches are in memory, however many the sources hold.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec
import structlog

from auditor.model.errors import ungrouped
from auditor.model.lookup import Lookup, Outcome
from auditor.model.secret import Secret
from auditor.model.sweep import RuleStanding, SweepStatus, SweepSummary
from auditor.policy.waivers import Waivers
from auditor.store import sweeps, tokens
from auditor.store.chain import heads, linked
from auditor.store.connection import Connection, Pool
from auditor.store.database import translated
from auditor.store.ownership import guard
from auditor.store.sweeps import RESUMABLE
from auditor.sweep import closing, fleet, introducing, pacing, waiving
from auditor.sweep.enrolling import Enroller
from auditor.sweep.lookahead import LookAhead
from auditor.sweep.recorder import Judged, Looked, Recorder
from auditor.sweep.side_by_side import SideBySide
from auditor.sweep.subject import NoTelemetry, Progress, Subject, Telemetry
from auditor.sweep.telling import Teller

BATCH: Final = 1500
"""Tokens whose lookups have ended and are not recorded yet, at most: what a crash can lose."""
_PARTS: Final = 3
"""In so many transactions a batch is recorded: while one part of it is gathered, the one before is judged and written,
and the one before that committed."""
_WRITERS: Final = 2

_UNREACHABLE_RUNNING: Final = 50
"""After so many lookups running that found nobody there, the environment is taken to be away."""
_UNREACHABLE_SECONDS: Final = 300.0
"""So it is after so long in which every lookup found nobody or was throttled: few are under way at once, and each may
wait for long."""

_ASKED_TO_STOP: Final = "auditor was asked to stop"
_PATIENCE_SECONDS: Final = 2.0
"""How long lookups under way may take to end by themselves once somebody asked to stop."""

log = structlog.get_logger(__name__)


async def sweep(
    pool: Pool,
    subject: Subject,
    *,
    side_by_side: SideBySide | None = None,
    progress: Progress | None = None,
    telemetry: Telemetry | None = None,
    stopping: asyncio.Event | None = None,
) -> SweepSummary:
    """Sweep an environment once and return the account of it.

    A sweep that was cut short goes on where it was, if it is soon enough and nothing that it began with has changed
    (``sweeps.resume``). When ``stopping`` is set, no further token is read or looked up, what is under way is recorded,
    and the sweep is left as running. Raises ``SweepUnderWay`` where another process sweeps this environment and
    ``StoreUnavailable`` where the database goes away; what was recorded until then stays. ``side_by_side`` is what
    sweeps of this process that run at the same time must share.
    """
    shared = side_by_side or SideBySide(pool)
    async with _owned(shared, subject) as (owner, environment):
        with LookAhead(shared.crowd) as ahead:
            run = _Sweep(
                owner,
                shared,
                subject,
                environment,
                ahead,
                progress or Progress(subject.name),
                telemetry or NoTelemetry(),
                stopping or asyncio.Event(),
            )
            return await run.run()


@asynccontextmanager
async def _owned(shared: SideBySide, subject: Subject) -> AsyncIterator[tuple[Connection, int]]:
    with translated():
        async with shared.pool.acquire() as connection:
            environment = await sweeps.environment_id(connection, subject.name, subject.url)
        async with shared.ownership.of(subject.name, environment) as owner:
            yield owner, environment


class _Sweep:
    """One sweep under way."""

    def __init__(
        self,
        owner: Connection,
        shared: SideBySide,
        subject: Subject,
        environment: int,
        ahead: LookAhead,
        progress: Progress,
        telemetry: Telemetry,
        stopping: asyncio.Event,
    ) -> None:
        self._owner = owner
        self._pool = shared.pool
        self._ending = shared.ending
        self._subject = subject
        self._environment = environment
        self._progress = progress
        self._telemetry = telemetry
        self._stopping = stopping
        self._ahead = ahead
        self._stopped: str | None = None
        """Why no further token is looked up; None while they are."""
        self._left = 0
        """Tokens met whose lookups were not made, or were given up, since."""
        self._unserved_running = 0
        """Lookups running that ended unreachable or throttled, and when the first of them did."""
        self._unserved_since = 0.0
        self._unreachable_running = 0
        self._asking: set[asyncio.Task[None]] = set()
        """Tasks that wait for a lookup."""
        self._parked: deque[asyncio.Future[None]] = deque()
        """Of workers that the environment's limit leaves without a place."""
        self._given_up: set[asyncio.Task[None]] = set()
        """Of these, the ones whose lookup was cancelled and not the task."""
        self._gathered: list[Looked] = []
        self._looked: asyncio.Queue[list[Looked] | None] = asyncio.Queue()
        self._judged: asyncio.Queue[Judged | None] = asyncio.Queue()
        self._parts = asyncio.Semaphore(_PARTS - 1)
        """Of a batch that may be handed over before one of them is recorded, while another is gathered."""
        self._has_room = asyncio.Event()
        self._has_room.set()

    @property
    def _is_suspended(self) -> bool:
        """Whether somebody asked to stop before everything was looked up; what is left is not recorded at all."""
        return self._stopped is _ASKED_TO_STOP

    async def run(self) -> SweepSummary:
        """Run the stages to their end and close the account."""
        subject = self._subject
        async with self._pool.acquire() as connection:
            before = await sweeps.latest(connection, subject.name)
            if before is not None and before.finished_at is not None:
                self._progress.expected = min(before.enrolled, subject.lookups_per_sweep or before.enrolled)
            account = await self._begin(connection)
            waivers = await waiving.load(connection, subject)
            await pacing.resume(connection, subject, self._environment)
            self._is_first = not await sweeps.is_introduced(connection, self._environment)
        if subject.self_lookup:
            log.warning("self_lookup_enabled", environment=subject.name, effect="may move the token's lastUsedDate")
        teller = Teller(subject, waivers, is_first=self._is_first)
        recorder = Recorder(subject, self._environment, self._sweep, teller)
        if account is not None:
            recorder.go_on(account)
        self._enroller = Enroller(
            self._pool,
            subject,
            environment=self._environment,
            sweep=self._sweep,
            progress=self._progress,
            ahead=self._ahead,
        )
        budget = subject.lookups_per_sweep
        if budget is not None and account is not None:
            budget = max(budget - account.enrolled, 0)
        with ungrouped():
            async with asyncio.TaskGroup() as stages:
                watch = stages.create_task(self._watch())
                stages.create_task(self._enroller.run(budget))
                stages.create_task(self._look_up_all())
                stages.create_task(self._judge(recorder))
                loss = stages.create_task(guard(self._owner, subject.name))
                await self._record(recorder)
                watch.cancel()
                summary = await (self._suspend() if self._is_suspended else self._end(recorder, teller, waivers))
                loss.cancel()
        return summary

    async def _begin(self, connection: Connection) -> SweepSummary | None:
        """Take up the sweep that was cut short and return its account so far; begin one, and None, where none was."""
        subject, now = self._subject, self._subject.clock()
        rules = {**subject.policy.standings, **fleet.unjudged(subject.policy), **closing.unjudged(subject.policy)}
        account = await sweeps.resume(
            connection,
            self._environment,
            now=now,
            policy_digest=subject.policy.digest,
            rules=rules,
            self_lookup=subject.self_lookup,
        )
        self._sweep = (
            account.id
            if account is not None
            else await sweeps.begin(
                connection,
                self._environment,
                now=now,
                policy_digest=subject.policy.digest,
                policy_document=subject.policy.content,
                rules=rules,
                self_lookup=subject.self_lookup,
            )
        )
        note = log.bind(environment=subject.name, sweep=self._sweep, sources=[s.name for s in subject.sources])
        if account is None:
            note.info("sweep_started")
        else:
            note.info("sweep_resumed", begun_at=account.started_at.isoformat(), recorded=account.enrolled)
        return account

    async def _suspend(self) -> SweepSummary:
        """Leave what was not looked up to the process that takes this sweep up."""
        async with self._pool.acquire() as connection:
            summary = await sweeps.suspend(connection, self._sweep)
            await pacing.keep(connection, self._subject, self._environment)
        log.warning(
            "sweep_suspended",
            environment=summary.environment,
            sweep=summary.id,
            reason=_ASKED_TO_STOP,
            recorded=summary.enrolled,
            left=self._left,
            read_to_the_end=not self._enroller.problems,
            hint=f"the next sweep goes on from here, if it begins within {RESUMABLE.total_seconds() / 3600:.0f} hours",
        )
        return summary

    async def _end(self, recorder: Recorder, teller: Teller, waivers: Waivers) -> SweepSummary:
        unread = list(self._enroller.problems)
        async with self._pool.acquire() as connection, connection.transaction():
            removed = await tokens.settle_places(
                connection, self._sweep, self._environment, unread_sources=unread, now=self._subject.clock()
            )
        answers = await closing.ask(
            self._pool,
            self._subject,
            environment=self._environment,
            sweep=self._sweep,
            unread_sources=unread,
            stopped=self._stopped,
            stopping=self._stopping,
        )
        async with self._ending, self._pool.acquire() as connection:
            summary = await self._close(connection, recorder, teller, waivers, answers)
            (head,) = await heads(connection, [self._subject.name])
            await pacing.keep(connection, self._subject, self._environment)
        self._tell_end(summary, recorder, teller, removed=removed, chain=f"{head.number}:{head.hash}")
        return summary

    async def _close(
        self,
        connection: Connection,
        recorder: Recorder,
        teller: Teller,
        waivers: Waivers,
        answers: closing.Answers,
    ) -> SweepSummary:
        now = self._subject.clock()
        so_far = await sweeps.latest(connection, self._subject.name)
        assert so_far is not None
        left = self._left_by_budget()
        so_far = msgspec.structs.replace(
            so_far,
            enrolled=so_far.enrolled + sum(left.values()),
            failed=so_far.failed + sum(left.values()),
            reasons={**so_far.reasons, **left},
            source_problems=dict(self._enroller.problems),
        )
        so_far = msgspec.structs.replace(so_far, status=self._status(so_far))
        standings = {
            **await self._compare(connection, teller, now),
            **await closing.judge(
                connection,
                self._subject,
                teller,
                environment=self._environment,
                summary=so_far,
                answers=answers,
                now=now,
            ),
        }
        await waiving.settle(connection, teller, waivers, environment=self._environment, sweep=self._sweep, now=now)
        sights = await waiving.review(connection, self._subject, waivers, environment=self._environment, now=now)
        await waiving.judge(
            connection,
            self._subject,
            teller,
            waivers,
            sights,
            environment=self._environment,
            sweep=self._sweep,
            now=now,
        )
        async with linked(connection, self._environment, now):
            summary = await sweeps.finish(
                connection,
                self._sweep,
                status=so_far.status,
                source_problems=self._enroller.problems,
                left=left,
                standings=standings,
                now=now,
            )
            await recorder.announce_end(connection, summary, self._stopped)
            if self._is_first:
                await introducing.introduce(
                    connection, self._subject, environment=self._environment, summary=summary, now=now
                )
        return summary

    def _tell_end(self, summary: SweepSummary, recorder: Recorder, teller: Teller, *, removed: int, chain: str) -> None:
        recorder.tell_none_found()
        recorder.tell_undecided()
        recorder.tell_unknown_scopes()
        self._telemetry.swept(summary)
        level = log.info if summary.status is SweepStatus.COMPLETE else log.warning
        level(
            "sweep_finished",
            environment=summary.environment,
            sweep=summary.id,
            status=summary.status.value,
            enrolled=summary.enrolled,
            found=summary.found,
            missing=summary.missing,
            refused=summary.refused,
            failed=summary.failed,
            reasons=summary.reasons,
            source_problems=summary.source_problems,
            stored_no_longer=removed,
            chain=chain,
            seconds=round(((summary.finished_at or summary.started_at) - summary.started_at).total_seconds(), 3),
            **{transition.value: number for transition, number in teller.transitions.items()},
        )

    def _left_by_budget(self) -> Mapping[str, int]:
        """Return what the sweep enrolled and did not look up, by reason: nothing of that is evidence."""
        left = self._enroller.left
        if left is None or not left.unchosen:
            return {}
        return {f"left to later sweeps: lookups_per_sweep = {self._subject.lookups_per_sweep}": left.unchosen}

    async def _compare(self, connection: Connection, teller: Teller, now: datetime) -> Mapping[str, RuleStanding]:
        """Judge the tokens beside one another, now that every one of them was looked at."""
        setting = fleet.Setting(
            environment=self._environment,
            sweep=self._sweep,
            now=now,
            is_stopped=lambda: self._stopped is not None or self._stopping.is_set(),
            unread_sources=list(self._enroller.problems),
            unmet=self._enroller.left.unmet if self._enroller.left else 0,
        )
        async with self._pool.acquire() as one, self._pool.acquire() as another:
            return await fleet.judge([one, another], connection, self._subject, teller, setting)

    def _status(self, summary: SweepSummary) -> SweepStatus:
        if self._stopped is not None:
            return SweepStatus.FAILED
        if summary.refused or summary.failed or self._enroller.problems:
            return SweepStatus.INCOMPLETE
        return SweepStatus.COMPLETE

    async def _watch(self) -> None:
        """Stop the lookups and the reading as soon as somebody asks."""
        await self._stopping.wait()
        if self._stopped is None:
            self._stopped = _ASKED_TO_STOP
        self._enroller.stop(_ASKED_TO_STOP)
        await asyncio.sleep(_PATIENCE_SECONDS)
        for task in self._asking:
            self._given_up.add(task)
            task.cancel()

    async def _look_up_all(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for _number in range(self._subject.client.concurrency):
                workers.create_task(self._look_up())
        if self._gathered:
            self._looked.put_nowait(self._gathered)
        self._looked.put_nowait(None)

    async def _look_up(self) -> None:
        """Look tokens up one after another until there is none left; many of these run side by side."""
        time = asyncio.get_running_loop().time
        task = asyncio.current_task()
        assert task is not None
        client = self._subject.client
        own = client.credential if not self._subject.self_lookup else None
        while await self._may_take_one():
            waiting = self._ahead.take()
            started = time()
            if self._is_suspended:
                self._left += 1
                continue
            if self._stopped is not None:
                lookup = self._unattempted(self._stopped)
            elif waiting.secret == own:
                lookup = self._unattempted(
                    "the auditor's own token; self_lookup = true would look it up, and may move its lastUsedDate"
                )
            else:
                if self._parked:
                    self._unpark(client.room - 1)
                answer = await self._ask(waiting.secret, task)
                if answer is None:
                    self._left += 1
                    continue
                lookup = answer
                if lookup.metadata is None:
                    self._judge_failure(lookup)
                else:
                    self._unserved_running = self._unreachable_running = 0
            self._gathered.append(Looked(waiting.enrolment, waiting.known, lookup, time() - started))
            self._progress.done += 1
            if len(self._gathered) >= max(BATCH // _PARTS, 1):
                await self._hand_over()

    async def _may_take_one(self) -> bool:
        """Wait until there is a token at hand and a place for its request; False when there is no more."""
        while True:
            if not self._ahead:
                if not await self._ahead.has_one():
                    self._unpark(len(self._parked))
                    return False
            elif not self._has_room.is_set():
                await self._has_room.wait()
            elif self._subject.client.room or self._stopped is not None:
                return True
            else:
                place = asyncio.get_running_loop().create_future()
                self._parked.append(place)
                await place

    def _unpark(self, workers: int) -> None:
        for _number in range(min(workers, len(self._parked))):
            place = self._parked.popleft()
            if not place.done():
                place.set_result(None)

    async def _hand_over(self) -> None:
        """Give what was gathered to be judged. While this waits every worker does: each would else fill a batch.

        Apart from the workers' loop, whose variables would keep each worker's last batch in memory.
        """
        full, self._gathered = self._gathered, []
        self._looked.put_nowait(full)
        self._has_room.clear()
        await self._parts.acquire()  # once one of those before it is recorded
        self._has_room.set()

    async def _ask(self, secret: Secret, task: "asyncio.Task[None]") -> Lookup | None:
        """Look a token up; None where that was given up since somebody asked to stop."""
        self._asking.add(task)
        try:
            return await self._subject.client.lookup(secret)
        except asyncio.CancelledError:
            if task not in self._given_up or task.uncancel():
                raise
            self._given_up.discard(task)
            return None
        finally:
            self._asking.discard(task)

    def _judge_failure(self, lookup: Lookup) -> None:
        if lookup.outcome is Outcome.REFUSED:
            self._stop(f"the auditor's own token was refused: {lookup.reason}")
        elif lookup.outcome is Outcome.UNREACHABLE or lookup.outcome is Outcome.THROTTLED:
            now = asyncio.get_running_loop().time()
            if not self._unserved_running:
                self._unserved_since = now
            self._unserved_running += 1
            self._unreachable_running += lookup.outcome is Outcome.UNREACHABLE
            is_for_long = self._unserved_running > 1 and now - self._unserved_since >= _UNREACHABLE_SECONDS
            if is_for_long or self._unreachable_running >= _UNREACHABLE_RUNNING:
                what = "cannot be reached" if lookup.outcome is Outcome.UNREACHABLE else "serves nothing"
                self._stop(f"the environment {what}: {lookup.reason}")
        else:
            self._unserved_running = self._unreachable_running = 0

    def _stop(self, reason: str) -> None:
        if self._stopped is None:
            self._stopped = reason
            log.error("sweep_stopped", environment=self._subject.name, sweep=self._sweep, reason=reason)

    def _unattempted(self, reason: str) -> Lookup:
        return Lookup(Outcome.UNREACHABLE, self._subject.clock(), None, f"not attempted: {reason}", None, 0)

    async def _judge(self, recorder: Recorder) -> None:
        while (batch := await self._looked.get()) is not None:
            async with self._pool.acquire() as connection:
                self._judged.put_nowait(await recorder.judge(connection, batch))  # already, as below
        self._judged.put_nowait(None)

    async def _record(self, recorder: Recorder) -> None:
        async with asyncio.TaskGroup() as writers:
            for _number in range(_WRITERS):
                writers.create_task(self._write(recorder))

    async def _write(self, recorder: Recorder) -> None:
        while (judged := await self._judged.get()) is not None:
            async with self._pool.acquire() as connection:
                outcomes = await recorder.write(connection, judged)
                self._parts.release()  # already, since the pool takes the connection back by a round trip
            seconds = [looked.seconds for looked in judged.looked if looked.lookup.attempts]
            self._telemetry.looked_up(self._subject.name, outcomes, seconds, self._subject.client.limit.value)
        self._judged.put_nowait(None)  # for the other writers
