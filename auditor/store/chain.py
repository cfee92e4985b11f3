"""The chain of hashes over an environment's history: each transaction that adds to it adds one link.

A link is the SHA-256 of its header, which names the link before it and the digest of the records that the transaction
wrote. docs/evidence.md describes the form; ``auditor.reports.evidence`` checks it.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from auditor.model.secret import TOKEN_FORMAT
from auditor.store.connection import Connection, Row

NOTHING_BEFORE: Final = "0" * 64
"""Stands for the link before the first."""

_ROUGHLY: Final = f"%dt0{'_' * 3}.{'_' * 24}.{'_' * 64}%"
"""Matches, among others, whatever ``TOKEN_FORMAT`` does; in PostgreSQL it costs a tenth of a regular expression."""

_USE: Final = 4


def _line(record: str, fields: Mapping[str, str]) -> str:
    """Return the SQL of a record's line, as ``json_build_object`` makes it: that looks up each value's type every time.

    ``fields`` are the SQL of numbers and ``jsonb``, of text that ``_quoted`` quotes, and of ``_word``s.
    """
    texts = [f"', \"{name}\" : ' || coalesce(({value})::text, 'null')" for name, value in fields.items()]
    return f"""'{{"record" : "{record}"' || {" || ".join(texts)} || '}}'"""


def _quoted(value: str) -> str:
    """Return the SQL of text or an instant as JSON."""
    return f"to_json({value})"


def _word(value: str) -> str:
    """Return the SQL of one of a few words, which the schema holds to them, as JSON."""
    return f"'\"' || {value} || '\"'"


_EVENT: Final = _line(
    "finding_event",
    {
        "id": "e.id",
        "finding": "e.finding_id",
        "token": "f.token_id",
        "public_id": _quoted("t.public_id"),
        "subject": _quoted("f.subject"),
        "rule": _quoted("f.rule_id"),
        "discriminator": _quoted("f.discriminator"),
        "sweep": "e.sweep_id",
        "at": _quoted("e.at"),
        "transition": _word("e.transition"),
        "severity": _word("e.severity"),
        "resolution": _word("e.resolution"),
        "message": _quoted("e.message"),
        "evidence": "e.evidence",
        "waiver": "e.waiver",
    },
)
_CHANGE: Final = _line(
    "token_change",
    {
        "token": "c.token_id",
        "public_id": _quoted("t.public_id"),
        "at": _quoted("c.at"),
        "previous_at": _quoted("c.previous_at"),
        "sweep": "c.sweep_id",
        "outcome": _word("c.outcome"),
        "misses": "c.misses",
        "state": "c.state",
    },
)
_TOKEN_USE: Final = _line(
    "token_use",
    {
        "token": "u.token_id",
        "observed_at": _quoted("u.observed_at"),
        "used_at": _quoted("u.used_at"),
        "ip_address": _quoted("u.ip_address"),
    },
)
_KINDS: Final = {
    "finding_event": f"""
        select e.batch, 1 as kind, e.id as first_key, null::timestamptz as second_key, {_EVENT} as line
        from finding_event e join finding f on f.id = e.finding_id left join token t on t.id = f.token_id
        where e.batch > 0
        """,
    "sweep": """
        select s.batch, 2, s.id, null, json_build_object(
            'record', 'sweep', 'id', s.id, 'policy', s.policy_digest, 'self_lookup', s.self_lookup,
            'started_at', s.started_at, 'finished_at', s.finished_at, 'status', s.status, 'enrolled', s.enrolled,
            'found', s.found, 'missing', s.missing, 'refused', s.refused, 'failed', s.failed, 'reasons', s.reasons,
            'source_problems', s.source_problems, 'rules', s.rules)::text
        from sweep s where s.batch > 0
        """,
    "token_change": f"""
        select c.batch, 3, c.token_id, c.at, {_CHANGE}
        from token_change c left join token t on t.id = c.token_id where c.batch > 0
        """,
    "token_use": f"""
        select u.batch, {_USE}, u.token_id, u.observed_at, {_TOKEN_USE}
        from token_use u where u.batch > 0
        """,
}
"""Of each table whose rows are records, the SQL of their lines."""
_RECORDS: Final = f"""
select batch, kind, first_key, second_key,
    -- to look is much cheaper than to replace, and to look for the dots of one first than for the whole of one
    case when line like '{_ROUGHLY}' and line ~ '{TOKEN_FORMAT.pattern}'
        then regexp_replace(line, '{TOKEN_FORMAT.pattern}', '\\1.…', 'g') else line end as line
