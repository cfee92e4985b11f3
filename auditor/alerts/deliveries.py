"""Empties the outbox into the hooks: at least once, each hook at its own pace, with an end to trying."""

import asyncio
import random
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
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Alert
from auditor.store import outbox
from auditor.store.connection import Pool
from auditor.store.outbox import DeliveryState
from auditor.store.queue import CHANNEL, queue_of

GIVE_UP_AFTER: Final = timedelta(days=3)
"""An alert that a hook has not taken for so long is given up, with an error in the log."""

HEARTBEAT: Final = timedelta(seconds=15)
"""A job whose worker was not heard of for so long goes to another."""

_JOBS_AT_ONCE: Final = 4
_FAILURES_RUNNING: Final = 3
_LONGEST_WAIT_SECONDS: Final = 3600.0

log = structlog.get_logger(__name__)


class DeliveryTelemetry(Protocol):
    """Where the measurements of deliveries go."""

    def delivered(self, hook: str, state: str) -> None:
        """Note how one attempt ended: ``delivered``, ``failed`` or ``given_up``."""
        ...


class Deliveries:
    """Hands pending alerts to hooks, driven by the queue's jobs."""

    def __init__(
        self,
        pool: Pool,
        hooks: Callable[[], Mapping[str, Hook]],
        *,
        clock: Callable[[], datetime],
        telemetry: DeliveryTelemetry | None = None,
    ) -> None:
        self._pool = pool
        self._hooks = hooks
        self._clock = clock
        self._telemetry = telemetry

    def register(self, queue: QueueManager, hook: str) -> None:
        """Let a queue's worker run this hook's jobs."""
        queue.entrypoint(outbox.entrypoint_of(hook), concurrency_limit=_JOBS_AT_ONCE)(self.run_job)

    async def run_job(self, job: Job) -> None:
        """Deliver what is pending of a job's alerts; raises ``RetryRequested`` while any stays pending."""
        work = msgspec.json.decode(job.payload or b"", type=outbox.Job)
        async with self._pool.acquire() as connection:
            alerts = await outbox.pending(connection, work)
        hook = self._hooks().get(work.hook)
        if hook is None:
            await self._give_up(work.hook, alerts)
            return
        retry_after: float | None = None
        failures_running = left = 0
        for position, alert in enumerate(alerts):
            failure = await self._deliver(hook, alert)
            if failure is None:
                failures_running = 0
                continue
            left += self._is_worth_trying(alert)
            retry_after = max(retry_after or 0.0, failure.retry_after_seconds or 0.0) or None
            failures_running += 1
            if failures_running == _FAILURES_RUNNING:  # the hook is away: spare it the rest for now
                left += len(alerts) - position - 1
                break
        if left:
            raise RetryRequested(_wait(job.attempts, retry_after), f"{left} alerts left for hook {work.hook}")

    async def _deliver(self, hook: Hook, alert: Alert) -> DeliveryFailed | None:
        now = self._clock()
        try:
            answer = await hook.deliver(alert, now)
        except DeliveryFailed as failure:
            is_given_up = not self._is_worth_trying(alert)
            state = DeliveryState.GIVEN_UP if is_given_up else DeliveryState.PENDING
            await self._note(hook.name, alert, state, str(failure))
            tell = log.error if is_given_up else log.warning
            tell(
                "delivery_given_up" if is_given_up else "delivery_failed",
                hook=hook.name,
                alert=alert.id,
                event_type=alert.event,
                problem=str(failure),
            )
            return failure
        await self._note(hook.name, alert, DeliveryState.DELIVERED, answer)
        log.info("alert_delivered", hook=hook.name, alert=alert.id, event_type=alert.event, answer=answer)
        return None

    async def _note(self, hook: str, alert: Alert, state: DeliveryState, answer: str) -> None:
        async with self._pool.acquire() as connection:
            await outbox.note(connection, hook, alert.id, state=state, answer=answer, now=self._clock())
        if self._telemetry is not None:
            self._telemetry.delivered(hook, "failed" if state is DeliveryState.PENDING else state.value)

    async def _give_up(self, hook: str, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            await self._note(hook, alert, DeliveryState.GIVEN_UP, "no such hook is configured any more")
        if alerts:
            log.error("delivery_given_up", hook=hook, alerts=len(alerts), problem="no such hook is configured any more")

    def _is_worth_trying(self, alert: Alert) -> bool:
        return self._clock() - alert.at < GIVE_UP_AFTER


async def drain(pool: Pool, deliveries: Deliveries, hooks: Mapping[str, Hook], *, seconds: float) -> None:
    """Deliver what the outbox holds for these hooks, for at most ``seconds``; what is left waits for the next run."""
    if not hooks:
        return
    queue = QueueManager(queue_of(pool), CHANNEL)
    for name in hooks:
        deliveries.register(queue, name)
    timer = asyncio.get_running_loop().call_later(seconds, queue.shutdown.set)
    try:
        await queue.run(
            mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1), heartbeat_timeout=HEARTBEAT
        )
    finally:
        timer.cancel()


def _wait(attempts: int, retry_after: float | None) -> timedelta:
    """How long to wait before a job's next run: doubling from a second to an hour, with jitter, or what was asked."""
    if retry_after is not None:
        return timedelta(seconds=min(retry_after, _LONGEST_WAIT_SECONDS))
    longest = min(2.0**attempts, _LONGEST_WAIT_SECONDS)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 -- jitter, not a secret
