"""Stored tokens: enrolment in a sweep, the latest evidence about each, its changes and its uses."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from auditor.model.lookup import Lookup, Observation, Outcome, TokenMetadata
from auditor.model.token import PLACES_LIMIT, Location
from auditor.store.connection import Connection, Row, fetch_planned_anew
from auditor.store.rows import as_json, bytes_in_json, is_among, recordset, row_type

_UNIT: Final = "\x1f"
_NO_TAGS: Final[frozenset[str]] = frozenset()


class Enrolment(msgspec.Struct, frozen=True, gc=False):
    """A stored token as the sources gave it, with every place that one batch met it at."""

    fingerprint: bytes
    """Keyed, 16 bytes: stands for the secret wherever the secret must not be."""
    public_id: str | None
    locations: tuple[Location, ...]
    tags: frozenset[str]


class KnownToken(msgspec.Struct, frozen=True, gc=False):
    """What the store holds of a token from earlier sweeps."""

    id: int
    label: str
    first_seen_at: datetime
    previous: Observation | None
    """The last evident observation; None where no lookup ever gave evidence. Places and tags are those of a replay;
    read for a sweep, which has them from the sources, it is without them."""
    misses: int
    """Evident lookups running that were missing."""
    failures: int
    """Lookups running without evidence."""
    changed_at: datetime | None = None
    """When anything but use last changed; None where no lookup ever gave evidence."""
    last_found: TokenMetadata | None = None
    """What the last lookup that found it said."""
    uses: int = 0
    """How many uses sweeps saw."""
    notable_use_at: datetime | None = None
    """When a sweep saw the last use that was out of the ordinary."""
    is_back: bool = False
    """Whether sweeps before this one found that it was stored no longer."""
    last_sweep: int | None = None
    """The sweep that looked it up last."""
    looked_up_at: datetime | None = None
    """When it did."""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One token's part of a batch, to be written."""

    enrolment: Enrolment
    known: KnownToken | None
    label: str
    lookup: Lookup
    observation: Observation | None
    """Present exactly when the lookup is evidence."""
    is_changed: bool
    """Whether anything but use differs from the previous observation, or there is none."""
    is_used: bool
    """Whether the date or address of the last use moved."""
    is_notable_use: bool = False
    """Whether that use was out of the ordinary."""
    is_use_withdrawn: bool = False
    """Whether the last use that was known is not told of any more."""


async def enrol(
    connection: Connection, sweep: int, environment: int, batch: Sequence[Enrolment], at: datetime
) -> list[tuple[Enrolment, KnownToken | None]]:
    """Enrol a batch and return those that this sweep meets for the first time, each with what is known of it.

    A secret that the sweep has met before only gains its further places, up to ``PLACES_LIMIT``. ``at`` dates the
    previous observations that have no date of their own.
    """
    new = await meet(connection, sweep, batch)
    known = await known_of(connection, environment, [entry.fingerprint for entry in new], at)
    return [(entry, known.get(entry.fingerprint)) for entry in new]


async def meet(connection: Connection, sweep: int, batch: Sequence[Enrolment]) -> Sequence[Enrolment]:
    """Enrol a batch and return those of it that this sweep meets for the first time."""
    rows = await connection.fetch(
        f"""
        with met as (
            insert into enrolment (sweep_id, fingerprint, places, tags)
            select $1, fingerprint, places, coalesce(tags, '{{}}') from {recordset("$2", "o", _MET)}
            on conflict (sweep_id, fingerprint) do update set
                places = {_kept("enrolment.places || excluded.places")},
                tags = (select coalesce(array_agg(distinct t order by t), '{{}}')
                        from unnest(enrolment.tags || excluded.tags) t)
            returning fingerprint, xmax = 0 as is_new
        )
        select fingerprint from met where not is_new
        """,
        sweep,
        as_json(
            [_Met(bytes_in_json(entry.fingerprint), _places(entry), sorted(entry.tags) or None) for entry in batch]
        ),
    )
    met_before = {row["fingerprint"] for row in rows}
    return [entry for entry in batch if entry.fingerprint not in met_before]


