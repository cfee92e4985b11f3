"""Findings in the database: what is known of a token's, what happened to them, and reading them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from auditor.model.finding import Finding, Resolution, Severity, Transition, Waived
from auditor.model.waiver import Waiver
from auditor.policy.lifecycle import LATE, Change, KnownFinding
from auditor.store.connection import Connection, Row
from auditor.store.rows import as_json, is_among, recordset, row_type
from auditor.store.tokens import locations_of

Bearer = int | str
"""Of whom a finding is: a stored token's id, or the subject in words where it is no stored token."""

_evidence: Final = msgspec.json.Decoder(dict[str, Any]).decode
waiver_in: Final = msgspec.json.Decoder(Waiver).decode
"""Reads the terms of a waiver from a column."""


def mutes(instant: str) -> str:
    """Return the condition that a waiver mutes ``finding f`` at an instant, which SQL knows by this name: ``$1``.

    One that has ended mutes nothing, though no sweep has let it lapse yet.
    """
    return f"(f.waiver is not null and (f.waiver->>'until')::timestamptz > {instant}::timestamptz)"


async def known(
    connection: Connection, tokens: Sequence[int], *, except_rules: Sequence[str] = ()
) -> Mapping[int, list[KnownFinding]]:
    """Return the findings of tokens, open and resolved, by token id; those of some rules may be left out."""
    found: dict[int, list[KnownFinding]] = {}
    if not tokens:
        return found
    for row in await connection.fetch(
        f"""
        select token_id, {KNOWN_COLUMNS} from finding f
        where {is_among("token_id", "$1", "bigint")} and rule_id <> all ($2)
        """,
        tokens,
        except_rules,
    ):
        found.setdefault(row["token_id"], []).append(known_of(row))
    return found


KNOWN_COLUMNS: Final = (
    "f.id, f.rule_id, f.discriminator, f.severity, f.status = 'open' as is_open, f.message, f.evidence, "
    "f.waiver, f.waived_severity, f.severity_since, f.opened_at"
)
"""What ``known_of`` reads, of ``finding f``."""


def known_of(row: Row) -> KnownFinding:
    """Return a row of ``KNOWN_COLUMNS`` as a known finding."""
    return KnownFinding(
        row["id"],
        row["rule_id"],
        row["discriminator"],
        _SEVERITIES[row["severity"]],
        row["is_open"],
        row["message"],
        _evidence(row["evidence"]),
        None if row["waiver"] is None else Waived(waiver_in(row["waiver"]), Severity(row["waived_severity"])),
        row["severity_since"],
        row["opened_at"],
    )


async def apply(
    connection: Connection,
    sweep: int | None,
    environment: int,
    changes: Sequence[tuple[Bearer, Change]],
    now: datetime,
) -> None:
    """Write what happened to findings of an environment, each change with whom it is of.

    Every change becomes a row of ``finding_event``; one without a transition only renews the finding's words, and its
    row says so. ``sweep`` is None for what happens between sweeps.
    """
    opened = [(bearer, change) for bearer, change in changes if change.known is None]
    if opened:
        await _open(connection, sweep, environment, opened, now)
    moved = [(change.known.id, change) for _bearer, change in changes if change.known is not None]
    if moved:
        await _move(connection, sweep, moved, now)


async def _open(
    connection: Connection, sweep: int | None, environment: int, opened: Sequence[tuple[Bearer, Change]], now: datetime
) -> None:
    await connection.execute(
        f"""
        with f as (
            insert into finding (environment_id, token_id, subject, rule_id, discriminator, severity, status, message,
                evidence, opened_at, severity_since)
            select $4, token_id, subject, rule_id, coalesce(discriminator, ''), severity, 'open', message, evidence,
                $2, $2
            from {recordset("$3", "o", _OPENED)}
            returning id, severity, message, evidence
        )
        insert into finding_event (finding_id, sweep_id, at, transition, severity, message, evidence)
        select f.id, $1, $2, 'opened', f.severity, f.message, f.evidence from f
        """,
        sweep,
        now,
        as_json(
            [
                _Opened(*((bearer, None) if isinstance(bearer, int) else (None, bearer)), *_written(change))
                for bearer, change in opened
            ]
        ),
        environment,
    )


