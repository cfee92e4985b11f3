"""What people and hooks know of findings: acknowledgements, escalations to other hooks, and flapping."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from auditor.model.finding import Severity
from auditor.policy.lifecycle import LATE
from auditor.policy.waivers import FindingId
from auditor.store.connection import Connection
from auditor.store.rows import as_json

REOPENINGS_OF_FLAPPING: Final = 3
"""A finding that is back so often within a window is flapping."""

RANK: Final = "array_position(array['info', 'low', 'medium', 'high', 'critical'], {})"

ACKNOWLEDGED: Final = f"""
    exists (
        select from acknowledgement k where k.finding_id = f.id and k.at >= f.severity_since
            and (k.until is null or k.until > $1) and {RANK.format("f.severity")} <= {RANK.format("k.severity")}
    )
"""
"""Whether ``finding f`` is acknowledged at the instant ``$1``; what got worse since, or came back, is so no more."""


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody knows of a finding."""

    at: datetime
    until: datetime | None
    """None: for as long as it is open and gets no worse."""
    by: str
    note: str
    severity: Severity
    """The worst that it covers: the finding's when it was acknowledged."""
    is_in_force: bool
    """Whether it still holds; it ends with its time, and with the finding getting worse or coming back."""


async def acknowledge(
    connection: Connection, finding: int, *, until: datetime | None, by: str, note: str, now: datetime
) -> bool:
    """Note that somebody knows of a finding, in place of what was noted before; False where it is not open."""
    noted = await connection.fetchval(
        """
        insert into acknowledgement (finding_id, at, until, by, note, severity)
        select id, $2, $3, $4, $5, severity from finding where id = $1 and status = 'open'
        on conflict (finding_id) do update
            set at = excluded.at, until = excluded.until, by = excluded.by, note = excluded.note,
                severity = excluded.severity
        returning true
        """,
        finding,
        now,
        until,
        by,
        note,
    )
    return bool(noted)


async def withdraw(connection: Connection, finding: int) -> bool:
    """Forget that somebody knows of a finding; False where nobody did."""
    return bool(await connection.fetchval("delete from acknowledgement where finding_id = $1 returning true", finding))


async def acknowledgement(connection: Connection, finding: FindingId, now: datetime) -> Acknowledgement | None:
    """Return what was noted of a finding; None where nothing was."""
    row = await connection.fetchrow(
        f"""
        select k.at, k.until, k.by, k.note, k.severity, f.status = 'open' and {ACKNOWLEDGED} as is_in_force
        from acknowledgement k join finding f on f.id = k.finding_id join environment e on e.id = f.environment_id
        left join token t on t.id = f.token_id
        where e.name = $2 and coalesce(t.label, f.subject) = $3 and f.rule_id = $4 and f.discriminator = $5
        order by f.token_id limit 1
        """,
        now,
        *finding,
    )
    if row is None:
        return None
    return Acknowledgement(
        at=row["at"],
        until=row["until"],
        by=row["by"],
        note=row["note"],
        severity=Severity(row["severity"]),
        is_in_force=row["is_in_force"],
    )


async def acknowledged(connection: Connection, findings: Sequence[int], now: datetime) -> Collection[int]:
    """Return those of some findings that are acknowledged."""
    if not findings:
        return ()
    rows = await connection.fetch(
        f"select f.id from finding f where f.id = any ($2::bigint[]) and {ACKNOWLEDGED}", now, findings
    )
    return frozenset(row["id"] for row in rows)


async def unattended(
    connection: Connection, environment: int, hook: str, least: Severity, after: timedelta, now: datetime
) -> Sequence[int]:
    """Return the ids of an environment's open findings of a severity or worse that nobody attended to for so long.

    Worst first, without those that a waiver mutes, and those that were escalated to the hook since they were last
    opened or got worse.
    """
    ids: Sequence[int] = await connection.fetchval(
        f"""
        select coalesce(array_agg(f.id order by {RANK.format("f.severity")} desc, f.id), '{{}}') from finding f
        where f.environment_id = $2 and f.status = 'open' and f.waiver is null
            and {RANK.format("f.severity")} >= {RANK.format("$4::text")}
            and f.severity_since <= $1::timestamptz - $5::interval and not {ACKNOWLEDGED}
            and not exists (
                select from escalation e where e.finding_id = f.id and e.hook = $3 and e.at >= f.severity_since
            )
        """,
        now,
        environment,
        hook,
        least.value,
        after,
    )
    return ids


async def escalate(connection: Connection, hook: str, findings: Sequence[int], now: datetime, *, is_told: bool) -> None:
    """Note that findings were escalated to a hook; ``is_told`` says whether it heard of each of them."""
    await connection.execute(
        """
        insert into escalation (finding_id, hook, at, is_told) select id, $2, $3, $4 from unnest($1::bigint[]) as f (id)
        on conflict (finding_id, hook) do update set at = excluded.at, is_told = excluded.is_told
        """,
        findings,
        hook,
        now,
        is_told,
    )


