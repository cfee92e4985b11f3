"""Puts an environment's stored tokens beside one another, for the rules that look at more than one.

Each function yields candidates in batches, with whom a finding about one would be of. They read through a cursor, so
the caller holds a transaction open for as long as it reads; PostgreSQL sorts and groups, on disk where need be.
``apart_from`` are the ids of tokens that a rule is not applied to: no candidate is of one, and no share includes it.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import asyncpg
import msgspec

from auditor.policy.fleet import ExpiredToken, ExpiryWindow, Generation, NamedToken, OwnerHoldings, StoredCopies
from auditor.store.comparing import HELD_COLUMNS, Held, held_of
from auditor.store.connection import Connection, Row
from auditor.store.findings import Bearer
from auditor.store.lineage import name_stem
from auditor.store.tokens import locations_of

ENVIRONMENT: Final = "environment"
"""The subject of a finding that is of the environment as a whole."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMESAKES: Final = 5

T = TypeVar("T")
Candidates = AsyncGenerator[Sequence[tuple[Bearer, msgspec.Struct]], None]

_FOUND: Final = (
    "t.environment_id = $1 and t.removed_at is null and t.outcome = 'found' and t.enabled is distinct from false"
)
_LIVE: Final = f"{_FOUND} and (t.expiration_date is null or t.expiration_date > $2)"
_APPLIED: Final = "not exists (select from unnest($3::bigint[]) as a (id) where a.id = t.id)"
_STEM: Final = name_stem("t.name", "$4::text")


async def problem_of_pattern(connection: Connection, pattern: str) -> str | None:
    """Return why PostgreSQL cannot read a regular expression, or None where it can."""
    try:
        async with connection.transaction():
            await connection.fetchval("select '' ~ ('(?:' || $1::text || ').*$')", pattern)
    except asyncpg.InvalidRegularExpressionError as error:
        return str(error)
    return None


async def count_unseen(connection: Connection, environment: int) -> tuple[int, int]:
    """Return how many stored tokens no lookup ever gave evidence about, and how many are stored."""
    row = await connection.fetchrow(
        """
        select count(*) filter (where outcome is null) as unseen, count(*) as stored
        from token where environment_id = $1 and removed_at is null
        """,
        environment,
    )
    assert row is not None
    return row["unseen"], row["stored"]


async def compare_by_hash(connection: Connection) -> None:
    """Keep PostgreSQL, in the connection's transaction, from comparing each token with each.

    On a table that just grew it takes a few rows for all there are, and loops over them: time squared.
    """
    await connection.execute("set local enable_nestloop = off")


async def held_tokens(connection: Connection, environment: int, *, batch: int = 1000) -> AsyncGenerator[Held, None]:
    """Yield every stored token of an environment as the store holds it."""
    async for row in connection.cursor(
        f"""
        select {HELD_COLUMNS} from token t left join lookup l on l.token_id = t.id
        where t.environment_id = $1 and t.removed_at is null
        """,
        environment,
        prefetch=batch,
    ):
        yield held_of(row)


async def expired_tokens(
    connection: Connection, environment: int, now: datetime, apart_from: Sequence[int], *, stem: str
) -> Candidates:
    """Yield the expired tokens of every lineage, each with a successor where there is one."""
    query = f"""
        with expired as (
            select t.id, t.owner, {_STEM} as stem, t.scopes, t.expiration_date, t.last_used_date from token t
            where {_FOUND} and t.expiration_date <= $2 and t.owner is not null and t.name is not null and {_APPLIED}
        ), kinds as (
            select distinct owner, stem, scopes from expired
        ), live as (
            select t.owner, {_STEM} as stem, t.scopes, min(t.label) as label from token t
            where {_LIVE} and t.owner in (select owner from kinds) and t.name is not null group by 1, 2, 3
        ), succeeded as (
            select k.owner, k.stem, k.scopes, min(l.label) as successor
            from kinds k join live l on l.owner = k.owner and l.stem = k.stem and l.scopes @> k.scopes group by 1, 2, 3
        )
        select e.id, e.expiration_date, e.last_used_date, s.successor
        from expired e left join succeeded s on s.owner = e.owner and s.stem = e.stem and s.scopes = e.scopes
        """

    def candidate(row: Row) -> tuple[Bearer, ExpiredToken]:
        return row["id"], ExpiredToken(row["expiration_date"], row["last_used_date"], row["successor"])

    async for batch in _read(connection, candidate, query, environment, now, apart_from, stem):
        yield batch


async def generations(
    connection: Connection, environment: int, now: datetime, apart_from: Sequence[int], *, stem: str
) -> Candidates:
    """Yield the live tokens that have a live successor, each with the next one."""
    query = f"""
        with dated as (
            select t.id, t.label, t.owner, t.name, t.scopes, t.creation_date, t.last_used_date from token t
            where {_LIVE} and t.owner is not null and t.name is not null and t.creation_date is not null
        )
        select t.id, t.last_used_date, t.successor, t.successor_creation_date from (
            select t.id, t.last_used_date, lead(t.label) over ages as successor,
                lead(t.creation_date) over ages as successor_creation_date
            from (
                select t.id, t.label, t.owner, {_STEM} as stem, t.scopes, t.creation_date, t.last_used_date from dated t
                where (t.owner, t.scopes) in (select owner, scopes from dated group by 1, 2 having count(*) > 1)
            ) t
            window ages as (partition by t.owner, t.stem, t.scopes order by t.creation_date, t.id)
        ) t
        where t.successor is not null and {_APPLIED}
        """

    def candidate(row: Row) -> tuple[Bearer, Generation]:
        return row["id"], Generation(row["last_used_date"], row["successor"], row["successor_creation_date"])

    async for batch in _read(connection, candidate, query, environment, now, apart_from, stem):
        yield batch


