"""How things stand, counted for a report's pictures: each figure is read at once, whatever the number of tokens."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from auditor.model.finding import Severity
from auditor.model.sweep import SweepStatus
from auditor.model.waiver import Waiver
from auditor.policy.document import RuleSettings
from auditor.policy.lifecycle import LATE
from auditor.policy.rules import aud_04
from auditor.policy.scopes import RiskSettings, RiskTier
from auditor.store.connection import Connection
from auditor.store.findings import mutes, waiver_in
from auditor.store.forecast import LIVE
from auditor.store.revocation import risks

AGES: Final = (7, 30, 90, 180)
"""Days at which a finding of one age becomes one of the next: five bands."""
IDLE: Final = (30, 90, 365)
"""Days without use at which a token of one band becomes one of the next: four bands, and a fifth of the never used."""

_HERE: Final = "(cardinality($1::text[]) = 0 or environment.name = any ($1))"
_OF_RULES: Final = "(cardinality($2::text[]) = 0 or f.rule_id = any ($2))"


async def ages(
    connection: Connection, now: datetime, environments: Sequence[str] = (), rules: Sequence[str] = ()
) -> Mapping[Severity, tuple[int, ...]]:
    """Count open findings that no waiver covers, by severity and then by band of ``AGES`` since they were opened.

    A severity without any is left out. ``environments`` and ``rules`` narrow it; empty means all, here as below.
    """
    counted: dict[Severity, list[int]] = {}
    for row in await connection.fetch(
        f"""
        select f.severity, count(*) as findings,
            width_bucket(extract(epoch from $3 - f.opened_at)::float8 / 86400, $4::float8[]) as band
        from finding f join environment on environment.id = f.environment_id
        where f.status = 'open' and not {mutes("$3")} and {_HERE} and {_OF_RULES} group by f.severity, band
        """,
        list(environments),
        list(rules),
        now,
        list(AGES),
    ):
        bands = counted.setdefault(Severity(row["severity"]), [0] * (len(AGES) + 1))
        bands[row["band"]] = row["findings"]
    return {severity: tuple(bands) for severity, bands in counted.items()}


async def oldest(
    connection: Connection, now: datetime, environments: Sequence[str] = (), rules: Sequence[str] = ()
) -> datetime | None:
    """Return when the oldest of the open findings that no waiver covers was opened; None where there is none."""
    at: datetime | None = await connection.fetchval(
        f"""
        select min(f.opened_at) from finding f join environment on environment.id = f.environment_id
        where f.status = 'open' and not {mutes("$3")} and {_HERE} and {_OF_RULES}
        """,
        list(environments),
        list(rules),
        now,
    )
    return at


class OwnerIdleness(msgspec.Struct, frozen=True):
    """How long the live tokens of one owner have been idle."""

    owner: str | None
    """None for tokens without a known owner, and for those of the owners that are not named."""
    is_named: bool
    """False for the sum of the owners that are not named."""
    owners: int
    """1, or of how many owners it is the sum."""
    tokens: tuple[int, ...]
    """By band of ``IDLE``; the last are those never used."""


async def idleness(
    connection: Connection, now: datetime, environments: Sequence[str] = (), *, most: int
) -> Sequence[OwnerIdleness]:
    """Count live tokens by owner and idleness, the owners with most long idle ones first, at most ``most`` of them.

    Long idle means unused for ``IDLE[1]`` days or never used. The rest is one sum, at the end.
    """
    rows = await connection.fetch(
        f"""
        with banded as (
            select t.owner, case when t.last_used_date is null then {len(IDLE) + 1}
                else width_bucket(extract(epoch from $2 - t.last_used_date)::float8 / 86400, $3::float8[]) end as band
            from token t join environment on environment.id = t.environment_id
            where {LIVE.replace("$1", "$2")} and {_HERE}
        ), counted as (
            select owner, {", ".join(f"count(*) filter (where band = {band}) as band_{band}" for band in _BANDS)}
            from banded group by owner
        ), placed as (
            select *, row_number() over (
                order by {" + ".join(f"band_{band}" for band in _BANDS[2:])} desc,
                    {" + ".join(f"band_{band}" for band in _BANDS)} desc, owner collate "C"
            ) <= $4 as is_named from counted
        )
        select case when is_named then owner end as owner, is_named, count(*) as owners,
            array[{", ".join(f"sum(band_{band})::bigint" for band in _BANDS)}] as tokens
        from placed group by is_named, case when is_named then owner end
        """,
        list(environments),
        now,
        list(IDLE),
        most,
    )
    found = [OwnerIdleness(row["owner"], row["is_named"], row["owners"], tuple(row["tokens"])) for row in rows]
    return sorted(found, key=lambda one: (not one.is_named, -sum(one.tokens[2:]), -sum(one.tokens), one.owner or ""))


_BANDS: Final = range(len(IDLE) + 2)


async def scope_risk(
    connection: Connection, now: datetime, environments: Sequence[str] = ()
) -> Mapping[str, Mapping[RiskTier, int]]:
    """Count live tokens by family of scopes and by the highest tier among the token's scopes of that family.

    Families and tiers are what the policy says that was last applied in each environment. A token that holds scopes of
    several families counts in each. Reads through a cursor, so the caller holds a transaction open.
    """
    graded = {name: _Graded(risk) for name, risk in (await risks(connection)).items()}
    counted: dict[str, dict[RiskTier, int]] = {}
    # Graded here rather than in SQL: the planner cannot know how many scopes an answer holds, and it joins as if few.
    async for row in connection.cursor(
        f"""
        select environment.name, t.scopes, count(*) as tokens
        from token t join environment on environment.id = t.environment_id
        where {LIVE.replace("$1", "$2")} and {_HERE} group by environment.name, t.scopes
        """,
        list(environments),
        now,
        prefetch=1000,
    ):
        if row["name"] in graded:
            for family, tier in graded[row["name"]].highest(row["scopes"]).items():
                tiers = counted.setdefault(family, {})
                tiers[tier] = tiers.get(tier, 0) + row["tokens"]
    return counted


class _Graded:
    """What one policy says of scopes, each asked once."""

    def __init__(self, risk: RiskSettings) -> None:
        self._risk = risk
        self._known: dict[str, tuple[str, RiskTier]] = {}

    def highest(self, scopes: Sequence[str]) -> Mapping[str, RiskTier]:
        """Return the highest tier among ``scopes`` by family."""
        found: dict[str, RiskTier] = {}
        for scope in scopes:
            if scope not in self._known:
                self._known[scope] = (self._risk.family_of(scope), self._risk.tier_of(scope))
            family, tier = self._known[scope]
            if family not in found or found[family].rank < tier.rank:
                found[family] = tier
        return found


class Adherence(msgspec.Struct, frozen=True):
    """How findings of one severity, the one that their own rule gives them, stand with their deadline (DT-AUD-04)."""

    days: tuple[int, ...]
    """The deadlines in force, each once, in days: several where policies differ."""
    open_in_time: int = 0
    open_late: int = 0
    ended_in_time: int = 0
    """Mended or gone within the report's days. What the policy stopped asking for is not counted."""
    ended_late: int = 0


