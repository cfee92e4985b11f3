"""Measures many environments: one scheduler and several workers on one PostgreSQL, every process a real one.

Every environment has a source of its own and the same schedule without jitter, the worst case: all slots come at once.
Sampled each second: how many sweeps wait, how many connections PostgreSQL holds, what it writes. One worker is killed
when a third of the environments is swept; what it had begun others must take over.

Run: ``python tests/bench/scaling.py --environments 500 --workers 2``; the processes share the machine's cores with the
simulated API and PostgreSQL, so the rate is that of the machine, not of a worker.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from auditor.simulator import World, serve
from auditor.store import embedded
from auditor.store.connection import Connection
from auditor.store.database import connected
from auditor.store.migrate import migrate

_HEAD = """\
[database]
connections = {connections}

[encryption]
key = {{ env = "MASTER_KEY" }}

[policy]
files = ["policy.toml"]

[web]
listen = "127.0.0.1:0"

[log]
format = "json"
"""
_ENVIRONMENT = """
[environments.{name}]
url = "{url}"
token = {{ env = "OWN_{name}" }}
allow_http = true

[sources.{name}]
type = "plain"
path = "{name}.txt"
environment = "{name}"
"""
_SCHEDULE = '\n[schedules.daily]\nevery = "1d"\njitter_seconds = 0\n'


@asynccontextmanager
async def _process(directory: Path, role: str, environ: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    with (directory / f"{role}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "auditor",
            "--config",
            str(directory / "auditor.toml"),
            "run",
            f"--role={role}",
            env=environ,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _sample(connection: Connection) -> tuple[int, int, int, int]:
    """Return sweeps that wait, sweeps that ended, connections, and bytes of WAL so far."""
    row = await connection.fetchrow(
        """
        select (select count(*) from queue_job where entrypoint like 'sweep:%') as waiting,
            (select count(*) from sweep where status <> 'running') as ended,
            (select count(*) from pg_stat_activity where datname = current_database()) as connections,
            pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as written
        """
    )
    assert row is not None
    return row["waiting"], row["ended"], row["connections"], row["written"]


async def _measure(environments: int, tokens: int, workers: int, connections: int) -> None:
    names = [f"e{number}" for number in range(environments)]
    worlds = {name: World((), clock=lambda: datetime.now(UTC), seed=name) for name in names}
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator = await stack.enter_async_context(serve(worlds))
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "STATE_DIRECTORY": str(directory / "state"),
            "MASTER_KEY": os.urandom(32).hex(),
        }
        text = _HEAD.format(connections=connections)
        for name, world in worlds.items():
            environ[f"OWN_{name}"] = world.create("auditor", ["metrics.read"]).secret
            made = [world.create(f"{name} token {number}", ["metrics.read"]).secret for number in range(tokens)]
            (directory / f"{name}.txt").write_text("".join(f"{secret}\n" for secret in made))
            (directory / f"{name}.txt").chmod(0o600)
            text += _ENVIRONMENT.format(name=name, url=simulator.url(name))
        (directory / "auditor.toml").write_text(text + _SCHEDULE)
        (directory / "policy.toml").write_text('name = "bench"\n')
        address = stack.enter_context(embedded.running(directory / "state" / "postgres"))
        pool = await stack.enter_async_context(connected(address, application="bench", connections=2))
        connection = await stack.enter_async_context(pool.acquire())
        await migrate(connection)
        began = time.monotonic()
        running = [
            await stack.enter_async_context(_process(directory, role, environ))
            for role in ("scheduler", *["worker"] * workers)
        ]
        await _watch(connection, running, environments, tokens, began)


async def _watch(
    connection: Connection,
    running: Sequence[asyncio.subprocess.Process],
    environments: int,
    tokens: int,
    began: float,
) -> None:
    deepest = most = peak = 0
    first_at = 0.0
    _waiting, _ended, _connections, at_first = await _sample(connection)
    ended, killed_at = 0, None
    while ended < environments:
        await asyncio.sleep(1)
        waiting, ended, connections, written = await _sample(connection)
        now = time.monotonic() - began
        deepest, most = max(deepest, waiting), max(most, connections)
        peak = max(peak, *(_resident(process) for process in running))
        if ended and not first_at:
            first_at = now
        if killed_at is None and len(running) > 2 and ended >= environments // 3:
            running[-1].kill()
            killed_at = now
        if int(now) % 5 == 0:
            print(f"  {now:5.0f} s: {waiting:6} sweeps wait, {ended:6} ended, {connections:3} connections", flush=True)
    took = time.monotonic() - began
    twice = await connection.fetchval("select count(*) - count(distinct environment_id) from sweep")
    audited = await connection.fetchval("select coalesce(sum(found), 0) from sweep where status = 'complete'")
    print(f"{environments} environments of {tokens} tokens, {len(running) - 1} workers")
    print(f"  all swept after {took:.0f} s, {environments / max(took - first_at, 1):.1f} a second from the first on")
    print(f"  deepest queue {deepest}, most connections {most}, largest process {peak / 2**20:.0f} MiB")
    print(f"  WAL {(written - at_first) / environments / 1024:.0f} KiB an environment")
    print(f"  swept twice: {twice}; tokens audited: {audited} of {environments * tokens}")
    if killed_at is not None:
        print(f"  one worker was killed after {killed_at:.0f} s")


def _resident(process: asyncio.subprocess.Process) -> int:
    try:
        return int(psutil.Process(process.pid).memory_info().rss)
    except psutil.Error:
        return 0


def main() -> None:
    """Measure what the arguments say and print it."""
    parser = argparse.ArgumentParser(description="Measures an installation of many environments")
    parser.add_argument("--environments", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=20, help="of each environment")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=10, help="of each process")
    given = parser.parse_args()
    asyncio.run(_measure(given.environments, given.tokens, given.workers, given.connections))


if __name__ == "__main__":
    main()
