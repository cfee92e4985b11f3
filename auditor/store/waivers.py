"""Waivers in the database: those that `auditor waive` makes, what each mutes, and when it last did."""

from array import array
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from auditor.model.finding import Severity
from auditor.model.waiver import Waiver
from auditor.policy.waivers import FindingId, WaiverEntry
from auditor.store.chain import linked
from auditor.store.connection import Connection, Row
from auditor.store.findings import mutes, waiver_in
from auditor.store.rows import as_json


class StoredWaiver(msgspec.Struct, frozen=True):
    """A waiver of one finding, made by `auditor waive`."""

    waiver: Waiver
    finding: str
    """The finding's key."""
    removed_at: datetime | None
    """When it was withdrawn."""

    @property
    def entry(self) -> WaiverEntry:
        """The waiver as a file would have it."""
        terms = {name: getattr(self.waiver, name) for name in self.waiver.__struct_fields__}
        return WaiverEntry.model_validate({**terms, "finding": self.finding})


_COLUMNS: Final = "id, owner, approver, reason, ticket, since, until, finding_key, removed_at"


async def add(connection: Connection, waiver: Waiver, finding: str) -> None:
    """Add a waiver of a finding in place of those that were added before; its id must be new."""
    await connection.execute(
        "update waiver set removed_at = $2 where finding_key = $1 and removed_at is null", finding, waiver.since
    )
    await connection.execute(
        f"insert into waiver ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, null)",
        waiver.id,
        waiver.owner,
        waiver.approver,
        waiver.reason,
        waiver.ticket,
        waiver.since,
        waiver.until,
        finding,
    )


async def remove(connection: Connection, waiver: str, now: datetime) -> bool:
    """Withdraw a waiver; False where there is none, or none any more. Its row stays."""
    async with connection.transaction():
        row = await connection.fetchrow(
            """
            with removed as (
                update waiver set removed_at = $2 where id = $1 and removed_at is null returning finding_key
            )
            select e.id, removed.finding_key from removed join environment e on e.name = split_part(finding_key, '/', 1)
            """,
            waiver,
            now,
        )
        if row is None:
            return False
        async with linked(
            connection, row["id"], now, states={"waiver_withdrawn": waiver, "finding": row["finding_key"]}
        ):
            return True


async def stored(connection: Connection, *, removed: bool = False) -> Sequence[StoredWaiver]:
    """Return the waivers that were added, the first to end first; withdrawn ones only where they are asked for."""
    return [
        _stored(row)
        for row in await connection.fetch(
            f"select {_COLUMNS} from waiver where $1 or removed_at is null order by until, id", removed
        )
    ]


def _stored(row: Row) -> StoredWaiver:
    terms = {name: row[name] for name in Waiver.__struct_fields__}
    return StoredWaiver(Waiver(**terms), row["finding_key"], row["removed_at"])


async def concerned(
    connection: Connection, environment: int, rules: Collection[str], findings: Collection[FindingId]
) -> Sequence[int]:
    """Return the ids of an environment's open findings whose waiver may begin, change or end.

    They are the waived ones, those of the rules, and those named.
    """
    return array(
        "q",
        await connection.fetchval(
            """
            with named as (
                select * from unnest($3::text[], $4::text[], $5::text[]) as k (label, rule_id, discriminator)
            )
            select coalesce(array_agg(id order by id), '{}') from (
                select id from finding where environment_id = $1 and waiver is not null
                union
                select id from finding where environment_id = $1 and status = 'open' and rule_id = any ($2::text[])
                union
                select f.id from named k
                join token t on t.environment_id = $1 and t.label = k.label
                join finding f on f.token_id = t.id and f.rule_id = k.rule_id and f.discriminator = k.discriminator
                where f.status = 'open'
                union
                select f.id from named k
                join finding f on f.token_id is null and f.environment_id = $1 and f.subject = k.label
                    and f.rule_id = k.rule_id and f.discriminator = k.discriminator
                where f.status = 'open'
            ) found
            """,
            environment,
            list(rules),
            [finding.label for finding in findings],
            [finding.rule_id for finding in findings],
            [finding.discriminator for finding in findings],
        ),
    )