_WRITTEN: Final = {
    "rule_id": "text",
    "discriminator": "text",
    "severity": "text",
    "message": "text",
    "evidence": "jsonb",
}
_OPENED: Final = {"token_id": "bigint", "subject": "text", **_WRITTEN}
_Opened: Final = row_type(_OPENED)
_MOVED: Final = {
    "id": "bigint",
    "transition": "text",
    "resolution": "text",
    "waiver": "jsonb",
    "rises": "boolean",
    **_WRITTEN,
}
_Moved: Final = row_type(_MOVED)


async def _move(connection: Connection, sweep: int | None, moved: Sequence[tuple[int, Change]], now: datetime) -> None:
    await connection.execute(
        f"""
        with c as (
            select * from {recordset("$3", "c", _MOVED)}
        ), written as (
            insert into finding_event (finding_id, sweep_id, at, transition, severity, resolution, message, evidence,
                waiver)
            select c.id, $1, $2, coalesce(c.transition, 'renewed'), c.severity, c.resolution, c.message, c.evidence,
                c.waiver
            from c
        )
        update finding f set severity = c.severity, message = c.message, evidence = c.evidence,
            status = case c.transition when 'resolved' then 'resolved' when 'reopened' then 'open' else f.status end,
            resolution = case c.transition when 'resolved' then c.resolution when 'reopened' then null
                else f.resolution end,
            resolved_at = case c.transition when 'resolved' then $2 when 'reopened' then null else f.resolved_at end,
            severity_since = case when c.rises or c.transition in ('reopened', 'lapsed') then $2
                else f.severity_since end,
            -- That it is late is word of it, after which the next is due.
            reminded_at = case when c.transition = 'escalated' then $2 else f.reminded_at end,
            reopenings = f.reopenings + coalesce(c.transition = 'reopened', false)::integer,
            waiver = case when c.transition = 'waived' then c.waiver
                when c.transition in ('lapsed', 'resolved') then null else f.waiver end,
            waived_severity = case when c.transition = 'waived' then c.severity
                when c.transition in ('lapsed', 'resolved') then null else f.waived_severity end
        from c where f.id = c.id
        """,
        sweep,
        now,
        as_json(
            [
                _Moved(number, change.transition, change.resolution, change.waiver, change.rises, *_written(change))
                for number, change in moved
            ]
        ),
    )


async def past_deadline(
    connection: Connection, environment: int, spans: Mapping[Severity, timedelta], now: datetime
) -> Sequence[int]:
    """Return the ids of an environment's open findings that have had their severity for as long as they may, or longer.

    Without those that say already that they are late, and those that a waiver mutes.
    """
    ids: Sequence[int] = await connection.fetchval(
        """
        select coalesce(array_agg(f.id order by f.id), '{}') from finding f
        join unnest($2::text[], $3::interval[]) as allowed (severity, span) on allowed.severity = f.severity
        where f.environment_id = $1 and f.status = 'open' and f.waiver is null and not f.evidence ? $5
            and f.severity_since <= $4::timestamptz - allowed.span
        """,
        environment,
        [severity.value for severity in spans],
        list(spans.values()),
        now,
        LATE,
    )
    return ids


def _written(change: Change) -> Sequence[object]:
    """Return the columns of ``_WRITTEN``."""
    violation = change.violation
    return (
        violation.rule_id,
        violation.discriminator or None,
        violation.severity,
        violation.message,
        violation.evidence,
    )


def key_of(environment: str, label: str, rule_id: str, discriminator: str) -> str:
    """Return a finding's stable key: ``environment/label/rule`` with ``/discriminator`` where there is one."""
    key = f"{environment}/{label}/{rule_id}"
    return f"{key}/{discriminator}" if discriminator else key


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which findings to read; empty conditions hold for all."""

    environments: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    """Case makes no difference."""
    min_severity: Severity = Severity.INFO
    resolved_since: datetime | None = None
    """Read findings that were resolved at or after this instant too; None: open ones only."""
    waived: bool | None = None
    """Only findings that a waiver mutes, or only those that none does; None: both."""


_OWNER: Final = "case when f.token_id is null then f.evidence->>'owner' else t.owner end"
"""The owner of the token of ``finding f``, or of what it is about otherwise."""
_SELECT: Final = f"""
select f.id, environment.name as environment, coalesce(t.label, f.subject) as label, f.rule_id, f.discriminator,
    f.severity, f.status, f.message, f.evidence,
    case when f.token_id is null then f.evidence->>'name' else t.name end as token_name,
    {_OWNER} as owner,
    coalesce(t.places, '{{}}') as places, f.opened_at,
    coalesce(l.evident_at, case when f.token_id is null then (
        select s.finished_at from sweep s
        where s.environment_id = f.environment_id and (f.resolved_at is null or s.finished_at < f.resolved_at)
            and s.rules->f.rule_id->>'state' = 'assessed'
        order by s.id desc limit 1
    ) end, f.opened_at) as last_seen_at,
    f.resolved_at, f.resolution, f.reopenings, t.removed_at is null as is_stored,
    case when {mutes("$1")} then f.waiver end as waiver
