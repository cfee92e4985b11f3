"""Deliveries that were given up: telling of them, and trying them again."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from auditor.store.connection import Connection
from auditor.store.outbox import enqueue_deliveries, hasten_deliveries

EVENT: Final = "delivery.dead"
"""Of the alert that tells of dead letters; where that is dead itself, no other tells of it."""
_RETRIED_AT_ONCE: Final = 10_000


class Dead(msgspec.Struct, frozen=True):
    """What a hook did not take since others were last told."""

    hook: str
    alerts: int
    last_answer: str


async def fresh(connection: Connection, now: datetime, every: timedelta) -> Sequence[Dead]:
    """Return the hooks of whose dead letters others are to be told now, and note that they are.

    Of one hook at most once in the span ``every``. In the transaction that puts the alert into the outbox.
    """
    rows = await connection.fetch(
        """
        with dead as (
            select d.hook, count(*) as alerts, (array_agg(d.last_answer order by d.last_attempt_at desc))[1] as answer
            from delivery d join alert a on a.id = d.alert_id
            left join dead_letter_notice n on n.hook = d.hook
            where d.state = 'dead' and a.event <> $3 and (n.at is null or d.last_attempt_at > n.at)
                and (n.at is null or n.at <= $1::timestamptz - $2::interval)
            group by d.hook
        ), noted as (
            insert into dead_letter_notice (hook, at) select hook, $1 from dead
            on conflict (hook) do update set at = excluded.at
        )
        select hook, alerts, answer from dead order by hook
        """,
        now,
        every,
        EVENT,
    )
    return [Dead(row["hook"], row["alerts"], row["answer"]) for row in rows]


class Retried(msgspec.Struct, frozen=True):
    """What is tried again."""

    revived: int
    """Deliveries that were dead, and have as long again to be taken."""
    hastened: int
    """Jobs of pending ones that would have waited."""


async def retry(connection: Connection, now: datetime, *, hook: str | None, alert: UUID | None) -> Retried:
    """Try again what is dead, and at once what waits: of one hook or all, of one alert or digest or all."""
    revived = 0
    while True:
        async with connection.transaction():
            rows = await connection.fetch(
                """
                with chosen as (
                    select alert_id, hook from delivery
                    where state = 'dead' and ($1::text is null or hook = $1) and ($2::uuid is null or alert_id = $2)
                    limit $4 for update skip locked
                )
                update delivery d set state = 'pending', since = $3, next_attempt_at = null
                from chosen c where d.alert_id = c.alert_id and d.hook = c.hook returning d.hook, d.alert_id
                """,
                hook,
                alert,
                now,
                _RETRIED_AT_ONCE,
            )
            by_hook: dict[str, list[UUID]] = {}
            for row in rows:
                by_hook.setdefault(row["hook"], []).append(row["alert_id"])
            for name, alerts in by_hook.items():
                await enqueue_deliveries(connection, name, alerts)
        revived += len(rows)
        if len(rows) < _RETRIED_AT_ONCE:
            break
    waiting = await connection.fetch(
        """
        select distinct hook from delivery
        where state = 'pending' and ($1::text is null or hook = $1) and ($2::uuid is null or alert_id = $2)
        """,
        hook,
        alert,
    )
    return Retried(revived, sum([await hasten_deliveries(connection, row["hook"]) for row in waiting]))
