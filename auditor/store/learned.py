"""How many requests at once an environment was found to serve best: kept for the next sweep, of whichever process."""

from datetime import datetime, timedelta
from typing import Final

from auditor.store.connection import Connection

FRESH: Final = timedelta(days=30)
"""What was learned longer ago says little: a monthly timer still finds what its last sweep learned."""
_MUCH: Final = 0.25
"""A share by which a limit wanders by itself while its environment stays the same."""


def is_much_apart(one: int, other: int) -> bool:
    """Whether two limits tell of different capacities."""
    return abs(one - other) > max(1.0, _MUCH * other)


async def learned_limit(connection: Connection, environment: int, now: datetime) -> int | None:
    """Return what was last learned of an environment; None where that is too old or of another url."""
    return await _since(connection, environment, now - FRESH)


async def keep_limit(connection: Connection, environment: int, concurrency: int, now: datetime) -> bool:
    """Keep what was learned, by the owner of the environment; return whether that took a write.

    It takes none where the present row says much the same and is not about to get too old.
    """
    kept = await _since(connection, environment, now - FRESH / 2)
    if kept is not None and not is_much_apart(concurrency, kept):
        return False
    await connection.execute(
        """
        insert into learned_limit (environment_id, url, concurrency, learned_at)
        select id, url, $2, $3 from environment where id = $1
        on conflict (environment_id)
        do update set url = excluded.url, concurrency = excluded.concurrency, learned_at = excluded.learned_at
        """,
        environment,
        concurrency,
        now,
    )
    return True


async def _since(connection: Connection, environment: int, since: datetime) -> int | None:
    number: int | None = await connection.fetchval(
        """
        select concurrency from learned_limit join environment on id = environment_id
        where environment_id = $1 and learned_limit.url = environment.url and learned_at >= $2
        """,
        environment,
        since,
    )
    return number
