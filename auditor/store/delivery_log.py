"""How deliveries went: for people who ask whether an alert arrived."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from auditor.model.finding import Alert, Severity
from auditor.store.connection import Connection, Row
from auditor.store.outbox import DIGEST, DeliveryState, message_of


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """How one alert, or digest, stands with one hook."""

    alert: UUID
    hook: str
    event: str
    severity: Severity
    environment: str
    at: datetime
    """When the alert came up, or the digest was closed."""
    state: DeliveryState
    message: str
    attempts: int
    last_attempt_at: datetime | None
    last_answer: str
    next_attempt_at: datetime | None
    """About when it is tried again, or when a held one leaves."""
    digest: UUID | None
    """The digest that it is part of."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to deliver."""

    hook: str
    number: int
    at: datetime
    seconds: float | None
    is_delivered: bool
    answer: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to read; empty conditions hold for all."""

    hook: str | None = None
    states: tuple[DeliveryState, ...] = ()
    digest: UUID | None = None
    alert: UUID | None = None
    limit: int = 100


async def read(connection: Connection, wanted: Filter) -> Sequence[Delivered]:
    """Return deliveries, the newest first."""
    rows = await connection.fetch(
        """
        select a.id, a.event, a.severity, a.environment, a.at, d.hook, d.state, d.attempts, d.last_attempt_at,
            d.last_answer, coalesce(d.next_attempt_at, d.due_at) as next_attempt_at, d.digest_id,
            coalesce(a.data->>'message', '') as message,
            case when a.event = 'digest' then a.data->'counts' end as counts
        from delivery d join alert a on a.id = d.alert_id
        where ($1::text is null or d.hook = $1) and (cardinality($2::text[]) = 0 or d.state = any ($2))
            and ($3::uuid is null or d.digest_id = $3) and ($4::uuid is null or d.alert_id = $4)
        order by a.at desc, a.id, d.hook limit $5
        """,
        wanted.hook,
        [state.value for state in wanted.states],
        wanted.digest,
        wanted.alert,
        wanted.limit,
    )
    return [_delivered(row) for row in rows]


async def hooks(connection: Connection) -> Sequence[str]:
    """Return the hooks that anything was or is to be delivered to, configured or not."""
    return [row["hook"] for row in await connection.fetch("select distinct hook from delivery order by 1")]


async def alert(connection: Connection, number: UUID) -> Alert | None:
    """Return an alert, or the worst of a digest's; None where there is none."""
    row = await connection.fetchrow("select * from alert where id = $1", number)
    return None if row is None else message_of(row).alerts[0]


async def attempts(connection: Connection, number: UUID) -> Sequence[Attempt]:
    """Return the attempts to deliver an alert or digest, by hook and in their order."""
    return [
        Attempt(row["hook"], row["number"], row["at"], row["seconds"], row["is_delivered"], row["answer"])
        for row in await connection.fetch(
            "select * from delivery_attempt where alert_id = $1 order by hook, number", number
        )
    ]


async def like(connection: Connection, beginning: str) -> Sequence[UUID]:
    """Return the ids of alerts that begin so, two at most."""
    rows = await connection.fetch(
        "select id from alert where starts_with(id::text, $1) order by id limit 2", beginning.lower()
    )
    return [row["id"] for row in rows]


def _delivered(row: Row) -> Delivered:
    message = row["message"]
    if row["event"] == DIGEST:
        counts = msgspec.json.decode(row["counts"], type=dict[str, int])
        message = f"{sum(counts.values())} alerts: " + ", ".join(f"{number} {name}" for name, number in counts.items())
    return Delivered(
        alert=row["id"],
        hook=row["hook"],
        event=row["event"],
        severity=Severity(row["severity"]),
        environment=row["environment"],
        at=row["at"],
        state=DeliveryState(row["state"]),
        message=message,
        attempts=row["attempts"],
        last_attempt_at=row["last_attempt_at"],
        last_answer=row["last_answer"],
        next_attempt_at=row["next_attempt_at"],
        digest=row["digest_id"],
    )
