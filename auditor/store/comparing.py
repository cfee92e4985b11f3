"""Findings of rules that look at more than one token: of those that they speak of, and of those that they do not."""

from array import array
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

import msgspec

from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.token import Location
from auditor.policy.lifecycle import KnownFinding
from auditor.store.connection import Connection, Row
from auditor.store.findings import KNOWN_COLUMNS, Bearer, known_of
from auditor.store.rows import is_among
from auditor.store.tokens import locations_of, metadata_of, observation_of


class Held(msgspec.Struct, frozen=True, gc=False):
    """A stored token as the store holds it: what findings that no lookup of its own caused are told with."""

    id: int
    label: str
    name: str | None
    owner: str | None
    locations: tuple[Location, ...]
    is_stored: bool
    """Whether the last complete reading of the sources still held it."""
    misses: int
    """Evident lookups running that were missing."""
    observation: Observation | None
    """The last evident one; None where no lookup ever gave evidence."""
    last_found: TokenMetadata | None
    """What the last lookup that found it said."""
    tags: frozenset[str]
    """Those of the sources that hold it."""
    failures: int
    """Lookups running without evidence."""


class Standing(msgspec.Struct, frozen=True, gc=False):
    """An open finding with whom it is of."""

    finding: KnownFinding
    bearer: Bearer
    token: Held | None
    """None exactly when it is of no stored token."""


async def known(
    connection: Connection, environment: int, bearers: Sequence[Bearer], rules: Sequence[str]
) -> Mapping[Bearer, list[KnownFinding]]:
    """Return the findings of some rules, open and resolved, by whom they are of."""
    found: dict[Bearer, list[KnownFinding]] = {}
    for row in await connection.fetch(
        f"""
        select f.token_id, f.subject, {KNOWN_COLUMNS} from finding f
        where {is_among("f.token_id", "$2", "bigint")} and f.rule_id = any ($4::text[])
        union all
        select f.token_id, f.subject, {KNOWN_COLUMNS} from finding f
        where f.token_id is null and f.environment_id = $1 and f.subject = any ($3::text[])
            and f.rule_id = any ($4::text[])
        """,
        environment,
        [bearer for bearer in bearers if isinstance(bearer, int)],
        [bearer for bearer in bearers if isinstance(bearer, str)],
        rules,
    ):
        found.setdefault(_bearer(row), []).append(known_of(row))
    return found


async def rules_of_subjects(connection: Connection, environment: int) -> Sequence[str]:
    """Return the rules that have open findings of no stored token in an environment."""
    rows = await connection.fetch(
        """
        select distinct rule_id from finding
        where environment_id = $1 and status = 'open' and token_id is null order by 1
        """,
        environment,
    )
    return [row["rule_id"] for row in rows]


async def last_id(connection: Connection) -> int:
    """Return the id of the newest finding; 0 where there is none. Whatever is opened from now on has a higher one."""
    return int(await connection.fetchval("select coalesce(max(id), 0) from finding"))


async def standing(
    connection: Connection,
    environment: int,
    rules: Sequence[str],
    *,
    up_to: int,
    except_ids: Sequence[int],
    batch: int = 1000,
) -> AsyncGenerator[Sequence[Standing], None]:
    """Yield an environment's open findings of some rules in batches: those up to an id, less some.

    Which they are is settled at the first step; each batch is read only when it is asked for.
    """
    ids = array(
        "q",
        await connection.fetchval(
            """
            select coalesce(array_agg(f.id order by f.id), '{}') from finding f
            where f.environment_id = $1 and f.status = 'open' and f.rule_id = any ($2::text[]) and f.id <= $3
                and not exists (select from unnest($4::bigint[]) as e (id) where e.id = f.id)
            """,
            environment,
            rules,
            up_to,
            except_ids,
        ),
    )
    async for found in by_ids(connection, ids, batch=batch):
        yield found


async def by_ids(
    connection: Connection, ids: Sequence[int], *, batch: int = 1000, in_their_order: bool = False
) -> AsyncGenerator[Sequence[Standing], None]:
    """Yield findings in batches, by their ids; each batch is read only when it is asked for.

    The ids of a batch are those that follow one another; within it they rise, unless ``in_their_order``.
    """
    order = "array_position($1::bigint[], f.id)" if in_their_order else "f.id"
    for start in range(0, len(ids), batch):
        rows = await connection.fetch(
            f"""
            select f.token_id, f.subject, {KNOWN_COLUMNS}, {HELD_COLUMNS}
            from finding f left join token t on t.id = f.token_id left join lookup l on l.token_id = f.token_id
            where f.id = any ($1::bigint[]) order by {order}
            """,
            ids[start : start + batch],
        )
        yield [Standing(known_of(row), _bearer(row), None if row["token_id"] is None else held_of(row)) for row in rows]


async def held(connection: Connection, tokens: Sequence[int]) -> Mapping[int, Held]:
    """Return tokens as the store holds them, by id."""
    if not tokens:
        return {}
    rows = await connection.fetch(
        f"""
        select {HELD_COLUMNS} from token t left join lookup l on l.token_id = t.id where t.id = any ($1::bigint[])
        """,
        tokens,
    )
    return {row["held_id"]: held_of(row) for row in rows}


HELD_COLUMNS: Final = """
    t.id as held_id, t.label, t.public_id, t.places, t.tags, t.first_seen_at, t.disabled_since, t.outcome,
    t.returned_id, t.name, t.owner, t.enabled, t.personal_access_token, t.creation_date, t.modified_date,
    t.expiration_date, t.last_used_date, t.last_used_ip_address, t.scopes, t.additional_metadata,
    t.removed_at is null as is_stored, l.evident_at, l.misses, l.failures
"""
"""What ``held_of`` reads, of ``token t`` and ``lookup l``."""


def held_of(row: Row) -> Held:
    """Return a row of ``HELD_COLUMNS`` as a token."""
    return Held(
        row["held_id"],
        row["label"],
        row["name"],
        row["owner"],
        locations_of(row["places"]),
        row["is_stored"],
        row["misses"] or 0,
        None if row["outcome"] is None else observation_of(row, row["evident_at"] or row["first_seen_at"]),
        None if row["returned_id"] is None else metadata_of(row),
        frozenset(row["tags"]),
        row["failures"] or 0,
    )


def _bearer(row: Row) -> Bearer:
    number: int | None = row["token_id"]
    return str(row["subject"]) if number is None else number