async def adherence(
    connection: Connection,
    now: datetime,
    since: datetime,
    environments: Sequence[str] = (),
    rules: Sequence[str] = (),
) -> Mapping[Severity, Adherence]:
    """Count findings by severity and whether they kept their deadline; open ones, and those that ended since.

    Waived findings have no deadline, and that of one whose waiver ended runs from then on; nor have those of an
    environment whose policy does not apply DT-AUD-04. Where a policy applies it to some tokens only, a finding is late
    that sweeps told to be.
    """
    spans = await _deadlines(connection, environments)
    days: dict[Severity, set[int]] = {}
    for (_name, severity), (span, _exact) in spans.items():
        days.setdefault(severity, set()).add(span.days)
    rows = await connection.fetch(
        f"""
        select own.severity, f.status, count(*) as findings, (f.evidence ? '{LATE}' or allowed.is_exact
            and coalesce(f.resolved_at, $3) - greatest(f.severity_since, (f.waiver->>'until')::timestamptz)
                >= allowed.span) as is_late
        from finding f
        join environment on environment.id = f.environment_id
        cross join lateral (select coalesce(f.evidence->'{LATE}'->>'severity', f.severity) as severity) own
        join unnest($5::text[], $6::text[], $7::interval[], $8::boolean[]) as allowed (name, severity, span, is_exact)
            on allowed.name = environment.name and allowed.severity = own.severity
        where {_HERE} and {_OF_RULES} and not {mutes("$3")}
            and (f.status = 'open' or f.resolved_at >= $4 and f.resolution in ('evidence', 'missing'))
        group by 1, 2, 4
        """,
        list(environments),
        list(rules),
        now,
        since,
        [name for name, _severity in spans],
        [severity.value for _name, severity in spans],
        [span for span, _exact in spans.values()],
        [is_exact for _span, is_exact in spans.values()],
    )
    counted: dict[Severity, dict[str, int]] = {}
    for row in rows:
        field = f"{'open' if row['status'] == 'open' else 'ended'}_{'late' if row['is_late'] else 'in_time'}"
        counted.setdefault(Severity(row["severity"]), {})[field] = row["findings"]
    return {
        severity: Adherence(tuple(sorted(found)), **counted.get(severity, {}))
        for severity, found in sorted(days.items(), key=lambda item: -item[0].rank)
    }


