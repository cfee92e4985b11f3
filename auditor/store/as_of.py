"""The past: lets a transaction read how everything stood at an earlier instant."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from auditor.store.connection import Connection

_REMEMBERING: Final = (11, 22)
"""The migrations from which on history holds something that it had not kept."""


async def look_back(connection: Connection, instant: datetime) -> None:
    """Let the rest of a transaction read the tables that reports are made of as they stood at an instant.

    Whatever statement it runs from here on finds the views of the schema ``as_of`` in place of the tables. Nothing can
    be written through them. What was written by the instant counts, that instant included.
    """
    await connection.execute(
        """
        select set_config('auditor.as_of', $1, true),
            set_config('search_path', 'as_of, ' || current_setting('search_path'), true)
        """,
        instant.isoformat(),
    )


async def exact_since(connection: Connection, environments: Sequence[str] = ()) -> datetime:
    """Return from when on history holds all that a report of some environments says, by name; empty for all.

    Earlier, the words of a finding are those of its last transition, places and tags of a token those it had then, and
    uses may have been removed, so that some tokens seem to have been used last before they were, or withdrawn.
    """
    since: datetime = await connection.fetchval(
        """
        select greatest(max(applied_at), (
            select max(h.uses_since) from chain_head h join environment e on e.id = h.environment_id
            where cardinality($1::text[]) = 0 or e.name = any ($1)
        ))
        from schema_migration where number = any ($2)
        """,
        list(environments),
        _REMEMBERING,
    )
    return since