def _kept(places: str) -> str:
    """Return the SQL of what is kept of an array of places, each once, in order; see ``PLACES_LIMIT``."""
    return f"""(
        select array_agg(p order by p collate "C") from (
            select p from (
                select p, row_number() over (partition by split_part(p, E'\\x1f', 1) order by p collate "C") as n
                from (select distinct unnest({places}) as p) met
            ) numbered
            order by n, p collate "C" limit {PLACES_LIMIT}
        ) kept
    )"""


_MET: Final = {"fingerprint": "bytea", "places": "text[]", "tags": "text[]"}
_Met: Final = row_type(_MET)


async def known_of(
    connection: Connection, environment: int, fingerprints: Sequence[bytes], at: datetime
) -> Mapping[bytes, KnownToken]:
    """Return what is known of tokens, by fingerprint; those never recorded are left out. ``at`` as for ``enrol``."""
    rows = await _fetch_known(connection, environment, fingerprints)
    return {row[0]: _known(row, at) for row in rows}


async def _fetch_known(connection: Connection, environment: int, fingerprints: Sequence[bytes]) -> Sequence[Row]:
    """Read tokens through their indexes: on tables that just grew, statistics lead to scans of the whole."""
    if not fingerprints:
        return ()
    return await fetch_planned_anew(
        connection,
        f"""
        select {_KNOWN}
        from (
            select * from token where environment_id = $1 and {is_among("fingerprint", "$2", "bytea")} offset 0
        ) t
        left join lateral (
            select evident_at, misses, failures, sweep_id, at from lookup where token_id = t.id offset 0
        ) l on true
        """,
        environment,
        fingerprints,
    )


async def record(
    connection: Connection, sweep: int, environment: int, batch: Sequence[Recorded]
) -> list[tuple[int, str]]:
    """Write a batch's lookups and what they changed; return each token's id and label, in the batch's order.

    Nothing of a token is written but its lookup where nothing changed.
    """
    ids = await _insert_new(connection, sweep, environment, [entry for entry in batch if entry.known is None])
    identities: list[tuple[int, str]] = []
    met_before: list[tuple[KnownToken, Recorded]] = []
    for entry in batch:
        known = entry.known
        if known is None:
            identities.append(ids[entry.enrolment.fingerprint])
            continue
        label = known.label if known.label == entry.label else await _relabel(connection, environment, known, entry)
        identities.append((known.id, label))
        met_before.append((known, entry))
    if met_before:
        await _update_known(connection, met_before)
        await _insert_changes(connection, sweep, met_before)
        await _insert_uses(connection, met_before)
        await _insert_withdrawals(connection, met_before)
        await _keep_lookups(connection, met_before)
        await _update_lookups(connection, sweep, met_before)
    return identities


async def settle_places(
    connection: Connection, sweep: int, environment: int, *, unread_sources: Sequence[str], now: datetime
) -> int:
    """At a sweep's end, bring the places of its tokens up to date; return how many tokens are stored no longer.

    A place in a source that was not read to its end is kept: not seeing it proves nothing.
    """
    unread = "array(select p from unnest(t.places) as p where split_part(p, E'\\x1f', 1) = any ($3::text[]))"
    await connection.execute(
        f"""
        with moved as (
            select t.id, f.places, e.tags
            from enrolment e
            join token t on t.environment_id = $2 and t.fingerprint = e.fingerprint
            cross join lateral (
                select case when cardinality($3::text[]) = 0 then e.places else {_kept(f"e.places || {unread}")} end
                    as places
            ) f
            where e.sweep_id = $1
                and (t.places is distinct from f.places or t.tags is distinct from e.tags or t.removed_at is not null)
        ), kept as (
            insert into token_before ({_BEFORE})
            select t.id, $4, t.label, t.places, t.tags, t.removed_at from token t join moved on moved.id = t.id
            on conflict do nothing
        )
        update token t set places = moved.places, tags = moved.tags, removed_at = null
        from moved where t.id = moved.id
        """,
        sweep,
        environment,
        list(unread_sources),
        now,
    )
    removed = await connection.fetch(
        f"""
        with gone as (
            select t.* from token t
            where t.environment_id = $2 and t.fingerprint in (
                    select fingerprint from token where environment_id = $2 and removed_at is null
                    except select fingerprint from enrolment where sweep_id = $1
                )
                and (cardinality($4::text[]) = 0 or not exists (
                    select 1 from unnest(t.places) p where split_part(p, E'\\x1f', 1) = any ($4::text[])))
        ), kept as (
            insert into token_before ({_BEFORE})
            select id, $3, label, places, tags, removed_at from gone on conflict do nothing
        )
        update token t set removed_at = $3 from gone where t.id = gone.id returning t.id
        """,
        sweep,
        environment,
        now,
        list(unread_sources),
    )
    return len(removed)