async def _deadlines(
    connection: Connection, environments: Sequence[str]
) -> Mapping[tuple[str, Severity], tuple[timedelta, bool]]:
    """Return the deadlines of the policies last applied, by environment and severity, each with whether it is all's."""
    found = {}
    for row in await connection.fetch(
        f"""
        select distinct on (environment.id) environment.name,
            coalesce(p.document->'rules'->$2, '{{}}') as settings, s.rules->$2->>'state' = 'assessed' as is_assessed
        from environment
        join sweep s on s.environment_id = environment.id and s.finished_at is not null
        join policy p on p.digest = s.policy_digest
        where {_HERE} order by environment.id, s.id desc
        """,
        list(environments),
        aud_04.RULE.id,
    ):
        if not row["is_assessed"]:
            continue
        try:
            settings = RuleSettings.model_validate_json(row["settings"])
            sla = aud_04.Overdue.model_validate(settings.model_extra or {}).sla
        except ValidationError:  # of a policy that another version applied
            continue
        for severity in Severity:
            span = sla.of(severity)
            if span is not None:
                found[row["name"], severity] = (span, not settings.only and not settings.exempt)
    return found


class SweptDay(msgspec.Struct, frozen=True):
    """The last sweep that ended on a day, in UTC, in one environment."""

    environment: str
    day: date
    status: SweepStatus
    audited: int
    enrolled: int


async def swept_days(connection: Connection, since: date, environments: Sequence[str] = ()) -> Sequence[SweptDay]:
    """Return, by environment and day, the last sweep of each day from ``since`` on; days without one are left out."""
    return [
        SweptDay(row["name"], row["day"], SweepStatus(row["status"]), row["audited"], row["enrolled"])
        for row in await connection.fetch(
            f"""
            select distinct on (environment.name, day) environment.name, s.status, s.found + s.missing as audited,
                s.enrolled, (s.finished_at at time zone 'UTC')::date as day
            from sweep s join environment on environment.id = s.environment_id
            where {_HERE} and s.finished_at >= $2::date::timestamp at time zone 'UTC'
            order by environment.name, day, s.id desc
            """,
            list(environments),
            since,
        )
    ]


class WaiverInForce(msgspec.Struct, frozen=True):
    """A waiver with what it mutes."""

    waiver: Waiver
    findings: int
    worst: Severity


async def waivers_in_force(
    connection: Connection, now: datetime, environments: Sequence[str] = (), rules: Sequence[str] = ()
) -> Sequence[WaiverInForce]:
    """Return the waivers that mute findings, the first to end first."""
    found = [
        WaiverInForce(
            waiver_in(row["waiver"]),
            row["findings"],
            max((Severity(word) for word in row["severities"]), key=lambda severity: severity.rank),
        )
        for row in await connection.fetch(
            f"""
            select f.waiver, count(*) as findings, array_agg(distinct f.severity) as severities
            from finding f join environment on environment.id = f.environment_id
            where {mutes("$3")} and {_HERE} and {_OF_RULES} group by f.waiver
            """,
            list(environments),
            list(rules),
            now,
        )
    ]
    return sorted(found, key=lambda one: (one.waiver.until, one.waiver.id))


class AppliedPolicy(msgspec.Struct, frozen=True):
    """A policy that the last sweep of some environments applied."""

    name: str
    digest: str
    content: bytes
    """JSON without blanks, keys in order: ``digest`` is its SHA-256."""
    first_applied_at: datetime
    environments: Sequence[str]


async def applied_policies(connection: Connection, environments: Sequence[str] = ()) -> Sequence[AppliedPolicy]:
    """Return the policies that the last finished sweeps applied, that of the latest sweep first."""
    rows = await connection.fetch(
        f"""
        select p.digest, p.document, p.first_applied_at, array_agg(last.name order by last.name) as environments
        from (
            select distinct on (environment.id) environment.name, s.policy_digest, s.id
            from environment join sweep s on s.environment_id = environment.id
            where s.finished_at is not null and {_HERE} order by environment.id, s.id desc
        ) last
        join policy p on p.digest = last.policy_digest
        group by p.digest order by max(last.id) desc
        """,
        list(environments),
    )
    return [_applied(row["document"], row["digest"], row["first_applied_at"], row["environments"]) for row in rows]


def _applied(document: str, digest: str, first_applied_at: datetime, environments: Sequence[str]) -> AppliedPolicy:
    read: dict[str, Any] = msgspec.json.decode(document)
    return AppliedPolicy(
        str(read.get("name", "")),
        digest,
        msgspec.json.encode(read, order="deterministic"),
        first_applied_at,
        tuple(environments),
    )