async def expiry_windows(
    connection: Connection, environment: int, now: datetime, apart_from: Sequence[int], *, days: int
) -> Candidates:
    """Yield the spans of days in which live tokens expire."""
    query = f"""
        select number, tokens, active from (
            select floor(((t.expiration_date at time zone 'UTC')::date - date 'epoch') / $4::float8)::integer as number,
                count(*) as tokens, (sum(count(*)) over ())::bigint as active
            from token t where {_LIVE} and {_APPLIED} group by 1
        ) span
        where number is not null order by number
        """

    def candidate(row: Row) -> tuple[Bearer, ExpiryWindow]:
        return ENVIRONMENT, ExpiryWindow(_EPOCH + timedelta(days=days) * row["number"], row["tokens"], row["active"])

    async for batch in _read(connection, candidate, query, environment, now, apart_from, days):
        yield batch


async def owner_holdings(
    connection: Connection, environment: int, now: datetime, apart_from: Sequence[int]
) -> Candidates:
    """Yield every owner of live tokens."""
    query = f"""
        with active as (select t.owner from token t where {_LIVE} and {_APPLIED})
        select owner, count(*) as tokens, (select count(*) from active) as active
        from active where owner is not null group by owner
        """

    def candidate(row: Row) -> tuple[Bearer, OwnerHoldings]:
        return ENVIRONMENT, OwnerHoldings(row["owner"], row["tokens"], row["active"])

    async for batch in _read(connection, candidate, query, environment, now, apart_from):
        yield batch


async def named_tokens(
    connection: Connection, environment: int, now: datetime, apart_from: Sequence[int], *, shared_only: bool
) -> Candidates:
    """Yield live tokens with their namesakes; all of them, or only those that have any."""
    query = f"""
        with live as (
            select t.id, t.label, t.name from token t where {_LIVE}
        ), shared as (
            select name, count(*) as bearers, (array_agg(label order by label))[:{_NAMESAKES + 1}] as labels from live
            where name in (select name from live group by name having count(*) > 1) group by name
        )
        select t.id, t.label, t.name, coalesce(s.bearers, 1) as bearers, s.labels
        from live t left join shared s on s.name = t.name
        where {_APPLIED} and (s.name is not null or not $4::boolean)
        """

    def candidate(row: Row) -> tuple[Bearer, NamedToken]:
        others = [label for label in row["labels"] or () if label != row["label"]]
        return row["id"], NamedToken(row["name"], row["bearers"], tuple(others[:_NAMESAKES]))

    async for batch in _read(connection, candidate, query, environment, now, apart_from, shared_only):
        yield batch


async def stored_copies(
    connection: Connection,
    environment: int,
    _now: datetime,
    apart_from: Sequence[int],
    *,
    environments: Sequence[str],
) -> Candidates:
    """Yield the stored tokens whose secret or id is stored more than once.

    Other environments count where ``environments`` names them; fingerprints of all are made with one key. No two
    tokens of an environment have one label, so of those that claim an id all but one go by another label than it: few
    tokens are looked at closely.
    """
    query = f"""
        with mine as materialized (
            select t.id, t.label, t.public_id, t.places, t.fingerprint from token t
            where t.environment_id = $1 and t.removed_at is null and (
                cardinality(t.places) > 1 or t.public_id <> t.label
                or exists (
                    select from token o where o.fingerprint = t.fingerprint and o.environment_id <> $1
                    order by o.fingerprint, o.environment_id limit 1
                )
            )
        ), others as (
            select m.id, (
                select array_agg(o.environment_id) from token o
                where o.fingerprint = m.fingerprint and o.environment_id <> $1 and o.removed_at is null
            ) as environments
            from mine m
        ), elsewhere as (
            select m.id, array_agg(e.name order by e.name) as environments
            from others m cross join unnest(m.environments) as o (environment_id)
            join environment e on e.id = o.environment_id and e.name = any ($2::text[])
            where m.environments is not null
            group by m.id
        ), claimed as (
            select c.id, c.label, c.places, c.labels from (
                select t.id, t.label, t.places, array_agg(t.label) over (
                    partition by t.public_id order by t.label rows between unbounded preceding and unbounded following
                ) as labels
                from token t
                where t.environment_id = $1 and t.removed_at is null
                    and t.public_id in (select public_id from mine where public_id <> label)
            ) c
            where cardinality(c.labels) > 1
        )
        select t.id, t.label, t.places, coalesce(e.environments, '{{}}') as environments, t.labels
        from (
            select coalesce(m.id, c.id) as id, coalesce(m.label, c.label) as label,
                coalesce(m.places, c.places) as places, c.labels
            from mine m full join claimed c on c.id = m.id
        ) t left join elsewhere e on e.id = t.id
        where (cardinality(t.places) > 1 or e.id is not null or t.labels is not null) and {_APPLIED}
        """

    def candidate(row: Row) -> tuple[Bearer, StoredCopies]:
        others = tuple(label for label in row["labels"] or () if label != row["label"])
        return row["id"], StoredCopies(locations_of(row["places"]), tuple(row["environments"]), others)

    async for batch in _read(connection, candidate, query, environment, list(environments), apart_from):
        yield batch


async def _read(
    connection: Connection, candidate: Callable[[Row], tuple[Bearer, T]], query: str, *args: object, batch: int = 1000
) -> AsyncGenerator[Sequence[tuple[Bearer, T]], None]:
    gathered: list[tuple[Bearer, T]] = []
    async for row in connection.cursor(query, *args, prefetch=batch):
        gathered.append(candidate(row))
        if len(gathered) == batch:
            yield gathered
            gathered = []
    if gathered:
        yield gathered