async def to_remind(
    connection: Connection, environment: int, spans: Mapping[Severity, timedelta], now: datetime
) -> Sequence[int]:
    """Return the ids of an environment's late findings of which nothing was said for as long as their severity allows.

    Worst first, without those that a waiver mutes or somebody acknowledged.
    """
    ids: Sequence[int] = await connection.fetchval(
        f"""
        select coalesce(array_agg(f.id order by {RANK.format("f.severity")} desc, f.id), '{{}}') from finding f
        join unnest($3::text[], $4::interval[]) as allowed (severity, span) on allowed.severity = f.severity
        where f.environment_id = $2 and f.status = 'open' and f.waiver is null and f.evidence ? $5
            and greatest(f.severity_since, f.reminded_at) <= $1::timestamptz - allowed.span and not {ACKNOWLEDGED}
        """,
        now,
        environment,
        [severity.value for severity in spans],
        list(spans.values()),
        LATE,
    )
    return ids


async def reminded(connection: Connection, findings: Sequence[int], now: datetime) -> None:
    """Note that word went out again of findings."""
    await connection.execute("update finding set reminded_at = $2 where id = any ($1::bigint[])", findings, now)


async def escalated_to(connection: Connection, findings: Sequence[int]) -> Mapping[int, Sequence[str]]:
    """Return the hooks that were told that nobody attended to a finding, by its id."""
    told: dict[int, list[str]] = {}
    if findings:
        for row in await connection.fetch(
            """
            select finding_id, hook from escalation where finding_id = any ($1::bigint[]) and is_told order by hook
            """,
            findings,
        ):
            told.setdefault(row["finding_id"], []).append(row["hook"])
    return told


async def end_escalations(connection: Connection, findings: Sequence[int]) -> None:
    """Forget that hooks were told of findings, which are resolved."""
    if findings:
        await connection.execute("delete from escalation where finding_id = any ($1::bigint[])", findings)


class Damping(msgspec.Struct, frozen=True):
    """How findings that came back or were resolved are told."""

    begin: Mapping[int, int]
    """Those that have just begun to flap, with how often they came back within the window."""
    damped: Collection[int]
    """Those that hooks know to be flapping."""


async def damp(
    connection: Connection, moved: Mapping[int, Severity], back: Collection[int], within: timedelta, now: datetime
) -> Damping:
    """Tell which findings are flapping, and note that of those that begin to, and what hooks will not hear of.

    ``moved`` are findings that were reopened or resolved, which the store says already, each with its severity;
    ``back`` are those of them that were reopened. What comes back worse than hooks were told is not damped.
    """
    if not moved:
        return Damping({}, frozenset())
    rows = await connection.fetch(
        f"""
        with m as (select * from json_to_recordset($1::json) as m (id bigint, severity text)),
        known as (
            update flapping p set
                is_behind = {RANK.format("m.severity")} <= {RANK.format("p.severity")},
                severity = case when {RANK.format("m.severity")} > {RANK.format("p.severity")}
                    then m.severity else p.severity end
            from m where p.finding_id = m.id returning p.finding_id, p.is_behind
        ),
        often as (
            select f.id, count(*) as times from m
            join finding f on f.id = m.id and f.reopenings >= $4
            join finding_event e on e.finding_id = f.id and e.transition = 'reopened' and e.at > $2 and e.at <= $5
            where f.id = any ($3::bigint[]) and not exists (select from flapping p where p.finding_id = f.id)
            group by f.id having count(*) >= $4
        ),
        begun as (
            insert into flapping (finding_id, told_at, severity)
            select o.id, $5, m.severity from often o join m on m.id = o.id
        )
        select id, times, true as is_new, false as is_behind from often
        union all
        select finding_id, 0, false, is_behind from known
        """,
        as_json([{"id": number, "severity": severity.value} for number, severity in moved.items()]),
        now - within,
        list(back),
        REOPENINGS_OF_FLAPPING,
        now,
    )
    return Damping(
        {row["id"]: row["times"] for row in rows if row["is_new"]},
        frozenset(row["id"] for row in rows if not row["is_new"] and row["is_behind"]),
    )


class Settled(msgspec.Struct, frozen=True):
    """A finding whose window has passed since hooks were last told that it is flapping."""

    id: int
    times: int
    """How often it came back within the window."""
    is_behind: bool
    """Whether hooks do not know how it stands."""
    is_open: bool

    @property
    def is_flapping(self) -> bool:
        """Whether it still is."""
        return self.times >= REOPENINGS_OF_FLAPPING


async def settle(
    connection: Connection, environment: int, within: timedelta, now: datetime, *, limit: int
) -> Sequence[Settled]:
    """Take up findings of an environment whose window has passed; those that have settled are flapping no more."""
    rows = await connection.fetch(
        """
        select p.finding_id, p.is_behind, f.status = 'open' as is_open,
            (select count(*) from finding_event e
             where e.finding_id = f.id and e.transition = 'reopened' and e.at > $2) as times
        from flapping p join finding f on f.id = p.finding_id
        where p.told_at <= $2 and f.environment_id = $1 order by p.told_at limit $3 for update of p skip locked
        """,
        environment,
        now - within,
        limit,
    )
    found = [Settled(row["finding_id"], row["times"], row["is_behind"], row["is_open"]) for row in rows]
    await connection.execute(
        "update flapping set told_at = $2, is_behind = false where finding_id = any ($1::bigint[])",
        [one.id for one in found if one.is_flapping],
        now,
    )
    await connection.execute(
        "delete from flapping where finding_id = any ($1::bigint[])", [one.id for one in found if not one.is_flapping]
    )
    return found
