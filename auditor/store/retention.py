"""What does not stay: removes, a batch at a time, what is older than it is kept.

Uses are in the chain of evidence, so their removal is a link of it, and that link takes over the uses that stay.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import takewhile
from typing import Final

from auditor.store.chain import linked
from auditor.store.connection import Connection, Pool, Row

AT_ONCE: Final = 5000
"""Rows that one transaction removes, about."""
_LINKS_AT_ONCE: Final = 1000
_LOCK: Final = 0x7265_7461_696E  # "retain" in ASCII

_OLD_ALERT: Final = """
    a.at < $1 and not exists (
        select from delivery d left join delivery g on g.alert_id = d.digest_id and g.hook = d.hook
        where d.alert_id = a.id and (d.state in ('held', 'pending') or g.state = 'pending')
    )
"""
_IS_SUPERSEDED: Final = """
    exists (
        select from token_use later
        where later.token_id = u.token_id and later.observed_at > u.observed_at and later.observed_at < $1
    )
"""
"""Whether a use is not the last one of its token before the time from which on uses are kept."""


@asynccontextmanager
async def alone(pool: Pool) -> AsyncIterator[Connection | None]:
    """Be the only process that removes anything, for the length of the block; yields None where another is."""
    async with pool.acquire() as connection:  # which gives up its locks when it goes back
        is_alone = await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK)
        yield connection if is_alone else None


async def remove_alerts(connection: Connection, before: datetime) -> int:
    """Delete alerts that nothing is to be done about any more, with their attempts; return how many, one batch."""
    rows = await connection.fetch(
        f"delete from alert where id in (select a.id from alert a where {_OLD_ALERT} limit $2) returning 1",
        before,
        AT_ONCE,
    )
    return len(rows)


async def remove_queue_log(connection: Connection, before: datetime) -> int:
    """Delete what the queue's log says of before; return how many lines, one batch. It is in the order of ids."""
    rows = await connection.fetch(
        """
        delete from queue_log where created < $1 and id in (select id from queue_log order by id limit $2) returning 1
        """,
        before,
        AT_ONCE,
    )
    return len(rows)


async def outdated(connection: Connection, before: datetime) -> Sequence[int]:
    """Return the ids of the environments whose uses were not looked through yet up to an instant."""
    rows = await connection.fetch(
        """
        select h.environment_id from chain_head h
        join lateral (
            select at from chain_link l where l.environment_id = h.environment_id and l.number > h.uses_through
            order by l.number limit 1
        ) first on first.at < $1
        order by h.environment_id
        """,
        before,
    )
    return [row["environment_id"] for row in rows]


async def remove_uses(connection: Connection, environment: int, before: datetime, now: datetime) -> int | None:
    """Remove the uses of the oldest links that were made before an instant, less the last one of each token.

    Return how many, one batch; None where no link of the environment is older. A link covers all of its uses or none,
    so those that stay go over to the new link, unaltered. Links from before uses had a digest of their own keep theirs.
    """
    rows = await connection.fetch(
        """
        select number, at, batch, coalesce((header::json->>'uses')::integer, 0) as uses from chain_link
        where environment_id = $1
            and number > (select uses_through from chain_head where environment_id = $1)
        order by number limit $2
        """,
        environment,
        _LINKS_AT_ONCE,
    )
    taken: list[Row] = []
    uses = 0
    for row in takewhile(lambda row: row["at"] < before, rows):
        if uses and uses + row["uses"] > AT_ONCE:
            break
        taken.append(row)
        uses += row["uses"]
    if not taken:
        return None
    through = taken[-1]["number"]
    if not uses:
        await _note(connection, environment, through, None)
        return 0
    batches = [row["batch"] for row in taken if row["uses"]]
    states: dict[str, object] = {}
    async with linked(connection, environment, now, states=states):
        removed = await connection.fetch(
            f"delete from token_use u where u.batch = any ($2::bigint[]) and {_IS_SUPERSEDED} returning 1",
            before,
            batches,
        )
        carried = await connection.fetch(
            """
            update token_use set batch = current_setting('auditor.batch')::bigint
            where batch = any ($1::bigint[]) returning 1
            """,
            batches,
        )
        states["uses_removed"] = {
            "through": through,
            "before": before,
            "removed": len(removed),
            "carried": len(carried),
        }
        await _note(connection, environment, through, before)
    return len(removed)


async def _note(connection: Connection, environment: int, through: int, before: datetime | None) -> None:
    await connection.execute(
        """
        update chain_head set uses_through = greatest(uses_through, $2), uses_since = greatest(uses_since, $3)
        where environment_id = $1
        """,
        environment,
        through,
        before,
    )


async def agreed(pool: Pool, now: datetime) -> datetime:
    """Return the earlier of an instant and the database's own: no clock that is ahead removes anything by itself."""
    async with pool.acquire() as connection:
        of_database: datetime = await connection.fetchval("select now()")
    return min(now, of_database)


async def count_alerts(connection: Connection, before: datetime) -> int:
    """Return how many alerts ``remove_alerts`` would delete in the end."""
    counted: int = await connection.fetchval(f"select count(*) from alert a where {_OLD_ALERT}", before)
    return counted


async def count_queue_log(connection: Connection, before: datetime) -> int:
    """Return how many lines ``remove_queue_log`` would delete in the end."""
    counted: int = await connection.fetchval("select count(*) from queue_log where created < $1", before)
    return counted


async def count_uses(connection: Connection, before: datetime) -> int:
    """Return how many uses ``remove_uses`` would remove in the end, of all environments."""
    counted: int = await connection.fetchval(
        f"""
        select count(*) from chain_head h
        cross join lateral (
            select coalesce((
                select number from chain_link l
                where l.environment_id = h.environment_id and l.number > h.uses_through and l.at >= $1
                order by number limit 1
            ), h.number + 1) as number
        ) first_kept
        join chain_link l on l.environment_id = h.environment_id
            and l.number > h.uses_through and l.number < first_kept.number and (header::json->>'uses') is not null
        join token_use u on u.batch = l.batch
        where {_IS_SUPERSEDED}
        """,
        before,
    )
    return counted
