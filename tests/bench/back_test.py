"""Measures ``auditor policy diff``: a draft replayed over many stored observations, now and as of a past day.

The database is filled in SQL with one environment's tokens: nine in ten found in use, a tenth changed since its first
sweep, each used three times. Two drafts are replayed: one that alters two rules, as most do, and one that alters how
scopes are graded, so that every rule has to be judged twice. The peak of resident memory is the whole back-test's:
the process that merges, and the largest of those that work.

Run: ``python tests/bench/back_test.py --tokens 100000``; ``--processes 1`` keeps it in one.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from auditor.cli.session import run_loop
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.store import embedded
from auditor.store.connection import Connection
from auditor.store.database import connected
from auditor.store.migrate import migrate
from auditor.sweep.back_test import BackTest, Instant, Side, Tally, Trial

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
KEPT = 50
DRAFTS: Mapping[str, Mapping[str, Any]] = {
    "two rules altered": {
        "rules": {"DT-EXP-02": {"max_days": {"critical": 30, "default": 180}}, "DT-SCP-02": {"scopes": 3}}
    },
    "every rule altered": {"risk": {"scopes": {"metrics.ingest": "high"}}},
}

FILL = """
with made as (
    insert into token (environment_id, fingerprint, label, public_id, places, tags, first_seen_at, outcome, changed_at,
        disabled_since, returned_id, name, owner, enabled, personal_access_token, creation_date, modified_date,
        expiration_date, last_used_date, last_used_ip_address, scopes, uses)
    select $1, uuid_send(gen_random_uuid()), 'dt0c01.' || lpad(n::text, 24, '0'), 'dt0c01.' || lpad(n::text, 24, '0'),
        array['vault' || chr(31) || 'line ' || n], array['ci'], $2::timestamptz - interval '200 days', 'found',
        $2::timestamptz - case when n % 10 = 0 then n % 60 else 200 end * interval '1 day',
        case when n % 40 = 0 then $2::timestamptz - (n % 60) * interval '1 day' end,
        'dt0c01.' || lpad(n::text, 24, '0'), (array['ingest', 'read', 'deploy', 'host'])[1 + n % 4] || '-' || n,
        'svc-' || n % 200, n % 40 <> 0, n % 10 = 3, $2::timestamptz - (200 + n % 300) * interval '1 day', null,
        case when n % 5 > 0 then $2::timestamptz + (n % 400 - 5) * interval '1 day' end,
        case when n % 10 > 0 then $2::timestamptz - (n % 100) * interval '1 hour' end,
        '10.0.' || n % 16 || '.' || n % 250,
        (array['{metrics.ingest}', '{logs.ingest,metrics.ingest}', '{entities.read,metrics.read,problems.read}',
            '{InstallerDownload}', '{ReadConfig,WriteConfig,settings.read,settings.write}', '{DataExport}',
            '{apiTokens.read,apiTokens.write}', '{events.ingest,logs.ingest,metrics.ingest}'])[1 + n % 8]::text[],
        case when n % 10 > 0 then 3 else 0 end
    from generate_series(1, $3::integer) n
    returning *
), looked as (
    insert into lookup (token_id, sweep_id, at, outcome, reason, evident_at, misses, failures)
    select id, 1, $2, 'found', '', $2, 0, 0 from made
), used as (
    insert into token_use (token_id, observed_at, used_at, ip_address)
    select id, $2::timestamptz - days * interval '1 day', last_used_date - days * interval '1 day', last_used_ip_address
    from made, unnest(array[0, 30, 90]) days where last_used_date is not null
)
insert into token_change (token_id, at, sweep_id, outcome, state)
select id, at, 1, 'found', jsonb_strip_nulls(jsonb_build_object('id', returned_id, 'name', name, 'owner', owner,
    'enabled', enabled or at < changed_at, 'personal_access_token', personal_access_token,
    'creation_date', creation_date, 'expiration_date', expiration_date, 'scopes', to_jsonb(scopes)))
from made, lateral (select first_seen_at as at union select changed_at) changes
"""


async def fill(connection: Connection, tokens: int) -> None:
    """Make an environment whose last sweep found so many tokens."""
    await migrate(connection)
    environment = await connection.fetchval(
        "insert into environment (name, url) values ('bench', 'https://bench.example.com') returning id"
    )
    await connection.execute("insert into policy values (repeat('0', 64), '{}', $1)", NOW)
    await connection.execute(
        """
        insert into sweep (environment_id, policy_digest, rules, self_lookup, started_at, finished_at, status)
        values ($1, repeat('0', 64), '{}', false, $2, $2, 'complete')
        """,
        environment,
        NOW,
    )
    await connection.execute(FILL, environment, NOW, tokens)
    for table in ("token", "lookup", "token_change", "token_use"):
        await connection.execute(f"vacuum (analyze) {table}")


def trial(draft: Mapping[str, Any]) -> Trial:
    """Return the defaults against a draft."""
    sides = [PolicyDocument.model_validate({"name": "bench", **said}) for said in ({}, draft)]
    present, drafted = (Side(document.content, Feeds(), "production") for document in sides)
    return Trial(present, drafted)


def processor_seconds() -> float:
    """Return what this process and those that ended for it have used."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


async def measure(address: embedded.Address, processes: int | None) -> None:
    """Print how long each draft takes, now and as of a day two months ago."""
    for title, draft in DRAFTS.items():
        for when in (Instant(NOW, False), Instant(NOW - timedelta(days=60), True)):
            async with connected(address, application="bench", connections=2) as pool, pool.acquire() as connection:
                started, before = time.perf_counter(), processor_seconds()
                back_test = BackTest(address, {"bench": trial(draft)}, processes=processes)
                total = Tally()
                async for _instant, part in back_test.run(connection, [when], kept=KEPT):
                    total.add(part, KEPT)
                seconds, used = time.perf_counter() - started, processor_seconds() - before
            rules = len(back_test.comparisons["bench"].disputed)
            print(
                f"{title} ({rules} replayed), {'as of 60 days ago' if when.is_past else 'now'}: {total.tokens} tokens "
                f"in {seconds:.1f} s, {used / total.tokens * 1e6:.1f} µs of processor time each beside PostgreSQL's, "
                f"{sum(total.counts.values())} differences"
            )


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=None)
    arguments = parser.parse_args()

    async def bench(address: embedded.Address) -> None:
        async with (
            connected(address, application="bench", connections=1) as pool,
            pool.acquire() as connection,
        ):
            await fill(connection, arguments.tokens)
        await measure(address, arguments.processes)

    with tempfile.TemporaryDirectory() as directory, embedded.running(Path(directory)) as address:
        run_loop(bench(address))
    own, workers = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"peak resident memory: {own:.0f} MiB merging, {workers:.0f} MiB working; {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
