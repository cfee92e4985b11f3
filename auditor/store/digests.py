"""Digests: held alerts that leave together, frozen before the first attempt to deliver them.

Who gathers them does so within ``alone``, so that replicas make one digest.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.store.connection import Connection, Pool
from auditor.store.outbox import DIGEST, alert_of, enqueue_deliveries, new_id
from auditor.store.rows import as_json

SHOWN: Final = 20
"""Alerts that a digest shows in full."""
RELEASED_AT_ONCE: Final = 5000
"""Held alerts that one transaction lets go."""
EVERYWHERE: Final = "*"
"""In place of an environment, where a digest is of several."""

_LOCK: Final = 0x6469_6765_7374  # "digest" in ASCII


@asynccontextmanager
async def alone(pool: Pool) -> AsyncIterator[Connection | None]:
    """Be the only process that makes what is due, for the length of the block; yields None where another is."""
    async with pool.acquire() as connection:  # which gives up its locks when it goes back
        is_alone = await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK)
        yield connection if is_alone else None


async def due_hooks(connection: Connection, now: datetime) -> Sequence[str]:
    """Return the hooks, configured or not, that something is held for whose time has come."""
    rows = await connection.fetch(
        "select distinct hook from delivery where state = 'held' and due_at <= $1 order by 1", now
    )
    return [row["hook"] for row in rows]


async def release(connection: Connection, hook: str, now: datetime, *, recipients: Sequence[str] | None = None) -> int:
    """Let held alerts go whose time has come, each by itself; return how many, ``RELEASED_AT_ONCE`` at most.

    With ``recipients``, only those that go to exactly them.
    """
    rows = await connection.fetch(
        """
        with chosen as (
            select d.alert_id from delivery d join alert a on a.id = d.alert_id
            where d.hook = $1 and d.state = 'held' and d.due_at <= $2 and ($4::text[] is null or a.recipients = $4)
            order by d.due_at limit $3
        )
        update delivery d set state = 'pending', due_at = null, since = $2
        from chosen c where d.alert_id = c.alert_id and d.hook = $1 returning d.alert_id
        """,
        hook,
        now,
        RELEASED_AT_ONCE,
        recipients,
    )
    await enqueue_deliveries(connection, hook, [row["alert_id"] for row in rows])
    return len(rows)


async def close(connection: Connection, hook: str, now: datetime, *, is_addressed: bool) -> int:
    """Gather held alerts whose time has come into digests; return how many messages that makes.

    One for all, or with ``is_addressed`` one for each group of recipients. An alert that is alone goes by itself.
    """
    groups = await connection.fetch(
        f"""
        select {"a.recipients" if is_addressed else "null::text[]"} as recipients, count(*) as alerts
        from delivery d join alert a on a.id = d.alert_id
        where d.hook = $1 and d.state = 'held' and d.due_at <= $2 group by 1 order by 1
        """,
        hook,
        now,
    )
    for group in groups:
        if group["alerts"] == 1:
            await release(connection, hook, now, recipients=group["recipients"])
        else:
            await _close(connection, hook, now, group["recipients"])
    return len(groups)


async def _close(connection: Connection, hook: str, now: datetime, recipients: Sequence[str] | None) -> None:
    number = new_id()
    rows = await connection.fetch(
        """
        with gathered as (
            update delivery d set state = 'gathered', due_at = null, digest_id = $4
            from alert a
            where a.id = d.alert_id and d.hook = $1 and d.state = 'held' and d.due_at <= $2
                and ($3::text[] is null or a.recipients = $3)
            returning a.severity, a.environment
        )
        select severity, count(*) as alerts, min(environment) as first, max(environment) as last
        from gathered group by 1
        """,
        hook,
        now,
        recipients,
        number,
    )
    counts = {Severity(row["severity"]): row["alerts"] for row in rows}
    worst = await connection.fetch(
        """
        select a.id, a.event, a.severity, a.environment, a.at, a.data
        from delivery d join alert a on a.id = d.alert_id where d.digest_id = $1
        order by a.event = 'finding.resolved',
            array_position(array['critical', 'high', 'medium', 'low', 'info'], a.severity), a.at, a.id
        limit $2
        """,
        number,
        SHOWN,
    )
    environments = {row["first"] for row in rows} | {row["last"] for row in rows}
    await freeze(
        connection,
        hook,
        digest_of([alert_of(row) for row in worst], counts, now, number=number, recipients=tuple(recipients or ())),
        environments.pop() if len(environments) == 1 else EVERYWHERE,
    )


def digest_of(
    shown: Sequence[Alert],
    counts: Mapping[Severity, int],
    now: datetime,
    *,
    number: str | None = None,
    recipients: tuple[str, ...] = (),
) -> Message:
    """Return a digest that shows these alerts of all that ``counts`` counts.

    Those of one environment and owner stand together, the group with the worst first, and in it the worst first; good
    news comes last.
    """
    return Message(
        id=number or new_id(),
        at=now,
        alerts=tuple(arranged(shown)),
        is_digest=True,
        counts={severity: counts[severity] for severity in reversed(Severity) if counts.get(severity)},
        more=sum(counts.values()) - len(shown),
        recipients=recipients,
    )


def arranged(alerts: Iterable[Alert]) -> list[Alert]:
    """Return alerts in groups of one environment and owner, the worst first."""

    def weight(alert: Alert) -> tuple[bool, int]:
        return alert.event == "finding.resolved", -alert.severity.rank

    groups: dict[tuple[str, str], list[Alert]] = {}
    for alert in sorted(alerts, key=lambda alert: (*weight(alert), alert.at, alert.id)):
        groups.setdefault((alert.environment, str(alert.data.get("owner") or "")), []).append(alert)
    return [
        alert
        for _owner, group in sorted(groups.items(), key=lambda item: (weight(item[1][0]), item[0]))
        for alert in group
    ]


async def freeze(connection: Connection, hook: str, digest: Message, environment: str) -> None:
    """Put a digest into the outbox as it will be delivered, whatever happens to what it is about."""
    await connection.execute(
        """
        insert into alert (id, event, severity, environment, at, data, recipients)
        values ($1, $2, $3, $4, $5, $6::text::jsonb, $7)
        """,
        digest.id,
        DIGEST,
        max(digest.counts, key=lambda severity: severity.rank).value,
        environment,
        digest.at,
        as_json(digest),
        list(digest.recipients),
    )
    await connection.execute(
        "insert into delivery (alert_id, hook, since, state) values ($1, $2, $3, 'pending')", digest.id, hook, digest.at
    )
    await enqueue_deliveries(connection, hook, [digest.id])
