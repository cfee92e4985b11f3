"""The outbox: alerts and their deliveries, written in the transaction of what caused them.

A delivery's row is the truth about it. The queue's jobs only say that a hook has work: a job names the hook and the
alerts, is enqueued in the same transaction, and comes again until none of them is pending.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.store.connection import Connection, Row
from auditor.store.rows import as_json

ALERTS_A_JOB: Final = 100
DIGEST: Final = "digest"
"""The event of a digest: an alert whose data is the message, frozen."""


class DeliveryState(StrEnum):
    """How one alert stands with one hook."""

    HELD = "held"
    """Waits for its digest, or for the end of quiet hours."""
    GATHERED = "gathered"
    """Part of a digest, which is delivered in its place."""
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up."""


class Job(msgspec.Struct, frozen=True):
    """What a queued job says: these alerts may be pending for this hook."""

    hook: str
    alerts: tuple[uuid.UUID, ...]


class Pending(msgspec.Struct, frozen=True):
    """What a hook has not got yet."""

    message: Message
    event: str
    finding: str | None
    """The key of the finding that it is of."""
    since: datetime
    attempts: int
    is_behind: bool
    """Whether the hook has not got an earlier alert of the same finding either, one of another job."""
    is_elsewhere: bool = False
    """Whether another job is at it, which comes again until it is no longer pending."""


def entrypoint_of(hook: str) -> str:
    """Return the queue's name for a hook's deliveries: one a hook, so that a slow one holds up its own only."""
    return f"deliver:{hook}"


def new_id() -> str:
    """Return the id of a new alert."""
    return str(uuid.uuid4())


async def add(
    connection: Connection,
    alerts: Mapping[str, Sequence[Alert]],
    *,
    due: Mapping[tuple[str, str], datetime] | None = None,
    recipients: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Put alerts into the outbox, by the hook that shall get them, in the connection's transaction.

    ``due`` tells when those leave that do not leave at once, by hook and alert id. ``recipients`` has the addresses of
    who can act, by alert id.
    """
    once = {alert.id: alert for wanted in alerts.values() for alert in wanted}
    if not once:
        return
    due, recipients = due or {}, recipients or {}
    await connection.execute(
        """
        insert into alert (id, event, severity, environment, at, data, finding_key, recipients)
        select id, event, severity, environment, at, data::jsonb, finding_key, string_to_array(recipients, ' ')
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
            $8::text[]) as a (id, event, severity, environment, at, data, finding_key, recipients)
        """,
        list(once),
        [alert.event for alert in once.values()],
        [alert.severity.value for alert in once.values()],
        [alert.environment for alert in once.values()],
        [alert.at for alert in once.values()],
        [as_json(alert.data) for alert in once.values()],
        [alert.data.get("key") for alert in once.values()],
        [" ".join(recipients.get(number, ())) for number in once],
    )
    await connection.execute(
        """
        insert into delivery (alert_id, hook, since, due_at, state)
        select id, hook, since, due_at, case when due_at is null then 'pending' else 'held' end
        from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[]) as d (id, hook, since, due_at)
        """,
        [alert.id for wanted in alerts.values() for alert in wanted],
        [hook for hook, wanted in alerts.items() for _alert in wanted],
        [alert.at for wanted in alerts.values() for alert in wanted],
        [due.get((hook, alert.id)) for hook, wanted in alerts.items() for alert in wanted],
    )
    for hook, wanted in alerts.items():
        await enqueue_deliveries(connection, hook, [alert.id for alert in wanted if (hook, alert.id) not in due])


async def enqueue_deliveries(connection: Connection, hook: str, alerts: Sequence[str | uuid.UUID]) -> None:
    """Queue the jobs that deliver these alerts, which have just become pending."""
    numbers = [alert if isinstance(alert, uuid.UUID) else uuid.UUID(alert) for alert in alerts]
    jobs = [
        msgspec.json.encode(Job(hook, tuple(numbers[start : start + ALERTS_A_JOB])))
        for start in range(0, len(numbers), ALERTS_A_JOB)
    ]
    from auditor.store.queue import enqueue  # with its library, which commands without hooks can save

    await enqueue(connection, entrypoint_of(hook), jobs)


async def enqueue_forgotten(connection: Connection) -> int:
    """Queue the deliveries that are pending though no job names them, and return how many.

    There are none unless somebody emptied the queue, or restored the database without it.
    """
    rows = await connection.fetch(
        """
        with queued as materialized (
            select entrypoint, alert::uuid
            from queue_job, jsonb_array_elements_text(convert_from(payload, 'UTF8')::jsonb -> 'alerts') alert
            where starts_with(entrypoint, $1)
        )
        select d.hook, array_agg(d.alert_id order by d.since, d.alert_id) as alerts
        from delivery d
        where d.state = 'pending' and not exists (
            select from queued q where q.alert = d.alert_id and q.entrypoint = $1 || d.hook
        )
        group by d.hook
        """,
        entrypoint_of(""),
    )
    for row in rows:
        await enqueue_deliveries(connection, row["hook"], row["alerts"])
    return sum(len(row["alerts"]) for row in rows)


async def claim(connection: Connection, job: Job, number: int, unheard: timedelta) -> Sequence[Pending]:
    """Return the job's alerts that the hook has not got yet, oldest first, and claim those that no other job is at.

    ``number`` is the queue's id of the job. Its claims end when it ends, goes back into the queue, or its worker was
    not heard of for the span ``unheard``; the next run of the same job has them again.
    """
    async with connection.transaction():
        await _lock(connection, job.hook)
        await connection.execute(
            """
            update delivery d set claimed_by = $3
            where d.hook = $1 and d.alert_id = any ($2::uuid[]) and d.state = 'pending'
                and d.claimed_by is distinct from $3 and not exists (
                    select from queue_job j
                    where j.id = d.claimed_by and j.status = 'picked' and j.heartbeat > now() - $4::interval
                )
            """,
            job.hook,
            list(job.alerts),
            number,
            unheard,
        )
        return await pending(connection, job, number)


async def _lock(connection: Connection, hook: str) -> None:
    """Let one transaction at a time change the claims of a hook: each sees those of the one before."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", entrypoint_of(hook))