_EVIDENCE: Final = {"outcome": "text", "changed_at": "timestamptz", "disabled_since": "timestamptz"}
_METADATA: Final = {
    "returned_id": "text",
    "name": "text",
    "owner": "text",
    "enabled": "boolean",
    "personal_access_token": "boolean",
    "creation_date": "timestamptz",
    "modified_date": "timestamptz",
    "expiration_date": "timestamptz",
    "last_used_date": "timestamptz",
    "last_used_ip_address": "text",
    "scopes": "text[]",
    "additional_metadata": "jsonb",
}
"""The columns of ``token`` that a found token's metadata fill, with their types."""
_COLUMNS: Final = _EVIDENCE | _METADATA
_NAMES: Final = ", ".join(_COLUMNS)
_EMPTY: Final = {"tags": "'{}'", "lookup_reason": "''", "scopes": "'{}'", "additional_metadata": "'{}'"}
"""What stands in a column of which nothing was sent, where that is not null."""


def _sent(row: str, name: str) -> str:
    """Return the SQL of a column as a row that was sent has it."""
    return f"coalesce({row}.{name}, {_EMPTY[name]})" if name in _EMPTY else f"{row}.{name}"


def _value_for_update(name: str) -> str:
    """Return the SQL of a column's new value: a missing token keeps the metadata it last had."""
    if name == "changed_at":
        return "coalesce(o.changed_at, t.changed_at)"
    if name in _EVIDENCE:
        return f"o.{name}"
    return f"case o.outcome when 'missing' then t.{name} else {_sent('o', name)} end"


def _carried(token: TokenMetadata | None) -> Sequence[object]:
    """Return the columns of ``_METADATA``; None where there is nothing."""
    if token is None:
        return ()
    *values, scopes, additional = msgspec.structs.astuple(token)
    return (*values, scopes or None, additional or None)


_STATE: Final = """
case t.outcome when 'missing' then '{}'::jsonb else jsonb_strip_nulls(jsonb_build_object(
    'id', t.returned_id, 'name', t.name, 'owner', t.owner, 'enabled', t.enabled,
    'personal_access_token', t.personal_access_token, 'creation_date', t.creation_date,
    'modified_date', t.modified_date, 'expiration_date', t.expiration_date, 'scopes', to_jsonb(t.scopes),
    'additional_metadata', t.additional_metadata)) end
"""
"""What a change keeps of a row ``t`` of ``token``: the fields of ``TokenMetadata`` less its use, as JSON."""

_NEW: Final = {
    "fingerprint": "bytea",
    "label": "text",
    "public_id": "text",
    "places": "text[]",
    "tags": "text[]",
    "at": "timestamptz",
    "lookup_outcome": "text",
    "lookup_reason": "text",
} | _METADATA
_New: Final = row_type(_NEW)
_INSERT: Final = f"""
with offered as (
    select {", ".join(f"{_sent('u', name)} as {name}" for name in _NEW)},
        case when u.lookup_outcome in ('found', 'missing') then u.lookup_outcome end as outcome,
        case when u.lookup_outcome in ('found', 'missing') then u.at end as changed_at,
        case when not u.enabled then u.at end as disabled_since
    from {recordset("$3", "u", _NEW)}
), t as (
    insert into token (environment_id, fingerprint, label, public_id, places, tags, first_seen_at, uses, {_NAMES})
    select $1, fingerprint, label, public_id, places, tags, at, (last_used_date is not null)::integer, {_NAMES}
    from offered
    on conflict (environment_id, label) do nothing
    returning *
), change as (
    insert into token_change (token_id, at, sweep_id, outcome, state)
    select t.id, t.changed_at, $2, t.outcome, {_STATE} from t where t.outcome is not null
), use as (
    insert into token_use (token_id, observed_at, used_at, ip_address)
    select t.id, t.changed_at, t.last_used_date, t.last_used_ip_address from t where t.last_used_date is not null
), looked as (
    insert into lookup (
        token_id, sweep_id, at, outcome, reason, first_evident_at, evident_at, evidence, misses, failures
    )
    select t.id, $2, o.at, o.lookup_outcome, o.lookup_reason, t.changed_at, t.changed_at,
        (t.outcome is not null)::integer, (t.outcome is not distinct from 'missing')::integer,
        (t.outcome is null)::integer
    from t join offered o on o.fingerprint = t.fingerprint
)
select id, fingerprint from t
"""


