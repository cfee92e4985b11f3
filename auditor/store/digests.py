"""Digests: held alerts that leave together, frozen before the first attempt to deliver them.

Who gathers them does so within ``alone``, so that replicas make one digest.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

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


async def release(
    connection: Connection,
    hook: str,
    now: datetime,
    *,
    recipients: Sequence[str] | None = None,
    are_digests: bool | None = None,
) -> int:
    """Let held alerts go whose time has come, each by itself; return how many, ``RELEASED_AT_ONCE`` at most.

    With ``recipients``, only those that go to exactly them; with ``are_digests``, only digests, or only others.
    """
    rows = await connection.fetch(
        f"""
        with chosen as (
            select d.alert_id from delivery d join alert a on a.id = d.alert_id
            where d.hook = $1 and d.state = 'held' and d.due_at <= $2 and ($4::text[] is null or a.recipients = $4)
                and ($5::boolean is null or (a.event = '{DIGEST}') = $5)
            order by d.due_at limit $3
        )
        update delivery d set state = 'pending', due_at = null, since = $2
        from chosen c where d.alert_id = c.alert_id and d.hook = $1 returning d.alert_id
        """,
        hook,
        now,
        RELEASED_AT_ONCE,
        recipients,
        are_digests,
    )
    await enqueue_deliveries(connection, hook, [row["alert_id"] for row in rows])
    return len(rows)


async def close(connection: Connection, hook: str, now: datetime, *, is_addressed: bool) -> int:
    """Gather held alerts whose time has come into digests; return how many messages that makes.

    One for all, or with ``is_addressed`` one for each group of recipients. An alert that is alone goes by itself, and
    so does a digest that was held.
    """
    frozen = await release(connection, hook, now, are_digests=True)
    groups = await connection.fetch(
        f"""
        select {"a.recipients" if is_addressed else "null::text[]"} as recipients, count(*) as alerts
        from delivery d join alert a on a.id = d.alert_id
        where d.hook = $1 and d.state = 'held' and d.due_at <= $2 and a.event <> '{DIGEST}' group by 1 order by 1
        """,
        hook,
        now,
    )
    for group in groups:
        if group["alerts"] == 1:
            await release(connection, hook, now, recipients=group["recipients"], are_digests=False)
        else:
            await _close(connection, hook, now, group["recipients"])
    return frozen + len(groups)


async def _close(connection: Connection, hook: str, now: datetime, recipients: Sequence[str] | None) -> None:
    number = new_id()
    rows = await connection.fetch(
        f"""
        with gathered as (
            update delivery d set state = 'gathered', due_at = null, digest_id = $4
            from alert a
            where a.id = d.alert_id and d.hook = $1 and d.state = 'held' and d.due_at <= $2
                and a.event <> '{DIGEST}' and ($3::text[] is null or a.recipients = $3)
            returning a.severity, a.environment, coalesce(a.data->>'owner', '') as owner
        )
        select severity, environment, owner, count(*) as alerts from gathered group by 1, 2, 3
        """,
        hook,
        now,
        recipients,
        number,
    )
    kin = [Kin(Severity(row["severity"]), row["environment"], row["owner"], row["alerts"]) for row in rows]
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
    shown = [alert_of(row) for row in worst]
    await freeze(connection, hook, digest_of(shown, kin, now, number=number, recipients=tuple(recipients or ())))


class Kin(NamedTuple):
    """Alerts that are alike in what a digest counts and groups by."""

    severity: Severity
    environment: str
    owner: str
    """Empty where there is none."""
    alerts: int


def counts_of(kin: Iterable[Kin]) -> Counter[Severity]:
    """Return how many alerts there are of each severity."""
    counts: Counter[Severity] = Counter()
    for one in kin:
        counts[one.severity] += one.alerts
    return counts


def digest_of(
    shown: Sequence[Alert],
    kin: Collection[Kin],
    now: datetime,
    *,
    number: str | None = None,
    recipients: tuple[str, ...] = (),
) -> Message:
    """Return a digest that shows these alerts of all that ``kin`` counts.

    Those of one environment and owner stand together, the group with the worst first, and in it the worst first; good
    news comes last.
    """
    counts = counts_of(kin)
    environments, owners = {one.environment for one in kin}, {one.owner for one in kin}
    return Message(
        id=number or new_id(),
        at=now,
        alerts=tuple(arranged(shown)),
        is_digest=True,
        counts={severity: counts[severity] for severity in reversed(Severity) if counts.get(severity)},
        more=counts.total() - len(shown),
        environment=environments.pop() if len(environments) == 1 else None,
        owner=(owners.pop() or None) if len(owners) == 1 else None,
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


async def freeze(connection: Connection, hook: str, digest: Message, *, due: datetime | None = None) -> None:
    """Put a digest into the outbox as it will be delivered, whatever happens to what it is about.

    ``due`` is when it leaves, None: at once.
    """
    await connection.execute(
        """
        insert into alert (id, event, severity, environment, at, data, recipients)
        values ($1, $2, $3, $4, $5, $6::text::jsonb, $7)
        """,
        digest.id,
        DIGEST,
        max(digest.counts, key=lambda severity: severity.rank).value,
        digest.environment or EVERYWHERE,
        digest.at,
        as_json(digest),
        list(digest.recipients),
    )
    await connection.execute(
        "insert into delivery (alert_id, hook, since, due_at, state) values ($1, $2, $3, $4, $5)",
        digest.id,
        hook,
        digest.at,
        due,
        "pending" if due is None else "held",
    )
    if due is None:
        await enqueue_deliveries(connection, hook, [digest.id])
