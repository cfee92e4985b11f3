"""What rules look back at: a token's states and uses from earlier sweeps, read only where there is something to see."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from auditor.model.history import USES_SHOWN, State, Use
from auditor.model.lookup import Outcome, TokenMetadata
from auditor.store.connection import Connection

STATES_READ: Final = 100
"""Of a token at most: the most recent ones."""

_metadata: Final = msgspec.json.Decoder(TokenMetadata).decode


async def states(
    connection: Connection, tokens: Sequence[int], since: datetime, until: datetime | None = None
) -> Mapping[int, tuple[State, ...]]:
    """Return the states that tokens were in since an instant, by token id, oldest first.

    The first is the one in force at that instant, where the token was known then. ``until`` leaves out later ones.
    """
    found: dict[int, list[State]] = {}
    if not tokens:
        return {}
    for row in await connection.fetch(
        """
        select c.token_id, c.at, c.outcome, c.state, c.misses, c.previous_at
        from unnest($1::bigint[]) as wanted (id)
        cross join lateral (
            select * from token_change where token_id = wanted.id and at >= coalesce(
                (select max(at) from token_change where token_id = wanted.id and at <= $2), $2)
                and ($4::timestamptz is null or at <= $4)
            order by at desc limit $3
        ) c
        order by c.token_id, c.at
        """,
        tokens,
        since,
        STATES_READ,
        until,
    ):
        outcome = Outcome(row["outcome"])
        found.setdefault(row["token_id"], []).append(
            State(
                row["at"],
                outcome,
                _metadata(row["state"]) if outcome is Outcome.FOUND else None,
                row["misses"],
                row["previous_at"],
            )
        )
    return {token: tuple(seen) for token, seen in found.items()}


async def uses(
    connection: Connection, tokens: Sequence[int], until: datetime | None = None
) -> Mapping[int, tuple[Use, ...]]:
    """Return the last uses of tokens, by token id, oldest first; ``until`` leaves out what sweeps saw later."""
    found: dict[int, list[Use]] = {}
    if not tokens:
        return {}
    for row in await connection.fetch(
        """
        select u.token_id, u.observed_at, u.used_at, u.ip_address
        from unnest($1::bigint[]) as wanted (id)
        cross join lateral (
            select * from token_use
            where token_id = wanted.id and ($3::timestamptz is null or observed_at <= $3)
            order by observed_at desc limit $2
        ) u
        order by u.token_id, u.observed_at
        """,
        tokens,
        USES_SHOWN,
        until,
    ):
        found.setdefault(row["token_id"], []).append(Use(row["observed_at"], row["used_at"], row["ip_address"]))
    return {token: tuple(seen) for token, seen in found.items()}
