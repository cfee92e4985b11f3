"""Empties the outbox into the hooks: at least once, each hook at its own pace, with an end to trying."""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
import structlog
from pgqueuer import RetryRequested
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.types import QueueExecutionMode

from auditor.alerts.base import Hook
from auditor.model.errors import DeliveryFailed, StoreUnavailable
from auditor.model.finding import Alert
from auditor.model.message import Message
from auditor.store import outbox
from auditor.store.connection import Pool
from auditor.store.database import translated
from auditor.store.outbox import DeliveryState
from auditor.store.queue import CHANNEL, queue_of, release

GIVE_UP_AFTER: Final = timedelta(days=3)
"""An alert that a hook has not taken for so long is given up, with an error in the log."""

HEARTBEAT: Final = timedelta(seconds=15)
"""A job whose worker was not heard of for so long goes to another."""

JOBS_AT_ONCE: Final = 4
"""How many jobs of one hook run side by side, in all processes together."""

_FAILURES_RUNNING: Final = 3
_LONGEST_WAIT_SECONDS: Final = 3600.0
_ASKED_TO_STOP: Final = "auditor was asked to stop"

log = structlog.get_logger(__name__)


class DeliveryTelemetry(Protocol):
    """Where the measurements of deliveries go."""

    def delivered(self, hook: str, state: str) -> None:
        """Note how one attempt ended: ``delivered``, ``failed`` or ``given_up``."""
        ...


class Deliveries:
    """Hands pending alerts to hooks, driven by the queue's jobs."""

    def __init__(
        self, pool: Pool, *, clock: Callable[[], datetime], telemetry: DeliveryTelemetry | None = None
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._telemetry = telemetry
        self._is_stopping = False
        self._under_way: set[asyncio.Timeout] = set()

    def stop(self, patience_seconds: float) -> None:
        """Begin no further delivery, and cut those short that take longer; their alerts stay pending."""
        self._is_stopping = True
        for timeout in self._under_way:
            timeout.reschedule(asyncio.get_running_loop().time() + patience_seconds)

    async def run_job(self, job: Job, hooks: Mapping[str, Hook]) -> None:
        """Deliver what is pending of a job's alerts; raises ``RetryRequested`` while any stays pending."""
        work = msgspec.json.decode(job.payload or b"", type=outbox.Job)
        try:
            with translated():
                await self._run(job, work, hooks.get(work.hook))
        except StoreUnavailable as error:
            raise RetryRequested(wait_after(job.attempts), str(error)) from error

    async def _run(self, job: Job, work: outbox.Job, hook: Hook | None) -> None:
        async with self._pool.acquire() as connection:
            alerts = await outbox.pending(connection, work)
        away = None if hook else DeliveryFailed(f"hooks.{work.hook}: no such hook is configured any more")
        retry_after = 0.0
        failures_running = left = 0
        for alert in alerts:
            if self._is_stopping or (away and self._is_worth_trying(alert)):
                left += 1
                continue
            failure = await self._deliver(work.hook, hook, alert, away)
            if failure is None:
                failures_running = 0
                continue
            left += self._is_worth_trying(alert)
            retry_after = max(retry_after, failure.retry_after_seconds or 0.0)
            failures_running += 1
            if failures_running >= _FAILURES_RUNNING:  # then it is spared the rest for now
                away = failure
        if not left:
            return
        if hook is None:
            log.warning("alerts_without_hook", hook=work.hook, alerts=left, problem=str(away))
        if self._is_stopping:
            raise RetryRequested(reason=_ASKED_TO_STOP)
        asked = timedelta(seconds=min(retry_after, _LONGEST_WAIT_SECONDS))
        raise RetryRequested(asked or wait_after(job.attempts), f"{left} alerts left for hook {work.hook}")

    async def _deliver(
        self, name: str, hook: Hook | None, alert: Alert, away: DeliveryFailed | None
    ) -> DeliveryFailed | None:
        """Try once, unless the hook is away, and write down how it ended; return the failure where it was not taken."""
        try:
            if away is not None:
                raise away
            answer = await self._attempt(name, hook, alert)
        except DeliveryFailed as failure:
            is_given_up = not self._is_worth_trying(alert)
            state = DeliveryState.GIVEN_UP if is_given_up else DeliveryState.PENDING
            await self._note(name, alert, state, str(failure))
            tell = log.error if is_given_up else log.warning
            tell(
                "delivery_given_up" if is_given_up else "delivery_failed",
                hook=name,
                alert=alert.id,
                event_type=alert.event,
                problem=str(failure),
            )
            return failure
        await self._note(name, alert, DeliveryState.DELIVERED, answer)
        log.info("alert_delivered", hook=name, alert=alert.id, event_type=alert.event, answer=answer)
        return None

    async def _attempt(self, name: str, hook: Hook | None, alert: Alert) -> str:
        assert hook is not None
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._under_way.add(timeout)
                return await hook.deliver(Message.of_one(alert), self._clock())
        except DeliveryFailed:
            raise
        except Exception as error:  # a hook from elsewhere must not take the alerts of others down with it
            if timeout.expired():
                raise DeliveryFailed(f"hooks.{name}: cut short: {_ASKED_TO_STOP}") from None
            log.exception("hook_failed", hook=name, alert=alert.id)
            raise DeliveryFailed(f"hooks.{name}: failed with {type(error).__name__}") from error
        finally:
            self._under_way.discard(timeout)

    async def _note(self, hook: str, alert: Alert, state: DeliveryState, answer: str) -> None:
        async with self._pool.acquire() as connection:
            await outbox.note(connection, hook, alert.id, state=state, answer=answer, now=self._clock())
        if self._telemetry is not None:
            self._telemetry.delivered(hook, "failed" if state is DeliveryState.PENDING else state.value)

    def _is_worth_trying(self, alert: Alert) -> bool:
        return self._clock() - alert.at < GIVE_UP_AFTER


async def drain(pool: Pool, hooks: Mapping[str, Hook], *, clock: Callable[[], datetime], seconds: float) -> None:
    """Deliver what the outbox holds for these hooks, for at most ``seconds``; what is left waits for the next run.

    Raises ``StoreUnavailable`` where the database goes away.
    """
    if not hooks:
        return
    deliveries = Deliveries(pool, clock=clock)
    queue = QueueManager(queue_of(pool), CHANNEL)

    async def deliver(job: Job) -> None:
        await deliveries.run_job(job, hooks)

    def stop() -> None:
        queue.shutdown.set()
        deliveries.stop(0)

    for name in hooks:
        queue.entrypoint(outbox.entrypoint_of(name), concurrency_limit=JOBS_AT_ONCE, on_failure="hold")(deliver)
    with translated():
        async with pool.acquire() as connection:
            await release(connection)
        timer = asyncio.get_running_loop().call_later(seconds, stop)
        running = asyncio.ensure_future(
            queue.run(mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1), heartbeat_timeout=HEARTBEAT)
        )
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:  # PgQueuer would drop the jobs under way, and the alerts with them
            stop()
            await running
            raise
        finally:
            timer.cancel()


def wait_after(attempts: int) -> timedelta:
    """How long to wait before a job's next run: doubling from a second to an hour, with jitter."""
    longest = min(2.0 ** min(attempts, 12), _LONGEST_WAIT_SECONDS)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 -- jitter, not a secret
