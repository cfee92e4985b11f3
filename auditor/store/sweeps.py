"""Sweeps: one owner an environment, and an account that adds up."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from auditor.model.lookup import Outcome
from auditor.model.sweep import RuleStanding, SweepStatus, SweepSummary
from auditor.store.chain import linked
from auditor.store.connection import Connection, Row
from auditor.store.rows import as_json

INTERRUPTED: Final = "the sweep's process ended before it"

RESUMABLE: Final = timedelta(hours=6)
"""So long after its last batch a sweep that was cut short can go on."""
_LONGEST: Final = timedelta(hours=24)
"""So long after its beginning, too: what one account says is of about one time."""

_CLOCKS_APART: Final = timedelta(minutes=5)
"""How far apart the clocks of replicas may be."""


async def environment_id(connection: Connection, name: str, url: str) -> int:
    """Return the id of an environment, making its row when it is new and noting its url when that changed."""
    row = await connection.fetchrow("select id, url from environment where name = $1", name)
    if row is not None and row["url"] == url:
        return int(row["id"])
    return int(
        await connection.fetchval(
            """
            insert into environment (name, url) values ($1, $2)
            on conflict (name) do update set url = excluded.url
            returning id
            """,
            name,
            url,
        )
    )


async def known_id(connection: Connection, name: str) -> int | None:
    """Return the id of an environment; None where no sweep has made its row."""
    number: int | None = await connection.fetchval("select id from environment where name = $1", name)
    return number


async def last_enrolled(connection: Connection) -> dict[str, int]:
    """Return how many tokens the last ended sweep of each environment enrolled; those never swept are not in it."""
    rows = await connection.fetch(
        """
        select name, enrolled from environment, lateral (
            select enrolled from sweep where environment_id = environment.id and status <> 'running'
            order by id desc limit 1
        ) last
        """
    )
    return {row["name"]: row["enrolled"] for row in rows}


async def is_introduced(connection: Connection, environment: int) -> bool:
    """Whether hooks were told of an environment's first sweep."""
    return bool(
        await connection.fetchval("select introduced_at is not null from environment where id = $1", environment)
    )


async def introduce(connection: Connection, environment: int, now: datetime) -> None:
    """Note that hooks are told of an environment's first sweep."""
    await connection.execute("update environment set introduced_at = $2 where id = $1", environment, now)


async def first_started_at(connection: Connection, environment: int) -> datetime | None:
    """Return when the first sweep of an environment began."""
    at: datetime | None = await connection.fetchval(
        "select min(started_at) from sweep where environment_id = $1", environment
    )
    return at