async def _insert_new(
    connection: Connection, sweep: int, environment: int, new: Sequence[Recorded]
) -> dict[bytes, tuple[int, str]]:
    """Make the rows of tokens that were never met before, with their first change, use and lookup.

    Two secrets can claim one public id, one a damaged copy; the later one is told apart by its fingerprint.
    """
    made: dict[bytes, tuple[int, str]] = {}
    for told_apart_by in (0, _TOLD_APART_BY, None):
        left = [
            (entry, _told_apart(entry.label, entry.enrolment.fingerprint[:told_apart_by]))
            for entry in new
            if entry.enrolment.fingerprint not in made
        ]
        if not left:
            break
        labels = {entry.enrolment.fingerprint: label for entry, label in left}
        rows = await connection.fetch(_INSERT, environment, sweep, as_json([_new(*one) for one in left]))
        made.update({fingerprint: (number, labels[fingerprint]) for number, fingerprint in rows})
    return made


def _new(entry: Recorded, label: str) -> msgspec.Struct:
    return _New(
        bytes_in_json(entry.enrolment.fingerprint),
        label,
        entry.enrolment.public_id,
        _places(entry.enrolment),
        sorted(entry.enrolment.tags) or None,
        entry.lookup.at,
        entry.lookup.outcome.value,
        entry.lookup.reason or None,
        *_carried(entry.observation.metadata if entry.observation else None),
    )


_TOLD_APART_BY: Final = 4
"""Bytes of its fingerprint that tell a token apart whose label another one has; all of them where those do not."""


def _told_apart(label: str, fingerprint: bytes) -> str:
    return f"{label}~{fingerprint.hex()}" if fingerprint else label


async def _relabel(connection: Connection, environment: int, known: KnownToken, entry: Recorded) -> str:
    """Give a token that went by its fingerprint the id that a lookup told; rare, so by statements of its own."""
    try:
        async with connection.transaction():  # a savepoint
            return await _take_label(connection, environment, known, entry)
    except asyncpg.UniqueViolationError:  # another transaction was taking that label, and now has it
        return await _take_label(connection, environment, known, entry)


async def _take_label(connection: Connection, environment: int, known: KnownToken, entry: Recorded) -> str:
    return str(
        await connection.fetchval(
            f"""
            with kept as (
                insert into token_before ({_BEFORE})
                select id, $4, label, places, tags, removed_at from token where id = $2 on conflict do nothing
            )
            update token set label = case
                when exists (select 1 from token t where t.environment_id = $1 and t.label = $3)
                then $3 || '~' || left(encode(fingerprint, 'hex'), 8) else $3 end
            where id = $2 returning label
            """,
            environment,
            known.id,
            entry.label,
            entry.lookup.at,
        )
    )


_BEFORE: Final = "token_id, until, label, places, tags, removed_at"
"""The columns of ``token_before``."""


_MOVED: Final = {"id": "bigint", "is_used": "boolean", "notable_use_at": "timestamptz"} | _COLUMNS
_Moved: Final = row_type(_MOVED)
_UPDATE: Final = f"""
update token t set ({_NAMES}) = row ({", ".join(map(_value_for_update, _COLUMNS))}),
    uses = t.uses + o.is_used::integer, notable_use_at = coalesce(o.notable_use_at, t.notable_use_at)
from {recordset("$1", "o", _MOVED)}
where t.id = o.id
"""