from ({"union all".join(_KINDS.values())}) record
"""
"""Every record that a link may cover, as a line of JSON, without the secret part of what has the shape of a token."""
_HAS_WRITTEN: Final = "select " + " or ".join(
    f"exists (select from {table} where batch = $1 and batch > 0)" for table in _KINDS
)
"""Whether a transaction has written any record: most have not, and to look takes far less time than to read them."""
_ORDER: Final = "kind, first_key, second_key"
_DIGEST: Final = (
    f"encode(sha256(convert_to(coalesce(string_agg(line || E'\\n', '' order by {_ORDER}) filter (where {{}}), ''), "
    "'UTF8')), 'hex')"
)


@asynccontextmanager
async def linked(
    connection: Connection, environment: int, at: datetime, *, states: Mapping[str, object] | None = None
) -> AsyncIterator[None]:
    """Open a transaction whose records, written in the block, become one link of an environment's chain.

    No link is made where it wrote none, unless it ``states`` something that is no record, which is read when the block
    ends. The chain's head is locked last of all, and until the transaction ends, so it makes nobody wait for more than
    that.
    """
    is_within_another = connection.is_in_transaction()
    async with connection.transaction():
        batch = int(
            await connection.fetchval("select set_config('auditor.batch', nextval('history_batch')::text, true)")
        )
        yield
        await _seal(connection, environment, batch, at, states)
        if is_within_another:  # the setting lasts until that ends
            await connection.execute("select set_config('auditor.batch', '', true)")


async def _seal(
    connection: Connection, environment: int, batch: int, at: datetime, states: Mapping[str, object] | None
) -> None:
    if states is None and not await connection.fetchval(_HAS_WRITTEN, batch):
        return
    written = await _written(connection, environment, batch, states)
    count = written["records"] + written["uses"]
    if written["number"] is None:
        await _begin(connection, environment, at)
        written = await _written(connection, environment, batch, states)
    await _add(
        connection,
        environment,
        batch if count else None,
        at,
        Header(
            environment=written["name"],
            number=written["number"] + 1,
            previous=written["previous"],
            at=at,
            records=written["records"],
            digest=written["digest"],
            uses=written["uses"],
            uses_digest=written["uses_digest"] if written["uses"] else None,
            states=states,
        ),
    )


async def _written(connection: Connection, environment: int, batch: int, states: Mapping[str, object] | None) -> Row:
    """Return what a transaction has written and, where that becomes a link, the head that it follows on, locked.

    The records are read before the head is locked, whoever waits for it.
    """
    row = await connection.fetchrow(
        f"""
        with record as materialized (
            select count(*) filter (where not is_use) as records, {_DIGEST.format("not is_use")} as digest,
                count(*) filter (where is_use) as uses, {_DIGEST.format("is_use")} as uses_digest
            from (select *, kind = {_USE} as is_use from ({_RECORDS}) record where batch = $2) record
        )
        select record.*, head.*
        from record
        left join lateral (
            select e.name, h.number, encode(h.hash, 'hex') as previous
            from chain_head h join environment e on e.id = h.environment_id
            where e.id = $1 and (record.records + record.uses > 0 or $3)
            for update of h
        ) head on true
        """,
        environment,
        batch,
        states is not None,
    )
    assert row is not None
    return row


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a link says. Its hash is that of the JSON text it was made with, which is kept as it is."""

    environment: str
    number: int
    """From 0 on, without a gap."""
    previous: str
    """The hash of the link before, hex; ``NOTHING_BEFORE`` of the first."""
    at: datetime
    records: int
    """How many records it covers, less the uses that have a digest of their own."""
    digest: str
    """SHA-256 of their lines, each with its line feed, hex."""
    uses: int = 0
    """How many uses it covers beside, which may be removed one day, as a later link then states."""
    uses_digest: str | None = None
    """SHA-256 of the lines of the uses, where there are any."""
    states: Mapping[str, object] | None = None
    """What it says beside."""


async def _begin(connection: Connection, environment: int, at: datetime) -> None:
    """Make an environment's first link, which states how many records are older than the chain and not covered."""
    is_first = await connection.fetchval(
        """
        insert into chain_head (environment_id, number, hash) values ($1, 0, '') on conflict do nothing returning true
        """,
        environment,
    )
    if not is_first:
        return
    row = await connection.fetchrow(
        """
        select e.name,
            (select count(*) from finding_event v join finding f on f.id = v.finding_id
                where f.environment_id = e.id and v.batch = 0) as finding_event,
            (select count(*) from sweep s where s.environment_id = e.id and s.batch = 0) as sweep,
            (select count(*) from token_change c join token t on t.id = c.token_id
                where t.environment_id = e.id and c.batch = 0) as token_change,
            (select count(*) from token_use u join token t on t.id = u.token_id
                where t.environment_id = e.id and u.batch = 0) as token_use
        from environment e where e.id = $1
        """,
        environment,
    )
    assert row is not None
    earlier = {kind: row[kind] for kind in ("finding_event", "sweep", "token_change", "token_use")}
    await _add(
        connection,
        environment,
        None,
        at,
        Header(
            environment=row["name"],
            number=0,
            previous=NOTHING_BEFORE,
            at=at,
            records=0,
            digest=hashlib.sha256().hexdigest(),
            states={"begins": "the chain; it does not cover the records that were there before it", "earlier": earlier},
        ),
    )


