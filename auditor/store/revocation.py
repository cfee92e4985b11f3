"""What sweeps recorded of each token, read for verdicts on revoking it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from auditor.model.lookup import Outcome
from auditor.policy.revocation import OLD_EVIDENCE, Record, Successor
from auditor.policy.scopes import RiskSettings
from auditor.store import lookback
from auditor.store.connection import Connection, Row
from auditor.store.lineage import name_stem
from auditor.store.tokens import metadata_of


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens to read; empty conditions hold for all."""

    environments: tuple[str, ...] = ()
    label: str | None = None
    """Of one token, which is read even where no source holds it any more; None: of all that are stored."""


_RECORDS: Final = f"""
with candidate as materialized (
    select distinct on (t.environment_id, t.owner, stem, t.scopes)
        t.environment_id, t.owner, {name_stem("t.name")} as stem, t.scopes, t.label, t.creation_date, t.last_used_date
    from token t join lookup l on l.token_id = t.id
    where t.outcome = 'found' and t.removed_at is null and t.enabled and t.owner is not null and t.name is not null
        and t.last_used_date >= t.creation_date and (t.expiration_date is null or t.expiration_date > $1)
        and l.failures = 0 and l.evident_at >= $2
        and ($4::text is null or t.owner in (select k.owner from token k where k.label = $4))
    order by t.environment_id, t.owner, stem, t.scopes, t.creation_date desc
), wanted as (
    select t.*, environment.name as environment
    from token t join environment on environment.id = t.environment_id
    where (cardinality($3::text[]) = 0 or environment.name = any ($3))
        and case when $4::text is null then t.removed_at is null else t.label = $4 end
), successor as materialized (
    select distinct on (t.id) t.id as token_id, c.label, c.creation_date, c.last_used_date
    from wanted t
    join candidate c on c.environment_id = t.environment_id and c.owner = t.owner and c.stem = {name_stem("t.name")}
    where c.creation_date > t.creation_date and c.scopes @> t.scopes
    order by t.id, c.creation_date desc
)
select t.*, l.first_evident_at, l.evident_at, coalesce(l.evidence, 0) as lookups, coalesce(l.misses, 0) as misses,
    coalesce(l.failures, 0) as failures, coalesce(l.reason, '') as reason,
    s.label as successor, s.creation_date as successor_created, s.last_used_date as successor_used
from wanted t
left join lookup l on l.token_id = t.id
left join successor s on s.token_id = t.id
order by t.environment, t.label
"""
"""Of each lineage and set of scopes only the newest token in use is a candidate, so that a lineage of thousands is not
compared with itself."""


async def records(
    connection: Connection, wanted: Filter, now: datetime, *, batch: int = 1000
) -> AsyncGenerator[Sequence[Record], None]:
    """Yield what is recorded of tokens, by environment and label, in batches.

    Reads through a cursor, so the caller holds a transaction open for as long as it reads.
    """
    # Every join is one of equality, and a table that just grew looks small enough to be gone through for every row.
    await connection.execute("set local enable_nestloop = off")
    rows = connection.cursor(_RECORDS, now, now - OLD_EVIDENCE, list(wanted.environments), wanted.label, prefetch=batch)
    is_planned = False
    gathered: list[Row] = []
    async for row in rows:
        if not is_planned:
            await _settle(connection)
            is_planned = True
        gathered.append(row)
        if len(gathered) == batch:
            yield await _with_uses(connection, gathered)
            gathered = []
    if gathered:
        yield await _with_uses(connection, gathered)
    if not is_planned:
        await _settle(connection)


async def _settle(connection: Connection) -> None:
    """Let later statements of the transaction be planned as ever."""
    await connection.execute("set local enable_nestloop = on")


async def risks(connection: Connection) -> Mapping[str, RiskSettings]:
    """Return how each environment's policy grades scopes, as the last sweep that ended applied it."""
    return {
        row["name"]: RiskSettings.model_validate_json(row["risk"])
        for row in await connection.fetch(
            """
            select distinct on (e.id) e.name, coalesce(p.document->'risk', '{}') as risk
            from environment e
            join sweep s on s.environment_id = e.id and s.finished_at is not null
            join policy p on p.digest = s.policy_digest
            order by e.id, s.id desc
            """
        )
    }


async def _with_uses(connection: Connection, rows: Sequence[Row]) -> Sequence[Record]:
    uses = await lookback.uses(connection, [row["id"] for row in rows])
    return [
        Record(
            environment=row["environment"],
            label=row["label"],
            token=None if row["returned_id"] is None else metadata_of(row),
            outcome=Outcome(row["outcome"]) if row["outcome"] else None,
            first_evident_at=row["first_evident_at"],
            evident_at=row["evident_at"],
            lookups=row["lookups"],
            misses=row["misses"],
            failures=row["failures"],
            reason=row["reason"],
            disabled_since=row["disabled_since"],
            is_stored=row["removed_at"] is None,
            uses=uses.get(row["id"], ()),
            successor=_successor(row),
        )
        for row in rows
    ]


def _successor(row: Row) -> Successor | None:
    label = row["successor"]
    return None if label is None else Successor(label, row["successor_created"], row["successor_used"])
