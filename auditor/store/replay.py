"""Stored observations read again, as they are now or as they were at a past instant; writes nothing."""

from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from auditor.model.finding import Severity
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.store.connection import Connection, Row
from auditor.store.tokens import KnownToken, locations_of, metadata_of, observation_of

BATCH: Final = 2000
"""Tokens held in memory at once."""

_state: Final = msgspec.json.Decoder(TokenMetadata).decode


class Slice(NamedTuple):
    """Some of the tokens of one environment: those whose ids lie in a range."""

    environment: str
    first: int
    last: int


@asynccontextmanager
async def one_instant(connection: Connection) -> AsyncIterator[str]:
    """Read as the database stands now, for the length of the block; yields what lets other connections join."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield await connection.fetchval("select pg_export_snapshot()")


@asynccontextmanager
async def joined(connection: Connection, snapshot: str) -> AsyncIterator[None]:
    """Read what the connection reads that ``snapshot`` comes from, while that has it open."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"set transaction snapshot '{snapshot}'")
        yield


async def slices(connection: Connection, environments: Sequence[str], size: int) -> Sequence[Slice]:
    """Cut the stored tokens of environments into slices of about ``size`` tokens, in the order of environments."""
    cut: list[Slice] = []
    for row in await connection.fetch(
        """
        select e.name, min(t.id) as first, max(t.id) as last, count(*) as tokens
        from unnest($1::text[]) with ordinality as wanted (name, position)
        join environment e on e.name = wanted.name
        join token t on t.environment_id = e.id
        group by e.name, wanted.position order by wanted.position
        """,
        list(environments),
    ):
        first, last = row["first"], row["last"]
        width = -(-(last - first + 1) // -(-row["tokens"] // size))
        cut.extend(Slice(row["name"], start, min(start + width - 1, last)) for start in range(first, last + 1, width))
    return cut


async def present(connection: Connection, wanted: Slice) -> AsyncGenerator[Sequence[KnownToken], None]:
    """Yield the tokens of a slice that a source holds and that there is evidence of, in batches, by id.

    ``previous`` of each is its last evident observation. Reads through a cursor, so the caller holds a transaction
    open for as long as it reads.
    """
    rows = connection.cursor(
        """
        select t.*, l.evident_at, l.misses
        from token t
        join environment e on e.id = t.environment_id
        left join lookup l on l.token_id = t.id
        where e.name = $1 and t.id between $2 and $3 and t.removed_at is null and t.outcome is not null
        order by t.id
        """,
        *wanted,
        prefetch=BATCH,
    )
    batch: list[KnownToken] = []
    async for row in rows:
        batch.append(_as_now(row, wanted.environment))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _as_now(row: Row, environment: str) -> KnownToken:
    has_evidence = row["outcome"] is not None
    observation = observation_of(row, row["evident_at"] or row["changed_at"], environment) if has_evidence else None
    last_found = observation.metadata if observation else None
    if last_found is None and row["returned_id"] is not None:
        last_found = metadata_of(row)
    return KnownToken(
        row["id"],
        row["label"],
        row["first_seen_at"],
        observation,
        row["misses"] or 0,
        0,
        row["changed_at"],
        last_found,
        row["uses"],
        row["notable_use_at"],
    )


async def past(connection: Connection, wanted: Slice, at: datetime) -> AsyncGenerator[Sequence[KnownToken], None]:
    """As ``present``, but as the tokens were known at a past instant, from their changes and uses.

    What has no history is as it is now: the token's label, its places and its tags.
    """
    rows = connection.cursor(
        """
        select t.*, c.at as then_at, c.outcome as then_outcome, c.state as then_state,
            u.observed_at as then_observed_at, u.used_at as then_used_at, u.ip_address as then_ip_address,
            case when c.outcome = 'found' and (c.state->'enabled') = 'false' then (
                select min(d.at) from token_change d
                where d.token_id = t.id and d.at <= $4 and d.at > coalesce((
                    select max(b.at) from token_change b
                    where b.token_id = t.id and b.at <= $4
                        and (b.outcome = 'missing' or (b.state->'enabled') is distinct from 'false')
                ), '-infinity')
            ) end as then_disabled_since,
            case when c.outcome = 'missing' then (
                select b.state from token_change b
                where b.token_id = t.id and b.at <= $4 and b.outcome = 'found' order by b.at desc limit 1
            ) end as then_found
        from token t
        join environment e on e.id = t.environment_id
        left join lateral (
            select at, outcome, state from token_change
            where token_id = t.id and at <= $4 and t.changed_at > $4 order by at desc limit 1
        ) c on true
        left join lateral (
            select observed_at, used_at, ip_address from token_use
            where token_id = t.id and observed_at <= $4 and observed_at > coalesce(
                (select max(w.at) from use_withdrawal w where w.token_id = t.id and w.at <= $4), '-infinity')
            order by observed_at desc limit 1
        ) u on true
        where e.name = $1 and t.id between $2 and $3 and t.first_seen_at <= $4
            and (t.removed_at is null or t.removed_at > $4) and t.outcome is not null
            and (t.changed_at <= $4 or c.at is not null)
        order by t.id
        """,
        *wanted,
        at,
        prefetch=BATCH,
    )
    swept = await _swept(connection, wanted.environment, at)
    batch: list[KnownToken] = []
    async for row in rows:
        batch.append(_as_then(row, wanted.environment, swept))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _swept(connection: Connection, environment: str, at: datetime) -> Sequence[datetime]:
    """Return when the sweeps of an environment began that had looked at every token by an instant, oldest first."""
    return [
        row["started_at"]
        for row in await connection.fetch(
            """
            select s.started_at from sweep s join environment e on e.id = s.environment_id
            where e.name = $1 and s.finished_at <= $2 and s.status <> 'failed' order by s.started_at
            """,
            environment,
            at,
        )
    ]


def _as_then(row: Row, environment: str, swept: Sequence[datetime]) -> KnownToken:
    has_changed_since = row["then_at"] is not None
    changed_at: datetime = row["then_at"] if has_changed_since else row["changed_at"]
    outcome = Outcome(row["then_outcome"] if has_changed_since else row["outcome"])
    token = _found_then(row, outcome, has_changed_since=has_changed_since)
    seen = [changed_at, *swept[-1:], *([row["then_observed_at"]] if row["then_observed_at"] else ())]
    observation = Observation(
        environment=environment,
        label=row["label"],
        at=max(seen),
        outcome=outcome,
        metadata=token if outcome is Outcome.FOUND else None,
        public_id=row["public_id"],
        locations=locations_of(row["places"]),
        tags=frozenset(row["tags"]),
        first_seen_at=row["first_seen_at"],
        disabled_since=row["then_disabled_since"] if has_changed_since else row["disabled_since"],
    )
    # How often a token was missing by then is not kept; every sweep since it went missing saw it missing once more.
    misses = max(1, len(swept) - bisect_left(swept, changed_at)) if outcome is Outcome.MISSING else 0
    return KnownToken(
        row["id"],
        row["label"],
        row["first_seen_at"],
        observation,
        misses,
        0,
        changed_at,
        token,
        row["uses"],
        row["notable_use_at"],
    )


def _found_then(row: Row, outcome: Outcome, *, has_changed_since: bool) -> TokenMetadata | None:
    """Return what the last lookup by then that found the token said; None where none did."""
    if has_changed_since:
        text = row["then_state"] if outcome is Outcome.FOUND else row["then_found"]
        token = _state(text) if text is not None else None
    else:
        token = metadata_of(row) if row["returned_id"] is not None else None
    if token is None:
        return None
    return msgspec.structs.replace(
        token, last_used_date=row["then_used_at"], last_used_ip_address=row["then_ip_address"]
    )


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the store keeps of one token."""

    environment: str
    label: str
    known: KnownToken
    """With its last evident observation, if there is one."""
    is_stored: bool
    """Whether the last complete reading of the sources still held it."""


async def named(connection: Connection, name: str, environments: Sequence[str]) -> Sequence[Kept]:
    """Return the tokens that go by a label, a public id or a finding's key, in these environments; empty: in all."""
    environment, _, rest = name.partition("/")
    label = rest.partition("/")[0]
    rows = await connection.fetch(
        """
        select e.name as environment_name, t.*, l.evident_at, l.misses
        from token t
        join environment e on e.id = t.environment_id
        left join lookup l on l.token_id = t.id
        where (t.label = $1 or t.public_id = $1 or (e.name = $2 and t.label = $3))
            and (cardinality($4::text[]) = 0 or e.name = any ($4))
        order by e.name, t.label
        """,
        name,
        environment,
        label,
        list(environments),
    )
    return [
        Kept(
            environment=row["environment_name"],
            label=row["label"],
            known=_as_now(row, row["environment_name"]),
            is_stored=row["removed_at"] is None,
        )
        for row in rows
    ]


class OpenFinding(msgspec.Struct, frozen=True):
    """A finding that sweeps have open, of one token."""

    severity: Severity
    message: str
    opened_at: datetime


async def open_findings(connection: Connection, token: int) -> Mapping[str, Sequence[OpenFinding]]:
    """Return the open findings of a token, by rule."""
    found: dict[str, list[OpenFinding]] = {}
    for row in await connection.fetch(
        """
        select rule_id, severity, message, opened_at from finding
        where token_id = $1 and status = 'open' order by rule_id, discriminator
        """,
        token,
    ):
        found.setdefault(row["rule_id"], []).append(
            OpenFinding(Severity(row["severity"]), row["message"], row["opened_at"])
        )
    return found