async def resume(
    connection: Connection,
    environment: int,
    *,
    now: datetime,
    policy_digest: str,
    rules: Mapping[str, RuleStanding],
    self_lookup: bool,
) -> SweepSummary | None:
    """Take up the sweep that a process left unfinished and return its account; None where there is none to take up.

    The caller owns the environment. A sweep goes on only as what it began as: with the same policy and rules, at the
    same url, and soon enough (``RESUMABLE``). Which tokens it has looked up, their rows of ``lookup`` say; what the
    sources held is forgotten, since they are read anew.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            f"""
            update sweep set resumptions = resumptions + 1, recorded_at = $2
            from environment
            where sweep.environment_id = $1 and environment.id = $1 and sweep.status = 'running'
                and sweep.url = environment.url and sweep.policy_digest = $3 and sweep.rules = $4::jsonb
                and sweep.self_lookup = $5 and sweep.recorded_at >= $6 and sweep.started_at >= $7
            returning {SUMMARY_COLUMNS}
            """,
            environment,
            now,
            policy_digest,
            as_json(rules),
            self_lookup,
            now - RESUMABLE,
            now - _LONGEST,
        )
        if row is None:
            return None
        await _forget_enrolment(connection, row["id"])
        return summary_of(row)


async def begin(
    connection: Connection,
    environment: int,
    *,
    now: datetime,
    policy_digest: str,
    policy_document: bytes,
    rules: Mapping[str, RuleStanding],
    self_lookup: bool,
) -> int:
    """Open a sweep and return its id; the caller owns the environment.

    A sweep that is still marked running was cut short and is not taken up: it is closed as failed, what it recorded
    stays.
    """
    async with linked(connection, environment, now):
        await connection.execute(
            """
            insert into policy (digest, document, first_applied_at) values ($1, $2, $3) on conflict do nothing
            """,
            policy_digest,
            policy_document.decode(),
            now,
        )
        await connection.execute(
            """
            with died as (
                update sweep set status = 'failed', finished_at = $2,
                    failed = enrolled - found - missing - refused, batch = current_setting('auditor.batch')::bigint,
                    reasons = reasons || jsonb_build_object($3::text, 1)
                where environment_id = $1 and status = 'running'
                returning id
            )
            delete from enrolment using died where sweep_id = died.id
            """,
            environment,
            now,
            INTERRUPTED,
        )
        return int(
            await connection.fetchval(
                """
                insert into sweep (
                    environment_id, url, policy_digest, rules, self_lookup, started_at, recorded_at, status
                )
                select id, url, $2, $3, $4, $5, $5, 'running' from environment where id = $1 returning id
                """,
                environment,
                policy_digest,
                as_json(rules),
                self_lookup,
                now,
            )
        )


async def take_slot(connection: Connection, environment: int, slot: datetime, now: datetime) -> bool:
    """Take a slot of a schedule for an environment; False where a sweep, or another process, took it before.

    In the transaction that enqueues the sweep. A slot that the last sweep began after has been served by it, unless
    that began under a clock that was far ahead: until that time comes nothing would be swept.
    """
    taken = await connection.fetchval(
        """
        insert into schedule_slot (environment_id, slot)
        select $1, $2 where not exists (
            select 1 from sweep where environment_id = $1 and started_at between $2 and $3
        )
        on conflict do nothing returning true
        """,
        environment,
        slot,
        now + _CLOCKS_APART,
    )
    await connection.execute(
        "delete from schedule_slot where environment_id = $1 and slot < $2::timestamptz - interval '30 days'",
        environment,
        slot,
    )
    return bool(taken)


async def count(
    connection: Connection, sweep: int, outcomes: Mapping[Outcome, int], reasons: Mapping[str, int], now: datetime
) -> None:
    """Add a batch's outcomes to the account, in the batch's transaction; ``reasons`` replaces what stood there."""
    await connection.execute(
        """
        update sweep set enrolled = enrolled + $2, found = found + $3, missing = missing + $4,
            refused = refused + $5, failed = failed + $6, reasons = $7,
            recorded_at = $8
        where id = $1
        """,
        sweep,
        sum(outcomes.values()),
        outcomes.get(Outcome.FOUND, 0),
        outcomes.get(Outcome.MISSING, 0),
        outcomes.get(Outcome.REFUSED, 0),
        sum(number for outcome, number in outcomes.items() if outcome.is_failure),
        as_json(reasons),
        now,
    )


async def suspend(connection: Connection, sweep: int) -> SweepSummary:
    """Leave a sweep to whoever takes it up next, and return its account so far."""
    async with connection.transaction():
        await _forget_enrolment(connection, sweep)
        summary = await _last(connection, "sweep.id = $1", sweep)
    assert summary is not None
    return summary


async def _forget_enrolment(connection: Connection, sweep: int) -> None:
    await connection.execute("delete from enrolment where sweep_id = $1", sweep)


async def finish(
    connection: Connection,
    sweep: int,
    *,
    status: SweepStatus,
    source_problems: Mapping[str, str],
    standings: Mapping[str, RuleStanding],
    now: datetime,
    left: Mapping[str, int] | None = None,
) -> SweepSummary:
    """Close a sweep and return its account, in the block of ``linked``. The schema refuses one that does not add up.

    ``left`` is how many tokens it enrolled and did not look up, by reason; they count as failed.
    ``standings`` are those that its end settled; they take the place of what stood since it began.
    """
    row = await connection.fetchrow(
        f"""
        update sweep set status = $2, source_problems = $3, finished_at = $4, rules = rules || $5::jsonb,
            enrolled = enrolled + $6, failed = failed + $6, reasons = reasons || $7::jsonb,
            batch = nullif(current_setting('auditor.batch', true), '')::bigint
        from environment where sweep.id = $1 and environment.id = sweep.environment_id
        returning {SUMMARY_COLUMNS}
        """,
        sweep,
        status.value,
        as_json(source_problems),
        now,
        as_json(standings),
        sum((left or {}).values()),
        as_json(left or {}),
    )
    await _forget_enrolment(connection, sweep)
    assert row is not None
    return summary_of(row)


SUMMARY_COLUMNS: Final = """
    sweep.id, environment.name as environment, sweep.started_at, sweep.finished_at, sweep.status, sweep.enrolled,
    sweep.found, sweep.missing, sweep.refused, sweep.failed, sweep.reasons, sweep.source_problems,
    sweep.policy_digest, sweep.self_lookup
"""
"""What ``summary_of`` reads, of ``sweep`` joined with its ``environment``."""


def summary_of(row: Row) -> SweepSummary:
    """Return a row of ``SUMMARY_COLUMNS`` as a summary."""
    return SweepSummary(
        id=row["id"],
        environment=row["environment"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        status=SweepStatus(row["status"]),
        enrolled=row["enrolled"],
        found=row["found"],
        missing=row["missing"],
        refused=row["refused"],
        failed=row["failed"],
        reasons=msgspec.json.decode(row["reasons"], type=dict[str, int]),
        source_problems=msgspec.json.decode(row["source_problems"], type=dict[str, str]),
        policy_digest=row["policy_digest"],
        self_lookup=row["self_lookup"],
    )


async def latest(connection: Connection, environment: str) -> SweepSummary | None:
    """Return the last sweep of an environment, running or not; None before the first."""
    return await _last(connection, "environment.name = $1", environment)


async def _last(connection: Connection, condition: str, value: object) -> SweepSummary | None:
    """Return the last sweep that a condition holds for."""
    row = await connection.fetchrow(
        f"""
        select {SUMMARY_COLUMNS} from sweep join environment on environment.id = sweep.environment_id
        where {condition} order by sweep.id desc limit 1
        """,
        value,
    )
    return None if row is None else summary_of(row)
