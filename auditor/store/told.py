"""What hooks were told of findings."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from auditor.model.finding import Alert, Severity
from auditor.store.attention import RANK
from auditor.store.connection import Connection

_KEY: Final = "concat_ws('/', e.name, coalesce(t.label, f.subject), f.rule_id, nullif(f.discriminator, ''))"
"""The key of ``finding f`` of ``environment e`` and ``token t``."""


async def standing(connection: Connection, hook: str, since: datetime) -> Sequence[Alert]:
    """Return the last alert that a hook has taken of each finding, oldest first, where it still stands.

    That is: since an instant, and of a finding that is open and that no waiver mutes.
    """
    rows = await connection.fetch(
        f"""
        select last.id, last.event, last.severity, last.environment, last.at, last.data from (
            select distinct on (a.data->>'key') a.*
            from delivery d join alert a on a.id = d.alert_id
            where d.hook = $1 and d.state = 'delivered' and a.at > $2 and a.event like 'finding.%'
            order by a.data->>'key', a.at desc, a.id
        ) last
        join environment e on e.name = last.environment
        join finding f on f.environment_id = e.id and f.rule_id = last.data->>'rule'
            and f.status = 'open' and f.waiver is null
        left join token t on t.id = f.token_id
        where last.event <> 'finding.resolved'
            and last.data->>'key' = {_KEY}
        order by last.at, last.id
        """,
        hook,
        since,
    )
    return [
        Alert(
            id=str(row["id"]),
            event=row["event"],
            severity=Severity(row["severity"]),
            environment=row["environment"],
            at=row["at"],
            data=msgspec.json.decode(row["data"], type=dict[str, Any]),
        )
        for row in rows
    ]


class Heard(msgspec.Struct, frozen=True):
    """What was heard of a finding since it was last opened."""

    worst: Severity
    """The worst that it was."""
    hooks: Sequence[str]
    """Those with an alert of it by itself, delivered or on its way, and of no end of it since."""


async def heard(connection: Connection, findings: Sequence[int]) -> Mapping[int, Heard]:
    """Return what was heard of findings, by their ids."""
    if not findings:
        return {}
    rows = await connection.fetch(
        f"""
        select f.id, coalesce(worst.severity, f.severity) as worst, coalesce(told.hooks, '{{}}') as hooks
        from finding f join environment e on e.id = f.environment_id left join token t on t.id = f.token_id
        left join lateral (
            select v.severity from finding_event v
            where v.finding_id = f.id and v.at >= (
                select max(b.at) from finding_event b
                where b.finding_id = f.id and b.transition in ('opened', 'reopened')
            )
            order by {RANK.format("v.severity")} desc limit 1
        ) worst on true
        left join lateral (
            select array_agg(last.hook) as hooks from (
                select distinct on (d.hook) d.hook, a.event from alert a join delivery d on d.alert_id = a.id
                where a.finding_key = {_KEY} and a.event like 'finding.%' and d.state <> 'dead'
                order by d.hook, a.at desc, a.id
            ) last where last.event <> 'finding.resolved'
        ) told on true
        where f.id = any ($1::bigint[])
        """,
        findings,
    )
    return {row["id"]: Heard(Severity(row["worst"]), row["hooks"]) for row in rows}