async def _update_known(connection: Connection, batch: Sequence[tuple[KnownToken, Recorded]]) -> None:
    moved = [
        _Moved(
            known.id,
            entry.is_used,
            entry.observation.at if entry.is_notable_use else None,
            entry.observation.outcome.value,
            entry.observation.at if entry.is_changed else None,
            entry.observation.disabled_since,
            *_carried(entry.observation.metadata),
        )
        for known, entry in batch
        if entry.observation is not None and (entry.is_changed or entry.is_used or entry.is_use_withdrawn)
    ]
    if moved:
        await connection.execute(_UPDATE, as_json(moved))


async def _insert_changes(connection: Connection, sweep: int, batch: Sequence[tuple[KnownToken, Recorded]]) -> None:
    changed = [
        (known.id, known.misses, known.previous.at if known.previous else None)
        for known, entry in batch
        if entry.is_changed
    ]
    if changed:
        await connection.execute(
            f"""
            insert into token_change (token_id, at, sweep_id, outcome, misses, previous_at, state)
            select t.id, t.changed_at, $1, t.outcome, o.misses, o.previous_at, {_STATE}
            from unnest($2::bigint[], $3::integer[], $4::timestamptz[]) as o (id, misses, previous_at)
            join token t on t.id = o.id
            on conflict (token_id, at) do update set outcome = excluded.outcome, misses = excluded.misses,
                previous_at = excluded.previous_at, state = excluded.state
            """,
            sweep,
            *map(list, zip(*changed, strict=True)),
        )


async def _insert_uses(connection: Connection, batch: Sequence[tuple[KnownToken, Recorded]]) -> None:
    used = [(known.id, entry.lookup.at) for known, entry in batch if entry.is_used]
    if used:
        await connection.execute(
            """
            insert into token_use (token_id, observed_at, used_at, ip_address)
            select t.id, o.at, t.last_used_date, t.last_used_ip_address
            from unnest($1::bigint[], $2::timestamptz[]) as o (id, at) join token t on t.id = o.id
            on conflict do nothing
            """,
            [number for number, _at in used],
            [at for _number, at in used],
        )


async def _insert_withdrawals(connection: Connection, batch: Sequence[tuple[KnownToken, Recorded]]) -> None:
    withdrawn = [(known.id, entry.lookup.at) for known, entry in batch if entry.is_use_withdrawn]
    if withdrawn:
        await connection.execute(
            """
            insert into use_withdrawal (token_id, at)
            select * from unnest($1::bigint[], $2::timestamptz[]) on conflict do nothing
            """,
            [number for number, _at in withdrawn],
            [at for _number, at in withdrawn],
        )


async def _keep_lookups(connection: Connection, batch: Sequence[tuple[KnownToken, Recorded]]) -> None:
    """Keep the last lookup of tokens whose lookups begin to give evidence, cease to, or go on after a break."""
    turned = [
        (known.id, entry.lookup.at)
        for known, entry in batch
        if known.is_back or (known.failures == 0) != entry.lookup.outcome.is_evidence
    ]
    if turned:
        await connection.execute(
            """
            insert into lookup_before (token_id, until, outcome, reason, evident_at, failures)
            select l.token_id, o.at, l.outcome, l.reason, l.evident_at, l.failures
            from unnest($1::bigint[], $2::timestamptz[]) as o (id, at) join lookup l on l.token_id = o.id
            on conflict do nothing
            """,
            [number for number, _at in turned],
            [at for _number, at in turned],
        )


_LOOKED_UP: Final = {"token_id": "bigint", "at": "timestamptz", "outcome": "text", "reason": "text"}
_LookedUp: Final = row_type(_LOOKED_UP)


