"""When live tokens expire: counted by day, and one by one. Live as DT-EXP-06 has it: stored, found, not disabled."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from pydantic import ValidationError

from auditor.policy.document import RuleSettings
from auditor.policy.forecast import Ending
from auditor.policy.rules import exp_06
from auditor.policy.rules.exp_06 import Cliff
from auditor.store.connection import Connection

LIVE: Final = """
    t.removed_at is null and t.outcome = 'found' and t.enabled is distinct from false
    and (t.expiration_date is null or t.expiration_date > $1)
"""
"""A condition on ``token t``; ``$1`` is now."""
_DAY: Final = "(t.expiration_date at time zone 'UTC')::date"


class Ends(msgspec.Struct, frozen=True):
    """One environment's live tokens, counted."""

    environment: str
    active: int
    """Whenever they expire, if ever."""
    days: Mapping[date, int]
    """How many expire on a day, in UTC."""
    cliff: Cliff
    """What its policy holds to be too many on one day, as the last sweep that ended applied it."""


async def ends(connection: Connection, now: datetime, until: date, environments: Sequence[str] = ()) -> Sequence[Ends]:
    """Return every environment that was swept, by name, with the tokens that expire from now up to a day.

    ``environments`` narrows it; empty means all.
    """
    days: dict[str, dict[date, int]] = {}
    active: dict[str, int] = {}
    for row in await connection.fetch(
        f"""
        select environment.name, counted.day, counted.tokens
        from (
            select t.environment_id, case when {_DAY} <= $2::date then {_DAY} end as day, count(*) as tokens
            from token t where {LIVE} group by 1, 2
        ) counted
        join environment on environment.id = counted.environment_id
        """,
        now,
        until,
    ):
        active[row["name"]] = active.get(row["name"], 0) + row["tokens"]
        if row["day"] is not None:
            days.setdefault(row["name"], {})[row["day"]] = row["tokens"]
    return [
        Ends(name, active.get(name, 0), days.get(name, {}), cliff)
        for name, cliff in (await _cliffs(connection)).items()
        if not environments or name in environments
    ]


async def endings(
    connection: Connection, environment: str, days: Sequence[date], now: datetime, *, batch: int = 1000
) -> AsyncGenerator[Sequence[Ending], None]:
    """Yield an environment's live tokens that expire on some days, in batches, by day, owner and label.

    Reads through a cursor, so the caller holds a transaction open for as long as it reads.
    """
    gathered: list[Ending] = []
    async for row in connection.cursor(
        f"""
        select t.label, t.name, t.owner, t.expiration_date
        from token t
        where t.environment_id = (select id from environment where name = $2) and {LIVE} and {_DAY} = any ($3::date[])
        order by {_DAY}, t.owner collate "C", t.label collate "C"
        """,
        now,
        environment,
        list(days),
        prefetch=batch,
    ):
        gathered.append(Ending(environment, row["label"], row["name"], row["owner"], row["expiration_date"]))
        if len(gathered) == batch:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


async def _cliffs(connection: Connection) -> Mapping[str, Cliff]:
    """Return what each environment's last finished sweep held to be a cliff, by name."""
    return {
        row["name"]: _cliff(row["settings"])
        for row in await connection.fetch(
            """
            select * from (
                select distinct on (e.id) e.name, coalesce(p.document->'rules'->$1, '{}') as settings
                from environment e
                join sweep s on s.environment_id = e.id and s.finished_at is not null
                join policy p on p.digest = s.policy_digest
                order by e.id, s.id desc
            ) latest
            order by name
            """,
            exp_06.RULE.id,
        )
    }


def _cliff(settings: str) -> Cliff:
    """Read the rule's parameters out of its table; the defaults where an earlier version of auditor knew others."""
    try:
        return Cliff.model_validate(RuleSettings.model_validate_json(settings).model_extra or {})
    except ValidationError:
        return Cliff()
