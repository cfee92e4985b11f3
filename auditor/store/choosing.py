"""What a sweep under a budget looks up, of what it has enrolled."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from auditor.model.lookup import TokenMetadata
from auditor.store.connection import Connection
from auditor.store.tokens import metadata_of


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An enrolled token that the sweep has not looked up."""

    fingerprint: bytes
    last_found: TokenMetadata | None
    """What the last lookup that found it said."""
    looked_up_at: datetime | None
    """When any sweep looked it up last."""
    changed_at: datetime | None
    """When anything but its use last changed."""


class Left(msgspec.Struct, frozen=True):
    """How many enrolled tokens a sweep did not look up."""

    unchosen: int
    """Left to later sweeps."""
    unread: int
    """Chosen, but no longer there when the sources were read again."""
    unmet: int
    """Of both, those that no sweep has ever looked up."""


async def candidates(connection: Connection, sweep: int, environment: int) -> AsyncGenerator[Candidate, None]:
    """Yield what the sweep has enrolled and not looked up. Reads through a cursor, in the caller's transaction."""
    async for row in connection.cursor(
        """
        select e.fingerprint as enrolled, t.*, l.at as looked_up_at
        from enrolment e
        left join token t on t.environment_id = $2 and t.fingerprint = e.fingerprint
        left join lookup l on l.token_id = t.id
        where e.sweep_id = $1 and e.choice = 0
        """,
        sweep,
        environment,
        prefetch=1000,
    ):
        yield Candidate(
            row["enrolled"],
            None if row["returned_id"] is None else metadata_of(row),
            row["looked_up_at"],
            row["changed_at"],
        )


async def pass_over_done(connection: Connection, sweep: int, environment: int) -> int:
    """Mark what the sweep looked up before it was cut short; return how many of the enrolled tokens that are."""
    return int(
        await connection.fetchval(
            """
            with done as (
                update enrolment e set choice = 2 from token t join lookup l on l.token_id = t.id
                where e.sweep_id = $1 and t.environment_id = $2 and t.fingerprint = e.fingerprint and l.sweep_id = $1
                returning 1
            )
            select count(*) from done
            """,
            sweep,
            environment,
        )
    )


async def choose(connection: Connection, sweep: int, fingerprints: Sequence[bytes]) -> None:
    """Mark tokens to be looked up."""
    await connection.execute(
        "update enrolment set choice = 1 where sweep_id = $1 and fingerprint = any ($2::bytea[])", sweep, fingerprints
    )


async def take(connection: Connection, sweep: int, fingerprints: Sequence[bytes]) -> Sequence[bytes]:
    """Return which of some tokens are to be looked up, each once however often it is met."""
    return [
        row["fingerprint"]
        for row in await connection.fetch(
            """
            update enrolment set choice = 2 where sweep_id = $1 and choice = 1 and fingerprint = any ($2::bytea[])
            returning fingerprint
            """,
            sweep,
            fingerprints,
        )
    ]


async def count_left(connection: Connection, sweep: int, environment: int) -> Left:
    """Count what was not looked up, once the sources were read for the second time."""
    row = await connection.fetchrow(
        """
        select count(*) filter (where e.choice = 0) as unchosen, count(*) filter (where e.choice = 1) as unread,
            count(*) filter (where e.choice < 2 and t.id is null) as unmet
        from enrolment e left join token t on t.environment_id = $2 and t.fingerprint = e.fingerprint
        where e.sweep_id = $1
        """,
        sweep,
        environment,
    )
    assert row is not None
    return Left(row["unchosen"], row["unread"], row["unmet"])
