"""Empties the outbox into the hooks: at least once, each hook at its own pace, with an end to trying."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
import structlog
from pgqueuer import RetryRequested
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.types import QueueExecutionMode

from auditor.alerts.base import Hook
from auditor.alerts.enclosing import as_it_stands
from auditor.model.errors import DeliveryFailed, StoreUnavailable
from auditor.model.message import Message
from auditor.policy.routing.routing import NO_ROUTING, Destination, Routing
from auditor.store import outbox
from auditor.store.connection import Pool
from auditor.store.database import translated
from auditor.store.outbox import DeliveryState, Pending
from auditor.store.queue import CHANNEL, queue_of, register, release

HEARTBEAT: Final = timedelta(seconds=15)
"""A job whose worker was not heard of for so long goes to another."""

JOBS_AT_ONCE: Final = 4
"""How many jobs of one hook run side by side, in all processes together."""

_FAILURES_RUNNING: Final = 3
_LONGEST_ASKED: Final = timedelta(hours=1)
"""A hook that asks to be left alone for longer is asked again all the same."""
_LONGEST_WAIT: Final = timedelta(days=1)
_SHORTEST_WAIT: Final = timedelta(seconds=0.5)
_DOUBLINGS: Final = 17
"""A second doubled so often is more than a day."""
_ASKED_TO_STOP: Final = "auditor was asked to stop"

log = structlog.get_logger(__name__)


class DeliveryTelemetry(Protocol):
    """Where the measurements of deliveries go."""

    def delivered(self, hook: str, state: str) -> None:
        """Note how one attempt ended: ``delivered``, ``failed`` or ``dead``."""
        ...


class Deliveries:
    """Hands pending alerts to hooks, driven by the queue's jobs."""

    def __init__(
        self,
        pool: Pool,
        *,
        clock: Callable[[], datetime],
        telemetry: DeliveryTelemetry | None = None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._telemetry = telemetry
        self._is_stopping = False
        self._under_way: set[asyncio.Timeout] = set()
        self._failures_running: Counter[str] = Counter()
        """By hook, in this process."""

    def stop(self, patience_seconds: float) -> None:
        """Begin no further delivery, and cut those short that take longer; their alerts stay pending."""
        self._is_stopping = True
        for timeout in self._under_way:
            timeout.reschedule(asyncio.get_running_loop().time() + patience_seconds)

    async def run_job(self, job: Job, hooks: Mapping[str, Hook], routing: Routing = NO_ROUTING) -> None:
        """Deliver what is pending of a job's alerts; raises ``RetryRequested`` while any stays pending."""
        work = msgspec.json.decode(job.payload or b"", type=outbox.Job)
        destination = routing.destinations.get(work.hook, Destination(hook=work.hook))
        try:
            with translated():
                await self._run(job, _Run(work, hooks.get(work.hook), destination.give_up_after, job.attempts))
        except StoreUnavailable as error:
            raise RetryRequested(wait_after(job.attempts), str(error)) from error

    async def _run(self, job: Job, run: "_Run") -> None:
        async with self._pool.acquire() as connection:
            waiting = await outbox.claim(connection, run.work, job.id, HEARTBEAT)
        for one in _least_tried_first(waiting):
            if one.is_elsewhere:
                run.pass_over(one)
            elif self._is_stopping or run.must_wait(one, self._clock()):
                run.leave(one)
            else:
                await self._deliver(run, one)
        name = run.work.hook
        if run.is_back:
            async with self._pool.acquire() as connection:
                hastened = await outbox.hasten_deliveries(connection, name)
            if hastened:
                log.info("hook_is_back", hook=name, jobs=hastened)
        if not run.left:
            return
        if run.hook is None:
            log.warning("alerts_without_hook", hook=name, alerts=len(run.left), problem=str(run.away))
        if self._is_stopping:
            raise RetryRequested(reason=_ASKED_TO_STOP)
        now = self._clock()
        wait = timedelta(seconds=min(run.retry_after, _LONGEST_ASKED.total_seconds())) or wait_after(
            job.attempts, _LONGEST_WAIT
        )
        wait = max(min(wait, run.longest_wait(now)), _SHORTEST_WAIT)
        async with self._pool.acquire() as connection:
            await outbox.postpone(connection, run.work, job.id, now + wait)
        raise RetryRequested(wait, f"{len(run.left)} alerts left for hook {name}")

    async def _deliver(self, run: "_Run", one: Pending) -> None:
        """Try once, unless the hook is away, and write down how it ended."""
        name, message = run.work.hook, one.message
        started = asyncio.get_running_loop().time()
        try:
            if run.away is not None:
                raise run.away
            answer = await self._attempt(name, run.hook, message)
        except DeliveryFailed as failure:
            seconds = asyncio.get_running_loop().time() - started
            is_dead = not run.is_worth_trying(one, self._clock())
            await self._note(name, one, DeliveryState.DEAD if is_dead else DeliveryState.PENDING, str(failure), seconds)
            tell = log.error if is_dead else log.warning
            tell(
                "delivery_dead" if is_dead else "delivery_failed",
                hook=name,
                alert=message.id,
                event_type=one.event,
                problem=str(failure),
            )
            self._failures_running[name] += 1
            run.failed(one, failure, is_dead=is_dead)
            return
        seconds = asyncio.get_running_loop().time() - started
        await self._note(name, one, DeliveryState.DELIVERED, answer, seconds)
        log.info("alert_delivered", hook=name, alert=message.id, event_type=one.event, answer=answer)
        was_away = self._failures_running.pop(name, 0) >= _FAILURES_RUNNING
        run.delivered(is_back=was_away or one.attempts > 0)

    async def _attempt(self, name: str, hook: Hook | None, message: Message) -> str:
        assert hook is not None
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._under_way.add(timeout)
                return await hook.deliver(await as_it_stands(message), self._clock())
        except DeliveryFailed:
            raise
        except Exception as error:  # a hook from elsewhere must not take the alerts of others down with it
            if timeout.expired():
                raise DeliveryFailed(f"hooks.{name}: cut short: {_ASKED_TO_STOP}") from None
            log.exception("hook_failed", hook=name, alert=message.id)
            raise DeliveryFailed(f"hooks.{name}: failed with {type(error).__name__}") from error
        finally:
            self._under_way.discard(timeout)

    async def _note(self, hook: str, one: Pending, state: DeliveryState, answer: str, seconds: float) -> None:
        async with self._pool.acquire() as connection:
            await outbox.note(
                connection, hook, one.message.id, state=state, answer=answer, now=self._clock(), seconds=seconds
            )
        if self._telemetry is not None:
            self._telemetry.delivered(hook, "failed" if state is DeliveryState.PENDING else state.value)


class _Run:
    """One run of a job: what it met so far."""

    def __init__(self, work: outbox.Job, hook: Hook | None, give_up_after: timedelta, attempts: int) -> None:
        self.work = work
        self.hook = hook
        self._give_up_after = give_up_after
        self._attempts = attempts
        """How often the job ran before."""
        self.away = None if hook else DeliveryFailed(f"hooks.{work.hook}: no such hook is configured any more")
        """Why the hook is not asked; None while it is."""
        self.left: list[Pending] = []
        self.retry_after = 0.0
        self.is_back = False
        """Whether the hook took something again after it had failed."""
        self._failures_running = 0
        self._waiting: set[str] = set()
        """The findings of which something is left."""

    def is_worth_trying(self, one: Pending, now: datetime) -> bool:
        """Whether an alert that fails stays pending: its time is not over, or passed without the tries that fit in.

        So it does where the clock was stepped forward, or nothing of ours ran.
        """
        return now - one.since < self._give_up_after or self._attempts + 1 < fewest_tries(self._give_up_after)

    def longest_wait(self, now: datetime) -> timedelta:
        """Return when to try again at the latest: the last try is made when its time is over, and not a day later."""
        ends = min(one.since for one in self.left) + self._give_up_after
        return ends - now if ends > now else self._give_up_after / fewest_tries(self._give_up_after)

    def must_wait(self, one: Pending, now: datetime) -> bool:
        """Whether an alert is not for now: the hook is away, or has not got the one before of the same finding."""
        if one.is_behind or one.finding in self._waiting:
            return True
        return self.away is not None and self.is_worth_trying(one, now)

    def leave(self, one: Pending) -> None:
        self.left.append(one)
        self.pass_over(one)

    def pass_over(self, one: Pending) -> None:
        if one.finding is not None:
            self._waiting.add(one.finding)

    def failed(self, one: Pending, failure: DeliveryFailed, *, is_dead: bool) -> None:
        if not is_dead:
            self.leave(one)
        self.retry_after = max(self.retry_after, failure.retry_after_seconds or 0.0)
        self._failures_running += 1
        if self._failures_running >= _FAILURES_RUNNING:  # then it is spared the rest for now
            self.away = failure

    def delivered(self, *, is_back: bool) -> None:
        self._failures_running = 0
        self.is_back = self.is_back or is_back


def _least_tried_first(waiting: Sequence[Pending]) -> Sequence[Pending]:
    """Return alerts so that those that are refused again and again keep no others back; in order within a finding.

    Fewer than make a run give up on its hook stay where they are.
    """
    if sum(one.attempts > 0 for one in waiting) < _FAILURES_RUNNING:
        return waiting
    tries: dict[str, int] = {}
    for one in waiting:
        tries.setdefault(one.finding or one.message.id, one.attempts)
    return sorted(waiting, key=lambda one: tries[one.finding or one.message.id])


async def drain(
    pool: Pool,
    hooks: Mapping[str, Hook],
    *,
    clock: Callable[[], datetime],
    seconds: float,
    routing: Routing = NO_ROUTING,
) -> None:
    """Deliver what the outbox holds for these hooks, for at most ``seconds``; what is left waits for the next run.

    Raises ``StoreUnavailable`` where the database goes away.
    """
    if not hooks:
        return
    deliveries = Deliveries(pool, clock=clock)
    queue = QueueManager(queue_of(pool), CHANNEL)

    async def deliver(job: Job) -> None:
        await deliveries.run_job(job, hooks, routing)

    def stop() -> None:
        queue.shutdown.set()
        deliveries.stop(0)

    for name in hooks:
        register(queue, outbox.entrypoint_of(name), deliver, at_once=JOBS_AT_ONCE)
    with translated():
        async with pool.acquire() as connection:
            await release(connection)
        timer = asyncio.get_running_loop().call_later(seconds, stop)
        running = asyncio.ensure_future(
            queue.run(mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1), heartbeat_timeout=HEARTBEAT)
        )
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:  # what is under way ends in order
            stop()
            await running
            raise
        finally:
            timer.cancel()


def wait_after(attempts: int, longest: timedelta = _LONGEST_ASKED) -> timedelta:
    """How long to wait before a job's next run: doubling from a second, with jitter."""
    seconds = min(2.0 ** min(attempts, _DOUBLINGS), longest.total_seconds())
    return timedelta(seconds=random.uniform(seconds / 2, seconds))  # noqa: S311 -- jitter, not a secret


def fewest_tries(give_up_after: timedelta) -> int:
    """After how many tries an alert may be dead: waits that double make them in a sixteenth of its time."""
    return max(1, int(give_up_after.total_seconds()).bit_length() - 3)
