"""An environment's own list of tokens, compared with what its stores hold."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from auditor.model.lookup import TokenMetadata
from auditor.store.connection import Connection, fetch_planned_anew
from auditor.store.rows import as_json, recordset

_token: Final = msgspec.json.Decoder(TokenMetadata).decode


class Unstored(msgspec.Struct, frozen=True, gc=False):
    """A listed token that no store of its environment holds."""

    token: TokenMetadata
    stored_for: tuple[str, ...]
    """Names of other environments for which a store does hold it."""


async def nameless(connection: Connection, environment: int) -> int:
    """Return how many stored tokens may be any of the list's: nothing is known of their id, nor are they missing."""
    return int(
        await connection.fetchval(
            """
            select count(*) from token t join lookup l on l.token_id = t.id
            where t.environment_id = $1 and t.removed_at is null and t.public_id is null and t.returned_id is null
                and l.outcome <> 'missing'
            """,
            environment,
        )
    )


async def begin(connection: Connection, environment: int) -> None:
    """Forget what an earlier sweep of the environment left behind when it was cut short."""
    await connection.execute(
        "delete from unstored where sweep_id in (select id from sweep where environment_id = $1)", environment
    )


async def gather(
    connection: Connection, sweep: int, environment: int, listed: Sequence[TokenMetadata], *, own_id: str | None
) -> None:
    """Keep those of a page of the list that no store of the environment holds, for ``unstored`` to read.

    ``own_id`` is left out: auditor's own token is where auditor's configuration says. Every source must have been read
    and every lookup of the sweep recorded before.
    """
    await fetch_planned_anew(
        connection,
        f"""
        insert into unstored (sweep_id, public_id, token, stored_for)
        select $1, o.id, o.token, coalesce((
            select array_agg(e.name order by e.name) from environment e where e.id <> $2 and exists (
                select from token t where t.environment_id = e.id and t.label = o.id and t.removed_at is null)
        ), '{{}}')
        from {recordset("$3", "o", {"id": "text", "token": "jsonb"})}
        left join lateral (
            select id from token t where t.environment_id = $2 and t.label = o.id and t.removed_at is null offset 0
        ) known on true
        left join lateral (
            select id from token t where t.environment_id = $2 and t.returned_id = o.id
                and t.returned_id is distinct from t.label and t.removed_at is null limit 1
        ) told on true
        where known.id is null and told.id is null
        on conflict do nothing
        """,
        sweep,
        environment,
        as_json([{"id": token.id, "token": token} for token in listed if token.id != own_id]),
    )


async def unstored(
    connection: Connection, sweep: int, *, batch: int = 1000
) -> AsyncGenerator[Sequence[Unstored], None]:
    """Yield what ``gather`` kept, in batches, by id."""
    last = ""
    while True:
        rows = await fetch_planned_anew(
            connection,
            """
            select public_id, token, stored_for from unstored
            where sweep_id = $1 and public_id > $2 order by public_id limit $3
            """,
            sweep,
            last,
            batch,
        )
        if not rows:
            return
        last = rows[-1]["public_id"]
        yield [Unstored(_token(row["token"]), tuple(row["stored_for"])) for row in rows]


async def end(connection: Connection, sweep: int) -> None:
    """Forget what was gathered in a sweep."""
    await connection.execute("delete from unstored where sweep_id = $1", sweep)