async def pending(connection: Connection, job: Job, claimant: int | None = None) -> Sequence[Pending]:
    """Return the job's alerts that the hook has not got yet, oldest first.

    ``claimant`` is the job for which those of others are marked.
    """
    rows = await connection.fetch(
        """
        select a.id, a.event, a.severity, a.environment, a.at, a.data, a.finding_key, a.recipients, d.since, d.attempts,
            a.finding_key is not null and exists (
                select from alert b join delivery e on e.alert_id = b.id and e.hook = d.hook
                where b.finding_key = a.finding_key and (b.at, b.id) < (a.at, a.id) and e.state = 'pending'
                    and b.id <> all ($2::uuid[])
            ) as is_behind,
            $3::bigint is not null and d.claimed_by is distinct from $3 as is_elsewhere
        from delivery d join alert a on a.id = d.alert_id
        where d.hook = $1 and d.alert_id = any ($2::uuid[]) and d.state = 'pending'
        order by a.at, a.id
        """,
        job.hook,
        list(job.alerts),
        claimant,
    )
    return [
        Pending(
            message_of(row),
            row["event"],
            row["finding_key"],
            row["since"],
            row["attempts"],
            row["is_behind"],
            row["is_elsewhere"],
        )
        for row in rows
    ]


def message_of(row: Row) -> Message:
    """Return what a hook is handed of an alert's row: a digest as it was frozen, else the alert by itself."""
    if row["event"] == DIGEST:
        return msgspec.json.decode(row["data"], type=Message)
    return Message.of_one(alert_of(row), tuple(row["recipients"]))


def alert_of(row: Row) -> Alert:
    """Return a row of ``alert``."""
    return Alert(
        id=str(row["id"]),
        event=row["event"],
        severity=Severity(row["severity"]),
        environment=row["environment"],
        at=row["at"],
        data=msgspec.json.decode(row["data"], type=dict[str, Any]),
    )


async def waiting_hooks(connection: Connection) -> Sequence[str]:
    """Return the hooks that alerts wait for, configured or not."""
    return [
        row["hook"]
        for row in await connection.fetch("select distinct hook from delivery where state = 'pending' order by 1")
    ]


async def note(
    connection: Connection,
    hook: str,
    alert: str,
    *,
    state: DeliveryState,
    answer: str,
    now: datetime,
    seconds: float | None = None,
) -> None:
    """Write down how an attempt at a pending delivery ended, and how long it took."""
    await connection.execute(
        """
        with d as (
            update delivery set state = $3, attempts = attempts + 1, last_attempt_at = $4, last_answer = $5,
                next_attempt_at = null
            where alert_id = $1 and hook = $2 and state = 'pending' returning attempts
        )
        insert into delivery_attempt (alert_id, hook, number, at, seconds, is_delivered, answer)
        select $1, $2, attempts, $4, $6, $3 = 'delivered', $5 from d
        """,
        alert,
        hook,
        state.value,
        now,
        answer,
        seconds,
    )


async def postpone(connection: Connection, job: Job, number: int, until: datetime) -> None:
    """Write down about when the alerts are tried again that the job has claimed."""
    await connection.execute(
        """
        update delivery set next_attempt_at = $3
        where hook = $1 and alert_id = any ($2::uuid[]) and state = 'pending' and claimed_by = $4
        """,
        job.hook,
        list(job.alerts),
        until,
        number,
    )


async def hasten_deliveries(connection: Connection, hook: str) -> int:
    """Have what waits for a hook tried again at once; return how many jobs that is."""
    from auditor.store.queue import hasten  # as above

    return await hasten(connection, entrypoint_of(hook))


async def count(connection: Connection) -> Mapping[tuple[str, DeliveryState], int]:
    """Return how many deliveries there are, by hook and state."""
    return {
        (row["hook"], DeliveryState(row["state"])): row["deliveries"]
        for row in await connection.fetch("select hook, state, count(*) as deliveries from delivery group by 1, 2")
    }


async def oldest_pending(connection: Connection) -> Mapping[str, datetime]:
    """Return since when the oldest pending delivery of each hook waits; hooks without any are left out."""
    return {
        row["hook"]: row["since"]
        for row in await connection.fetch(
            "select hook, min(since) as since from delivery where state = 'pending' group by 1"
        )
    }
