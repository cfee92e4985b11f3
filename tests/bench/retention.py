"""Measures what history takes and what removing it costs: a sweep a day of tokens that are all used, sealed as ever.

Prints bytes a row of the tables that grow with each sweep, and what the removal of most of the uses takes: time, WAL,
and the longest batch.

Run: ``python tests/bench/retention.py --tokens 1000 --days 1100``
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from auditor.model.retention import Retention
from auditor.model.sweep import SweepStatus
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules
from auditor.reports.evidence.verifying import verify_database
from auditor.store import chain, embedded, sweeps
from auditor.store.connection import Connection, Pool
from auditor.store.database import connected
from auditor.store.migrate import migrate
from auditor.sweep.pruning import prune, would_prune

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BATCH = 1000


async def live(connection: Connection, tokens: int, days: int) -> None:
    """Record a sweep a day that finds every token used since the one before, from one of a few addresses."""
    environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")
    document = PolicyDocument(name="bench")
    policy = Policy(document, list(rules().values()), feeds=Feeds(), environment_kind=None)
    await connection.execute(
        """
        insert into token (environment_id, fingerprint, label, places, tags, first_seen_at)
        select $1, substr(sha256(n::text::bytea), 1, 16), 'token ' || n, '{}', '{}', $3 from generate_series(1, $2) n
        """,
        environment,
        tokens,
        NOW - days * DAY,
    )
    first = await connection.fetchval("select min(id) from token")
    for day in range(days, 0, -1):
        at = NOW - day * DAY
        sweep = await sweeps.begin(
            connection,
            environment,
            now=at,
            policy_digest=policy.digest,
            policy_document=policy.content,
            rules=policy.standings,
            self_lookup=False,
        )
        for start in range(first, first + tokens, BATCH):
            async with chain.linked(connection, environment, at):
                await connection.execute(
                    """
                    insert into token_use (token_id, observed_at, used_at, ip_address)
                    select id, $2::timestamptz, $2::timestamptz - id * interval '1 second', '203.0.113.' || id % 4
                    from generate_series($1::bigint, $3::bigint) id
                    """,
                    start,
                    at,
                    min(start + BATCH, first + tokens) - 1,
                )
        async with chain.linked(connection, environment, at):
            await sweeps.finish(
                connection, sweep, status=SweepStatus.INCOMPLETE, source_problems={}, standings={}, now=at
            )


async def sizes(connection: Connection) -> Mapping[str, tuple[int, int]]:
    """Return rows and bytes, with their indexes, of what grows."""
    tables = ("token_use", "sweep", "chain_link")
    await connection.execute("vacuum analyze")
    return {
        table: (
            await connection.fetchval(f"select count(*) from {table}"),
            await connection.fetchval("select pg_total_relation_size($1::regclass)", table),
        )
        for table in tables
    }


class Batches:
    """Notes when each batch was done."""

    def __init__(self) -> None:
        self.at = [time.perf_counter()]
        self.rows = 0

    def removed(self, _kind: str, rows: int) -> None:
        self.at.append(time.perf_counter())
        self.rows += rows


async def measure(pool: Pool, tokens: int, days: int, kept: int) -> None:
    async with pool.acquire() as connection:
        began = time.perf_counter()
        await live(connection, tokens, days)
        print(f"{days} sweeps of {tokens} tokens recorded in {time.perf_counter() - began:.0f} s")
        for table, (rows, size) in (await sizes(connection)).items():
            print(f"{table}: {rows} rows, {size / rows:.0f} bytes a row, {size / 1e6:.0f} MB")
        kinds = Retention(uses=kept * DAY, alerts=None, queue_log=None)
        began = time.perf_counter()
        (would,) = await would_prune(connection, kinds, NOW)
        print(f"a dry run counts {would.rows} of before {would.before:%Y-%m-%d} in {time.perf_counter() - began:.1f} s")
        await connection.execute("checkpoint")
        before = await connection.fetchval("select pg_current_wal_lsn()::text")
        batches = Batches()
        await prune(pool, kinds, NOW, telemetry=batches, rest=0)
        took = batches.at[-1] - batches.at[0]
        wal = await connection.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)", before)
        longest = max(later - earlier for earlier, later in zip(batches.at, batches.at[1:], strict=False))
        print(
            f"{batches.rows} uses removed in {took:.1f} s, {len(batches.at) - 1} batches, the longest {longest:.2f} s; "
            f"WAL {int(wal) / 1e6:.0f} MB"
        )
        began = time.perf_counter()
        async with connection.transaction():
            verified = await verify_database(connection)
        print(f"chain verified in {time.perf_counter() - began:.1f} s: {list(verified.problems) or 'whole'}")


async def main(tokens: int, days: int, kept: int) -> None:
    with tempfile.TemporaryDirectory(prefix="auditor-bench-") as directory, embedded.running(Path(directory)) as server:
        async with connected(server, application="bench") as pool:
            async with pool.acquire() as connection:
                await migrate(connection)
            await measure(pool, tokens, days, kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--days", type=int, default=1100)
    parser.add_argument("--kept", type=int, default=65, help="days that uses are kept")
    given = parser.parse_args()
    asyncio.run(main(given.tokens, given.days, given.kept))
