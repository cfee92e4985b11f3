"""What the database says of the auditor's own work: tokens that it cannot audit, and how regular full sweeps are."""

from array import array
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from auditor.model.account import Unaudited
from auditor.model.lookup import Lookup, Outcome
from auditor.store import comparing
from auditor.store.comparing import Held
from auditor.store.connection import Connection, fetch_planned_anew


class Failing(msgspec.Struct, frozen=True, gc=False):
    """A stored token whose last lookups gave no evidence."""

    token: Held
    unaudited: Unaudited


_BATCH: Final = 1000


async def failing(
    connection: Connection, environment: int, at_least: int, *, batch: int = _BATCH
) -> AsyncGenerator[Sequence[Failing], None]:
    """Yield the stored tokens of an environment whose last lookups, so many running, gave no evidence; in batches.

    Which they are is settled at the first step, and eight bytes are held for each.
    """
    ids = array(
        "q",
        await connection.fetchval(
            """
            select coalesce(array_agg(l.token_id order by l.token_id), '{}')
            from lookup l join token t on t.id = l.token_id
            where l.failures > 0 and l.failures >= $2 and t.environment_id = $1 and t.removed_at is null
            """,
            environment,
            at_least,
        ),
    )
    for start in range(0, len(ids), batch):
        some = ids[start : start + batch]
        tokens = await comparing.held(connection, some)
        rows = await fetch_planned_anew(
            connection,
            """
            select token_id, at, outcome, reason, evident_at, failures
            from lookup where token_id = any ($1::bigint[]) order by token_id
            """,
            some,
        )
        yield [
            Failing(
                tokens[row["token_id"]],
                Unaudited(
                    Lookup(Outcome(row["outcome"]), row["at"], None, row["reason"]), row["failures"], row["evident_at"]
                ),
            )
            for row in rows
        ]


async def last_full(connection: Connection, environment: int, *, before: int) -> tuple[datetime | None, bool]:
    """Return when the last full sweep of an environment before a sweep began, and that it was one.

    Where none was ever full: when the first of any kind began, and that it was not; None where there was none at all.
    """
    row = await connection.fetchrow(
        """
        select max(started_at) filter (where status = 'complete') as full_at, min(started_at) as first_at
        from sweep where environment_id = $1 and id < $2
        """,
        environment,
        before,
    )
    assert row is not None
    if row["full_at"] is not None:
        return row["full_at"], True
    return row["first_at"], False