async def _update_lookups(connection: Connection, sweep: int, batch: Sequence[tuple[KnownToken, Recorded]]) -> None:
    await connection.execute(
        f"""
        update lookup l set sweep_id = $1, at = o.at, outcome = o.outcome, reason = coalesce(o.reason, ''),
            evident_at = case when o.outcome in ('found', 'missing') then o.at else l.evident_at end,
            first_evident_at = case when o.outcome in ('found', 'missing') then coalesce(l.first_evident_at, o.at)
                else l.first_evident_at end,
            evidence = l.evidence + (o.outcome in ('found', 'missing'))::integer,
            misses = case o.outcome when 'missing' then l.misses + 1 when 'found' then 0 else l.misses end,
            failures = case when o.outcome in ('found', 'missing') then 0 else l.failures + 1 end
        from {recordset("$2", "o", _LOOKED_UP)}
        where l.token_id = o.token_id
        """,
        sweep,
        as_json(
            [
                _LookedUp(known.id, entry.lookup.at, entry.lookup.outcome.value, entry.lookup.reason or None)
                for known, entry in batch
            ]
        ),
    )


_KNOWN: Final = f"""
    t.fingerprint, t.id, t.label, t.public_id, t.first_seen_at, t.outcome, t.changed_at, t.disabled_since, t.uses,
    t.notable_use_at, t.removed_at, l.evident_at, l.misses, l.failures, l.sweep_id, l.at, {", ".join(_METADATA)}
"""
"""What ``_known`` reads. By position, and without what a sweep does not use: it is read for every token."""
_METADATA_FROM: Final = 16
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


def _known(row: Row, at: datetime) -> KnownToken:
    _fingerprint, number, label, public_id, first_seen_at, said, changed_at, disabled_since = row[:8]
    uses, notable_use_at, removed_at, evident_at, misses, failures, sweep, looked_up_at = row[8:_METADATA_FROM]
    *metadata, scopes, additional = row[_METADATA_FROM:]
    last_found = previous = None
    if metadata[0] is not None:
        metadata += (tuple(scopes), _additional(additional))
        last_found = TokenMetadata(*metadata)
    if said is not None:
        outcome = _OUTCOMES[said]
        seen = last_found if outcome is Outcome.FOUND else None
        previous = Observation(
            "", label, evident_at or at, outcome, seen, public_id, (), _NO_TAGS, first_seen_at, disabled_since
        )
    return KnownToken(
        number,
        label,
        first_seen_at,
        previous,
        misses or 0,
        failures or 0,
        changed_at,
        last_found,
        uses,
        notable_use_at,
        removed_at is not None,
        sweep,
        looked_up_at,
    )


def observation_of(row: Row, at: datetime, environment: str = "") -> Observation:
    """Return a row of ``token`` that has evidence as the observation that it came from."""
    outcome = Outcome(row["outcome"])
    return Observation(
        environment=environment,
        label=row["label"],
        at=at,
        outcome=outcome,
        metadata=metadata_of(row) if outcome is Outcome.FOUND else None,
        public_id=row["public_id"],
        locations=locations_of(row["places"]),
        tags=frozenset(row["tags"]),
        first_seen_at=row["first_seen_at"],
        disabled_since=row["disabled_since"],
    )


def metadata_of(row: Row) -> TokenMetadata:
    """Return what the last lookup that found a token said, from its row of ``token``; ``returned_id`` must be there."""
    return TokenMetadata(
        id=row["returned_id"],
        name=row["name"],
        owner=row["owner"],
        enabled=row["enabled"],
        personal_access_token=row["personal_access_token"],
        creation_date=row["creation_date"],
        modified_date=row["modified_date"],
        expiration_date=row["expiration_date"],
        last_used_date=row["last_used_date"],
        last_used_ip_address=row["last_used_ip_address"],
        scopes=tuple(row["scopes"]),
        additional_metadata=_additional(row["additional_metadata"]),
    )


def _additional(text: str) -> dict[str, str]:
    return {} if text == "{}" else msgspec.json.decode(text, type=dict[str, str])


def locations_of(places: Sequence[str]) -> tuple[Location, ...]:
    """Return the places of a row as locations."""
    return tuple([Location(*place.split(_UNIT, 1)) for place in places])


def _places(entry: Enrolment) -> list[str]:
    locations: Sequence[Location] = entry.locations
    if len(locations) > 1:  # of most there is one
        locations = sorted({*locations})[:PLACES_LIMIT]
    return [f"{location.source}{_UNIT}{location.place}" for location in locations]
