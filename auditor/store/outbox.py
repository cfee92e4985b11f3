"""The outbox: alerts and their deliveries, written in the transaction of what caused them.

A delivery's row is the truth about it. The queue's jobs only say that a hook has work: a job names the hook and the
alerts, is enqueued in the same transaction, and comes again until none of them is pending.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from auditor.model.finding import Alert, Severity
from auditor.store.connection import Connection
from auditor.store.queue import enqueue
from auditor.store.rows import as_json

ALERTS_A_JOB: Final = 100


class DeliveryState(StrEnum):
    """How one alert stands with one hook."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Job(msgspec.Struct, frozen=True):
    """What a queued job says: these alerts may be pending for this hook."""

    hook: str
    alerts: tuple[uuid.UUID, ...]


def entrypoint_of(hook: str) -> str:
    """Return the queue's name for a hook's deliveries: one a hook, so that a slow one holds up its own only."""
    return f"deliver:{hook}"


def new_id() -> str:
    """Return the id of a new alert."""
    return str(uuid.uuid4())


async def add(connection: Connection, alerts: Mapping[str, Sequence[Alert]]) -> None:
    """Put alerts into the outbox, by the hook that shall get them, in the connection's transaction."""
    once = {alert.id: alert for wanted in alerts.values() for alert in wanted}
    if not once:
        return
    await connection.execute(
        """
        insert into alert (id, event, severity, environment, at, data)
        select id, event, severity, environment, at, data::jsonb
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
            as a (id, event, severity, environment, at, data)
        """,
        list(once),
        [alert.event for alert in once.values()],
        [alert.severity.value for alert in once.values()],
        [alert.environment for alert in once.values()],
        [alert.at for alert in once.values()],
        [as_json(alert.data) for alert in once.values()],
    )
    await connection.execute(
        "insert into delivery (alert_id, hook) select * from unnest($1::uuid[], $2::text[])",
        [alert.id for wanted in alerts.values() for alert in wanted],
        [hook for hook, wanted in alerts.items() for _alert in wanted],
    )
    for hook, wanted in alerts.items():
        jobs = [
            msgspec.json.encode(Job(hook, tuple(uuid.UUID(alert.id) for alert in some)))
            for some in (wanted[start : start + ALERTS_A_JOB] for start in range(0, len(wanted), ALERTS_A_JOB))
        ]
        await enqueue(connection, entrypoint_of(hook), jobs)


async def pending(connection: Connection, job: Job) -> Sequence[Alert]:
    """Return the job's alerts that the hook has not got yet, oldest first."""
    rows = await connection.fetch(
        """
        select a.id, a.event, a.severity, a.environment, a.at, a.data
        from delivery d join alert a on a.id = d.alert_id
        where d.hook = $1 and d.alert_id = any ($2::uuid[]) and d.state = 'pending'
        order by a.at, a.id
        """,
        job.hook,
        list(job.alerts),
    )
    return [
        Alert(
            id=str(row["id"]),
            event=row["event"],
            severity=Severity(row["severity"]),
            environment=row["environment"],
            at=row["at"],
            data=msgspec.json.decode(row["data"], type=dict[str, Any]),
        )
        for row in rows
    ]


async def waiting_hooks(connection: Connection) -> Sequence[str]:
    """Return the hooks that alerts wait for, configured or not."""
    return [
        row["hook"]
        for row in await connection.fetch("select distinct hook from delivery where state = 'pending' order by 1")
    ]


async def note(
    connection: Connection, hook: str, alert: str, *, state: DeliveryState, answer: str, now: datetime
) -> None:
    """Write down how an attempt at a delivery ended."""
    await connection.execute(
        """
        update delivery set state = $3, attempts = attempts + 1, last_attempt_at = $4, last_answer = $5
        where alert_id = $1 and hook = $2
        """,
        alert,
        hook,
        state.value,
        now,
        answer,
    )


async def count(connection: Connection) -> Mapping[tuple[str, DeliveryState], int]:
    """Return how many deliveries there are, by hook and state."""
    return {
        (row["hook"], DeliveryState(row["state"])): row["deliveries"]
        for row in await connection.fetch("select hook, state, count(*) as deliveries from delivery group by 1, 2")
    }
