"""How each environment stands, read for reports and metrics."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from auditor.model.sweep import RuleStanding, SweepSummary
from auditor.policy.revocation import OLD_EVIDENCE
from auditor.store.connection import Connection, Row
from auditor.store.sweeps import SUMMARY_COLUMNS, summary_of


class EnvironmentState(msgspec.Struct, frozen=True, kw_only=True):
    """One environment as the database knows it."""

    name: str
    url: str
    last_sweep: SweepSummary | None
    """The last sweep that ended, however, or, before any has, the one under way; None: never swept."""
    last_complete_at: datetime | None
    """When a sweep last gave evidence about every token."""
    stored_tokens: int
    """Tokens that the sources still hold."""
    unknown_tokens: int
    """Of these, tokens whose last lookup was no evidence, or too old, or that were never looked up."""
    outdated_tokens: int
    """Of the unknown ones, those of which the last lookup was evidence that is too old (``OLD_EVIDENCE``)."""
    policy_name: str
    """Of the policy that this sweep applied; empty where there is none."""
    rules: Mapping[str, RuleStanding]
    """What that policy made of each rule here."""
    written_rules: Sequence[Any] = ()
    """The ``[[rule]]`` tables of that policy, as it was recorded."""


async def environments(connection: Connection, now: datetime) -> Sequence[EnvironmentState]:
    """Return every environment that was ever swept, by name; evidence is as old as it is at ``now``."""
    sweeps = {
        row["environment"]: row
        for row in await connection.fetch(
            f"""
            select {SUMMARY_COLUMNS}, policy.document->>'name' as policy_name,
                policy.document->'rule' as written_rules,
                sweep.rules
            from environment
            cross join lateral (
                select coalesce(
                    (select id from sweep s where s.environment_id = environment.id and s.finished_at is not null
                        order by id desc limit 1),
                    (select id from sweep s where s.environment_id = environment.id order by id desc limit 1)
                ) as id
            ) last
            join sweep on sweep.id = last.id
            join policy on policy.digest = sweep.policy_digest
            """
        )
    }
    rows = await connection.fetch(
        """
        select e.name, e.url,
            (select s.finished_at from sweep s where s.environment_id = e.id and s.status = 'complete'
                order by s.id desc limit 1) as last_complete_at,
            count(t.id) filter (where t.removed_at is null) as stored_tokens,
            count(t.id) filter (where t.removed_at is null
                and (l.outcome is null or l.outcome not in ('found', 'missing'))) as failed_tokens,
            count(t.id) filter (where t.removed_at is null
                and l.outcome in ('found', 'missing') and l.evident_at < $1) as outdated_tokens
        from environment e
        left join token t on t.environment_id = e.id
        left join lookup l on l.token_id = t.id
        group by e.id, e.name, e.url order by e.name
        """,
        now - OLD_EVIDENCE,
    )
    return [_state(row, sweeps.get(row["name"])) for row in rows]


def _state(row: Row, last: Row | None) -> EnvironmentState:
    return EnvironmentState(
        name=row["name"],
        url=row["url"],
        last_sweep=summary_of(last) if last else None,
        last_complete_at=row["last_complete_at"],
        stored_tokens=row["stored_tokens"],
        unknown_tokens=row["failed_tokens"] + row["outdated_tokens"],
        outdated_tokens=row["outdated_tokens"],
        policy_name=last["policy_name"] if last else "",
        rules=msgspec.json.decode(last["rules"], type=dict[str, RuleStanding]) if last else {},
        written_rules=msgspec.json.decode(last["written_rules"]) if last and last["written_rules"] else (),
    )


async def unknown_scopes(connection: Connection, shipped: Collection[str]) -> Mapping[str, Mapping[str, int]]:
    """Return, by environment, the scopes that are neither in ``shipped`` nor in the policy that was last applied there.

    Each with the number of stored tokens that hold it, the most frequent first.
    """
    found: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(
        """
        with said as (
            select distinct on (s.environment_id) s.environment_id, p.document->'risk'->'scopes' as scopes
            from sweep s join policy p on p.digest = s.policy_digest
            order by s.environment_id, s.id desc
        )
        select e.name, held.scope, count(*) as tokens
        from token t
        join environment e on e.id = t.environment_id
        cross join lateral unnest(t.scopes) as held (scope)
        left join said on said.environment_id = t.environment_id
        where t.removed_at is null and t.outcome = 'found' and held.scope <> all ($1::text[])
            and not coalesce(jsonb_exists(said.scopes, held.scope), false)
        group by e.name, held.scope order by e.name, tokens desc, held.scope
        """,
        list(shipped),
    ):
        found.setdefault(row["name"], {})[row["scope"]] = row["tokens"]
    return found