async def lock_finding(connection: Connection, finding: FindingId) -> tuple[int, int] | None:
    """Hold a finding still until the transaction ends; return the ids of its environment and of itself, or None."""
    row = await connection.fetchrow(
        """
        select f.environment_id, f.id from finding f
        join environment e on e.id = f.environment_id
        where e.name = $1 and f.rule_id = $3 and f.discriminator = $4
            and (f.token_id = (select k.id from token k where k.environment_id = e.id and k.label = $2)
                or f.token_id is null and f.subject = $2)
        order by f.token_id limit 1
        for update of f
        """,
        *finding,
    )
    return None if row is None else (row["environment_id"], row["id"])


async def count_muted(connection: Connection, now: datetime) -> Mapping[str, int]:
    """Return how many open findings each waiver mutes, by its id; those that mute none are left out."""
    return {
        row["id"]: row["findings"]
        for row in await connection.fetch(
            f"select f.waiver->>'id' as id, count(*) as findings from finding f where {mutes('$1')} group by 1", now
        )
    }


class Muted(msgspec.Struct, frozen=True):
    """What one waiver mutes in an environment."""

    waiver: Waiver
    findings: int
    worst: Severity


async def muted(connection: Connection, environment: int) -> Sequence[Muted]:
    """Return each waiver that mutes open findings of an environment, with how many and how bad they are."""
    found: dict[Waiver, Mapping[Severity, int]] = {}
    for row in await connection.fetch(
        """
        select f.waiver, f.severity, count(*) as findings
        from finding f where f.environment_id = $1 and f.waiver is not null group by 1, 2 order by 1
        """,
        environment,
    ):
        waiver = waiver_in(row["waiver"])
        found[waiver] = {**found.get(waiver, {}), Severity(row["severity"]): row["findings"]}
    return [
        Muted(waiver, sum(counts.values()), max(counts, key=lambda severity: severity.rank))
        for waiver, counts in found.items()
    ]


async def warn_once(
    connection: Connection, environment: int, waivers: Sequence[Waiver], now: datetime
) -> Collection[str]:
    """Note that waivers are about to end; return the ids of those of which that was not noted before."""
    if not waivers:
        return ()
    rows = await connection.fetch(
        """
        insert into waiver_warning (environment_id, waiver_id, until, at)
        select $1, w.id, w.until, $4 from unnest($2::text[], $3::timestamptz[]) as w (id, until)
        on conflict do nothing returning waiver_id
        """,
        environment,
        [waiver.id for waiver in waivers],
        [waiver.until for waiver in waivers],
        now,
    )
    return [row["waiver_id"] for row in rows]


class Sight(msgspec.Struct, frozen=True):
    """When sweeps met a waiver."""

    first_seen_at: datetime
    matched_at: datetime | None
    """When a sweep last ended with a finding that it mutes; None: none ever did."""


async def sight(
    connection: Connection, waivers: Sequence[Waiver], matching: Collection[str], now: datetime
) -> Mapping[str, Sight]:
    """Note that a sweep met these waivers, and which of them mute something there; return how each stands, by id."""
    if not waivers:
        return {}
    rows = await connection.fetch(
        """
        insert into waiver_sight as s (waiver_id, since, first_seen_at, matched_at)
        select w->>'id', (w->>'since')::timestamptz, $3::timestamptz,
            case when w->>'id' = any ($2::text[]) then $3::timestamptz end
        from json_array_elements($1::json) as w order by w->>'id'
        on conflict (waiver_id, since) do update set matched_at = coalesce(excluded.matched_at, s.matched_at)
        returning waiver_id, first_seen_at, matched_at
        """,
        as_json(sorted(waivers, key=lambda waiver: waiver.id)),
        list(matching),
        now,
    )
    return {row["waiver_id"]: Sight(row["first_seen_at"], row["matched_at"]) for row in rows}