async def _add(connection: Connection, environment: int, batch: int | None, at: datetime, header: Header) -> None:
    text = msgspec.json.encode(header)
    await connection.execute(
        """
        with link as (
            insert into chain_link (environment_id, number, batch, at, header, hash) values ($1, $2, $3, $4, $5, $6)
        )
        update chain_head set number = $2, hash = $6 where environment_id = $1
        """,
        environment,
        header.number,
        batch,
        at,
        text.decode(),
        hashlib.sha256(text).digest(),
    )


class Head(msgspec.Struct, frozen=True):
    """The last link of a chain: whoever knows it can tell later whether the chain was cut or made anew."""

    environment: str
    number: int
    hash: str
    """Hex."""


async def heads(connection: Connection, environments: Sequence[str] = ()) -> Sequence[Head]:
    """Return the heads of the chains of some environments, by name; empty for all."""
    return [
        Head(row["name"], row["number"], row["hash"])
        for row in await connection.fetch(
            """
            select e.name, h.number, encode(h.hash, 'hex') as hash
            from chain_head h join environment e on e.id = h.environment_id
            where cardinality($1::text[]) = 0 or e.name = any ($1) order by e.name
            """,
            list(environments),
        )
    ]


async def uses_removed_through(connection: Connection, environment: str) -> int:
    """Return the number of the last link that may have lost its uses, as those before it; -1 where none has."""
    through: int = await connection.fetchval(
        "select h.uses_through from chain_head h join environment e on e.id = h.environment_id where e.name = $1",
        environment,
    )
    return through


class Link(msgspec.Struct, frozen=True):
    """A link as it is kept."""

    header: bytes
    hash: str


async def links(
    connection: Connection, environment: str, since: datetime | None = None, until: datetime | None = None
) -> AsyncGenerator[Link, None]:
    """Yield the links of an environment that were made between two instants, in order, and those between them.

    Reads through a cursor, so the caller holds a transaction open for as long as it reads; so do the others here.
    """
    async for row in connection.cursor(
        f"select header, encode(hash, 'hex') as hash from chain_link where {_RANGE} order by number",
        environment,
        since,
        until,
        prefetch=1000,
    ):
        yield Link(row["header"].encode(), row["hash"])


async def records(
    connection: Connection, environment: str, since: datetime | None = None, until: datetime | None = None
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the lines of the records of the same links, in the order of the chain, each with the number of its link."""
    async for row in connection.cursor(
        f"""
        select link.number, record.line from chain_link link join ({_RECORDS}) record on record.batch = link.batch
        where link.{_RANGE} order by link.number, {_ORDER}
        """,
        environment,
        since,
        until,
        prefetch=1000,
    ):
        yield row["number"], row["line"].encode()


_OF: Final = "environment_id = (select id from environment where name = $1)"
_RANGE: Final = f"""{_OF}
    and number >= coalesce((select min(number) from chain_link where {_OF} and at >= $2), case when $2::timestamptz
        is null then 0 else 9223372036854775807 end)
    and number <= coalesce((select max(number) from chain_link where {_OF} and at <= $3), case when $3::timestamptz
        is null then 9223372036854775807 else -1 end)"""


async def policies(connection: Connection, digests: Sequence[str]) -> Mapping[str, bytes]:
    """Return the contents of policies, by digest: JSON without blanks, keys in order."""
    return {
        row["digest"]: msgspec.json.encode(msgspec.json.decode(row["document"]), order="deterministic")
        for row in await connection.fetch(
            "select digest, document from policy where digest = any ($1::text[])", list(digests)
        )
    }


async def stray(connection: Connection) -> Mapping[str, int]:
    """Return how many records belong to no link, by kind; kinds without any are left out."""
    row = await connection.fetchrow(
        f"""
        select {
            ", ".join(
                f"(select count(*) from {kind} r where (r.batch is null {_OVER.get(kind, '')} or r.batch > 0 "
                f"and not exists (select from chain_link l where l.batch = r.batch))) as {kind}"
                for kind in _KINDS
            )
        }
        """
    )
    assert row is not None
    return {kind: row[kind] for kind in _KINDS if row[kind]}


_OVER: Final = {"sweep": "and r.status <> 'running'"}
"""What makes a record one that should be in a link by now, where not every record is."""


async def unlike_history(connection: Connection, *, most: int) -> Sequence[str]:
    """Return the keys of findings that do not stand as their last event says, at most so many of them."""
    return [
        row["key"]
        for row in await connection.fetch(
            """
            select concat_ws('/', n.name, coalesce(t.label, f.subject), f.rule_id, nullif(f.discriminator, '')) as key
            from finding f
            join environment n on n.id = f.environment_id
            left join token t on t.id = f.token_id
            left join lateral (
                select * from finding_event e where e.finding_id = f.id order by e.id desc limit 1
            ) e on true
            where e.id is null or e.batch > 0 and (
                f.severity, f.message, f.evidence, f.status = 'resolved', coalesce(f.resolution, '')
            ) is distinct from (
                e.severity, e.message, e.evidence, e.transition = 'resolved', coalesce(e.resolution, '')
            )
            order by f.id limit $1
            """,
            most,
        )
    ]
