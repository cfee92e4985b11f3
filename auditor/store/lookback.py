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
    connection: Connection, tokens: Sequence[int], since: datetime | None = None, until: datetime | None = None
) -> Mapping[int, tuple[Use, ...]]:
    """Return the last uses of tokens, by token id, oldest first; ``until`` leaves out what sweeps saw later.

    With ``since`` also those that sweeps saw from then on, less the ones that only repeat: of a day on which nothing
    else happened the first, and else each that came from another address than its neighbours or after a day or more.
    A token that is used in every sweep has hundreds, and what happened weeks ago stands before its last ones.
    """
    found: dict[int, list[Use]] = {}
    if not tokens:
        return {}
    for row in await connection.fetch(
        """
        select u.token_id, u.observed_at, u.used_at, u.ip_address
        from unnest($1::bigint[]) as wanted (id)
        cross join lateral (
            select least(min(observed_at), $4) as since from (
                select observed_at from token_use
                where token_id = wanted.id and ($3::timestamptz is null or observed_at <= $3)
                order by observed_at desc limit $2
            ) newest
        ) first
        cross join lateral (
            select *,
                row_number() over (order by observed_at desc) as newest,
                lag(used_at) over seen as used_before, lag(ip_address) over seen as address_before,
                lead(used_at) over seen as used_after, lead(ip_address) over seen as address_after
            from token_use
            where token_id = wanted.id and ($3::timestamptz is null or observed_at <= $3)
                and observed_at >= coalesce(
                    (select max(observed_at) from token_use where token_id = wanted.id and observed_at <= first.since),
                    first.since)
            window seen as (order by observed_at)
        ) u
        where newest <= $2 or used_before is null
            or used_at::date <> used_before::date
            or used_at - used_before not between interval '0' and interval '1 day'
            or used_after - used_at not between interval '0' and interval '1 day'
            or ip_address is distinct from address_before
            or (used_after is not null and ip_address is distinct from address_after)
        order by u.token_id, u.observed_at
        """,
        tokens,
        USES_SHOWN,
        until,
        since,
    ):
        found.setdefault(row["token_id"], []).append(Use(row["observed_at"], row["used_at"], row["ip_address"]))
    return {token: tuple(seen) for token, seen in found.items()}