from finding f
join environment on environment.id = f.environment_id
left join token t on t.id = f.token_id
left join lookup l on l.token_id = f.token_id
"""
"""``$1`` is the instant at which a waiver mutes what it shows."""
_IN_ORDER: Final = f"""
    (case when f.status = 'resolved' then 10 when {mutes("$1")} then 5 else 0 end
    + case f.severity when 'critical' then 0 when 'high' then 1 when 'medium' then 2 when 'low' then 3 else 4 end)
    * 1e11::float8 + date_part('epoch', f.opened_at)
"""
"""Open, waived, resolved, each worst first, and then the oldest first, to a quarter of a millisecond: as one number,
since sorting by several columns takes twice as long."""
_WORST_FIRST: Final = "array_position(array['critical', 'high', 'medium', 'low', 'info'], f.severity)"


async def read(
    connection: Connection, wanted: Filter, now: datetime, *, batch: int = 1000
) -> AsyncGenerator[Sequence[Finding], None]:
    """Yield findings in batches: open ones, then waived ones, then resolved ones, each worst first, then oldest first.

    A waiver that had ended at ``now`` mutes no more, and is left out; so it is in all that is read below.

    Reads through a cursor, a batch ahead: the caller holds a transaction open for as long as it reads, asks nothing
    else meanwhile, and closes the generator where it ends early.
    """
    cursor = await connection.cursor(
        f"""
        {_SELECT}
        where (f.status = 'open' or f.resolved_at >= $2)
            and (cardinality($3::text[]) = 0 or environment.name = any ($3))
            and (cardinality($4::text[]) = 0 or f.rule_id = any ($4))
            and f.severity = any ($5::text[])
            and ($6::boolean is null or {mutes("$1")} = $6)
            and (cardinality($7::text[]) = 0 or lower({_OWNER}) = any (select lower(o) from unnest($7) as o))
        order by {_IN_ORDER}, f.id
        """,
        now,
        wanted.resolved_since,
        list(wanted.environments),
        list(wanted.rules),
        [severity.value for severity in Severity if severity.rank >= wanted.min_severity.rank],
        wanted.waived,
        list(wanted.owners),
    )
    following = asyncio.ensure_future(cursor.fetch(batch))
    try:
        while rows := await following:
            following = asyncio.ensure_future(cursor.fetch(batch))
            await asyncio.sleep(0)  # so that it is sent, and PostgreSQL makes the next rows while these are used
            yield [_finding(row) for row in rows]
    finally:
        await asyncio.gather(following, return_exceptions=True)  # who ends early may ask something else next


async def rules(connection: Connection) -> Sequence[str]:
    """Return the rules that findings are of, in the catalogue still or not."""
    return [row["rule_id"] for row in await connection.fetch("select distinct rule_id from finding order by 1")]


class Event(msgspec.Struct, frozen=True):
    """One transition of a finding, as history."""

    at: datetime
    transition: Transition
    severity: Severity
    resolution: Resolution | None
    message: str
    evidence: dict[str, Any]
    sweep: int | None
    """None for what happened between sweeps."""
    waiver: Waiver | None = None
    """The one that began to mute the finding, or that ended."""


async def show(connection: Connection, key: str, now: datetime) -> tuple[Finding, Sequence[Event]] | None:
    """Return the finding of a key with its history, oldest event first; None where there is none."""
    parts = key.split("/", 3)
    if len(parts) < 3:
        return None
    row = await connection.fetchrow(
        f"""
        {_SELECT} where environment.name = $2 and f.rule_id = $4 and f.discriminator = $5
            and (f.token_id = (select k.id from token k join environment e on e.id = k.environment_id
                               where e.name = $2 and k.label = $3)
                or f.token_id is null and f.subject = $3)
        order by f.token_id limit 1
        """,
        now,
        *parts[:3],
        parts[3] if len(parts) > 3 else "",
    )
    if row is None:
        return None
    events = await connection.fetch(
        """
        select at, transition, severity, resolution, message, evidence, sweep_id, waiver
        from finding_event where finding_id = $1 and transition <> 'renewed' order by id
        """,
        row["id"],
    )
    return _finding(row), [
        Event(
            event["at"],
            Transition(event["transition"]),
            Severity(event["severity"]),
            Resolution(event["resolution"]) if event["resolution"] else None,
            event["message"],
            _evidence(event["evidence"]),
            event["sweep_id"],
            None if event["waiver"] is None else waiver_in(event["waiver"]),
        )
        for event in events
    ]


class Happened(msgspec.Struct, frozen=True):
    """One transition with the finding that it happened to."""

    transition: Transition
    severity: Severity
    rule_id: str
    environment: str
    label: str
    owner: str | None
    message: str


async def happened(connection: Connection, swept: Sequence[int]) -> Sequence[Happened]:
    """Return the transitions that sweeps made, worst first."""
    return [
        Happened(
            Transition(row["transition"]),
            Severity(row["severity"]),
            row["rule_id"],
            row["environment"],
            row["label"],
            row["owner"],
            row["message"],
        )
        for row in await connection.fetch(
            f"""
            select e.transition, e.severity, f.rule_id, environment.name as environment, e.message,
                coalesce(t.label, f.subject) as label,
                {_OWNER} as owner
            from finding_event e
            join finding f on f.id = e.finding_id
            join environment on environment.id = f.environment_id
            left join token t on t.id = f.token_id
            where e.sweep_id = any ($1::bigint[]) and e.transition <> 'renewed'
            order by {_WORST_FIRST.replace("f.severity", "e.severity")}, e.id
            """,
            list(swept),
        )
    ]


class Counts(msgspec.Struct, frozen=True):
    """Findings of one environment, counted."""

    open_by_rule: Mapping[str, Mapping[Severity, int]]
    """Open findings by rule and severity, without the waived ones; those without any are left out."""
    waived_by_rule: Mapping[str, Mapping[Severity, int]]
    """Open ones that a waiver mutes."""
    tokens_with_findings: int
    """Tokens with open findings that are not waived."""
    resolved_recently: int

    @property
    def open_by_severity(self) -> Mapping[Severity, int]:
        """Open findings by severity, without the waived ones; those without any are left out."""
        return _by_severity(self.open_by_rule)

    @property
    def waived_by_severity(self) -> Mapping[Severity, int]:
        """The same of those that a waiver mutes."""
        return _by_severity(self.waived_by_rule)


def _by_severity(by_rule: Mapping[str, Mapping[Severity, int]]) -> Mapping[Severity, int]:
    total: dict[Severity, int] = {}
    for counts in by_rule.values():
        for severity, count in counts.items():
            total[severity] = total.get(severity, 0) + count
    return total


async def counts(
    connection: Connection, now: datetime, resolved_since: datetime, *, rules: Sequence[str] = ()
) -> Mapping[str, Counts]:
    """Count every swept environment's findings, those resolved from an instant on among them.

    ``rules`` narrows them to these rules; empty means all.
    """
    by_rule: dict[tuple[str, bool], dict[str, dict[Severity, int]]] = {}
    for row in await connection.fetch(
        f"""
        select environment.name, {mutes("$1")} as is_waived, f.rule_id, f.severity, count(*) as findings
        from finding f join environment on environment.id = f.environment_id
        where f.status = 'open' and (cardinality($2::text[]) = 0 or f.rule_id = any ($2)) group by 1, 2, 3, 4
        """,
        now,
        rules,
    ):
        here = by_rule.setdefault((row["name"], row["is_waived"]), {})
        here.setdefault(row["rule_id"], {})[Severity(row["severity"])] = row["findings"]
    return {
        row["name"]: Counts(
            by_rule.get((row["name"], False), {}),
            by_rule.get((row["name"], True), {}),
            row["with_findings"],
            row["resolved"],
        )
        for row in await connection.fetch(
            f"""
            select e.name,
                (select count(distinct f.token_id) from finding f
                 where f.status = 'open' and not {mutes("$3")} and f.environment_id = e.id
                    and (cardinality($2::text[]) = 0 or f.rule_id = any ($2))) as with_findings,
                (select count(*) from finding f
                 where f.status = 'resolved' and f.resolved_at >= $1 and f.environment_id = e.id
                    and (cardinality($2::text[]) = 0 or f.rule_id = any ($2))) as resolved
            from environment e
            """,
            resolved_since,
            rules,
            now,
        )
    }


async def count_open(connection: Connection, now: datetime) -> Mapping[str, Mapping[Severity, int]]:
    """Return how many findings are open and not waived, by environment and severity; those without any are left out."""
    return await _count(connection, f"not {mutes('$1')}", now)


async def count_waived(connection: Connection, now: datetime) -> Mapping[str, Mapping[Severity, int]]:
    """Return how many open findings are waived, by environment and severity; environments without any are left out."""
    return await _count(connection, mutes("$1"), now)


async def _count(connection: Connection, condition: str, now: datetime) -> Mapping[str, Mapping[Severity, int]]:
    counts: dict[str, dict[Severity, int]] = {}
    for row in await connection.fetch(
        f"""
        select environment.name, counted.severity, counted.findings
        from (
            select f.environment_id, f.severity, count(*) as findings from finding f
            where f.status = 'open' and {condition} group by 1, 2
        ) counted join environment on environment.id = counted.environment_id
        """,
        now,
    ):
        counts.setdefault(row["name"], {})[Severity(row["severity"])] = row["findings"]
    return counts


def _finding(row: Row) -> Finding:
    """Return a row of ``_SELECT`` as a finding; by position, since a report asks for a million."""
    (
        _,
        environment,
        label,
        rule_id,
        discriminator,
        severity,
        status,
        message,
        evidence,
        token_name,
        owner,
        places,
        opened_at,
        last_seen_at,
        resolved_at,
        resolution,
        reopenings,
        is_stored,
        waiver,
    ) = row
    return Finding(
        key=key_of(environment, label, rule_id, discriminator),
        environment=environment,
        label=label,
        rule_id=rule_id,
        severity=_SEVERITIES[severity],
        status=status,
        message=message,
        evidence=_evidence(evidence),
        token_name=token_name,
        owner=owner,
        locations=locations_of(places),
        opened_at=opened_at,
        last_seen_at=last_seen_at,
        resolved_at=resolved_at,
        resolution=None if resolution is None else Resolution(resolution),
        reopenings=reopenings,
        is_stored=is_stored,
        waiver=None if waiver is None else waiver_in(waiver),
    )


class Kin(msgspec.Struct, frozen=True):
    """Open findings that are alike in everything that decides where alerts go."""

    severity: Severity
    rule_id: str
    owner: str | None
    tags: frozenset[str]
    findings: int


async def kinds_open(connection: Connection, environment: int) -> Sequence[Kin]:
    """Return an environment's open findings that no waiver mutes, counted by what decides where alerts go."""
    return [
        Kin(Severity(row["severity"]), row["rule_id"], row["owner"], frozenset(row["tags"]), row["findings"])
        for row in await connection.fetch(
            f"""
            select f.severity, f.rule_id, coalesce(t.tags, '{{}}') as tags, count(*) as findings,
                {_OWNER} as owner
            from finding f left join token t on t.id = f.token_id
            where f.environment_id = $1 and f.status = 'open' and f.waiver is null group by 1, 2, 3, 5
            """,
            environment,
        )
    ]


async def ids_open(connection: Connection, environment: int) -> Sequence[int]:
    """Return the ids of an environment's open findings that no waiver mutes, worst first, then oldest first."""
    ids: Sequence[int] = await connection.fetchval(
        f"""
        select coalesce(array_agg(f.id order by {_WORST_FIRST}, f.id), '{{}}') from finding f
        where f.environment_id = $1 and f.status = 'open' and f.waiver is null
        """,
        environment,
    )
    return ids


_SEVERITIES: Final = {severity.value: severity for severity in Severity}
