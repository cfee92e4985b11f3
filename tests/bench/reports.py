"""Measures reports over many findings: processor time of this process and of PostgreSQL's, and the peak of memory.

The database is filled in SQL: five findings a token, one in twenty waived, one in ten resolved. Each format is written
to a file that takes no room, in a process of its own. Memory is flat where ``--findings 100000`` has the same peak.

Run: ``python tests/bench/reports.py --findings 1000000 jsonl csv ocsf``; pin it to one core with ``taskset -c 0``.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from auditor.cli.reporting import destination
from auditor.cli.session import run_loop
from auditor.reports.reading import snapshot
from auditor.reports.registry import formats
from auditor.store import embedded
from auditor.store.connection import Connection
from auditor.store.database import connected
from auditor.store.migrate import migrate

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
FINDINGS_A_TOKEN = 5

FILL = """
with made as (
    insert into token (environment_id, fingerprint, label, public_id, places, tags, first_seen_at, outcome, changed_at,
        returned_id, name, owner, enabled, personal_access_token, creation_date, scopes)
    select $1, uuid_send(gen_random_uuid()), 'dt0c01.' || lpad(n::text, 24, '0'), 'dt0c01.' || lpad(n::text, 24, '0'),
        array['vault' || chr(31) || 'entry dynatrace/service-' || n], array['ci'], $2::timestamptz, 'found', $2,
        'dt0c01.' || lpad(n::text, 24, '0'), (array['ingest', 'read', 'deploy', 'host'])[1 + n % 4] || '-' || n,
        'svc-' || n % 200, true, false, $2::timestamptz - (200 + n % 300) * interval '1 day', '{metrics.ingest}'
    from generate_series(1, $3::integer) n
    returning id
), looked as (
    insert into lookup (token_id, sweep_id, at, outcome, reason, evident_at, misses, failures)
    select id, 1, $2, 'found', '', $2, 0, 0 from made
)
insert into finding (environment_id, token_id, rule_id, discriminator, severity, status, message, evidence, opened_at,
    severity_since, resolved_at, resolution, waiver, waived_severity)
select $1, id, (array['DT-EXP-01', 'DT-ROT-01', 'DT-USE-02', 'DT-SCP-01', 'DT-NAM-01'])[k], '', graded,
    case when id % 10 = 0 then 'resolved' else 'open' end,
    (array['never expires and holds critical scopes', '417 days old; the policy''s rotation period is 365 days',
        'last used on 2026-02-11 from 203.0.113.' || id % 250,
        'holds high-risk scopes without approval: settings.write', 'its name breaks the convention'])[k],
    jsonb_build_object('creation_date', '2025-01-09T08:00:00Z', 'max_age_days', 365, 'risk_tier', 'default',
        'scopes', '["metrics.ingest", "settings.write"]'::jsonb),
    $2::timestamptz - id % 300 * interval '1 day', $2, case when id % 10 = 0 then $2 end,
    case when id % 10 = 0 then 'evidence' end, waiver, case when waiver is not null then graded end
from made, generate_series(1, $4::integer) k,
    lateral (select (array['critical', 'medium', 'low', 'high', 'info'])[k] as graded,
        case when id % 20 = 1 then jsonb_build_object('id', 'sec-1042', 'owner', 'platform', 'approver', 'jane.doe',
            'reason', 'moves to OAuth clients', 'ticket', 'SEC-1042', 'since', '2026-11-01T00:00:00Z',
            'until', '2027-01-01T00:00:00Z') end as waiver) said
"""


async def fill(connection: Connection, findings: int) -> None:
    """Make an environment with so many findings."""
    await migrate(connection)
    environment = await connection.fetchval(
        "insert into environment (name, url) values ('bench', 'https://bench.example.com') returning id"
    )
    await connection.execute("insert into policy values (repeat('0', 64), '{\"name\": \"bench\"}', $1)", NOW)
    await connection.execute(
        """
        insert into sweep (environment_id, policy_digest, rules, self_lookup, started_at, finished_at, status)
        values ($1, repeat('0', 64), '{}', false, $2, $2, 'complete')
        """,
        environment,
        NOW,
    )
    await connection.execute(FILL, environment, NOW, findings // FINDINGS_A_TOKEN, FINDINGS_A_TOKEN)
    for table in ("token", "lookup", "finding"):
        await connection.execute(f"vacuum (analyze) {table}")


def processor_seconds(process: psutil.Process) -> float:
    """Return what a process has used."""
    times = process.cpu_times()
    return times.user + times.system


async def measure(address: embedded.Address, name: str) -> None:
    """Print what it takes to write one format."""
    async with connected(address, application="bench", connections=1) as pool:
        async with pool.acquire() as connection:
            findings = await connection.fetchval("select count(*) from finding")
            server = psutil.Process(await connection.fetchval("select pg_backend_pid()"))
        own = psutil.Process()
        started, before = time.perf_counter(), (processor_seconds(own), processor_seconds(server))
        async with snapshot(pool, now=NOW, resolved_days=30) as (data, stream):
            with destination(Path(os.devnull)) as out:
                await formats()[name].write(data, stream, out)
        seconds = time.perf_counter() - started
        used = [processor_seconds(process) - was for process, was in zip((own, server), before, strict=True)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {findings:,} findings in {seconds:.1f} s, {findings / seconds:,.0f} a second; processor time "
            f"{used[0]:.1f} s here ({used[0] / findings * 1e6:.1f} µs each) and {used[1]:.1f} s in PostgreSQL; "
            f"{findings / sum(used):,.0f} a second of both; peak {peak:.0f} MiB",
            flush=True,
        )


def main() -> None:
    """Measure what the arguments ask for, each format in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", default=["jsonl", "csv", "ocsf"])
    parser.add_argument("--findings", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sockets", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sockets is not None:
        run_loop(measure(embedded.Address(arguments.sockets), arguments.formats[0]))
        return

    async def prepare(address: embedded.Address) -> None:
        async with connected(address, application="bench", connections=1) as pool, pool.acquire() as connection:
            await fill(connection, arguments.findings)

    with tempfile.TemporaryDirectory() as directory, embedded.running(Path(directory)) as address:
        run_loop(prepare(address))
        for _round in range(arguments.rounds):
            for name in arguments.formats:
                command = [sys.executable, __file__, name, "--sockets", str(address.socket_directory)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
