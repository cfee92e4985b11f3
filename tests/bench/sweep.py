"""Measures a whole sweep against the bare cost of its requests, in one run, against one local server.

``bare`` is a plain aiohttp loop that POSTs each token and decodes the answer, nothing else. ``first`` is a sweep into
an empty database: lookup, decode, all rules, findings, history, PostgreSQL, the log. ``second`` is the same sweep again
with nothing changed. All three run at the same concurrency on uvloop, the sweeps on the loop as the
command line sets it up; the rounds alternate, the medians are printed.

Every rule is on, those that compare tokens among them. What the fleet is like decides what they find: about a quarter
of the tokens have something wrong with them, as in the simulator's fleet, all but one in a hundred have a name of their
own, and owners have some tens of tokens (``lookup_server.py``). Findings a token are printed, with the processor time
of the sweeping process and of PostgreSQL, and with the write-ahead log.

Run: ``make bench``, or ``python tests/bench/sweep.py --tokens 50000 --rounds 3``; ``--scale`` measures ten times the
tokens, too, for how cost grows; ``--memory`` measures peak memory of sweeps over 10,000 and 200,000 tokens instead,
each in a process of its own.
"""

import argparse
import asyncio
import base64
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
import psutil
import uvloop

from auditor.cli.session import run_loop
from auditor.credentials.reference import SecretReference
from auditor.dynatrace.answer import decode
from auditor.dynatrace.client import Client
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.log import configure
from auditor.model.secret import Secret
from auditor.model.token import Location, StoredToken
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules
from auditor.policy.routing.routing import NO_ROUTING
from auditor.sources.base import BATCH
from auditor.store import embedded
from auditor.store.connection import Connection
from auditor.store.database import connected
from auditor.store.migrate import migrate
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep

CONCURRENCY = 64


class Cost(NamedTuple):
    """What something took of each token."""

    seconds: float
    processor: float
    """Seconds of this process."""
    postgres: float = 0.0
    """Processor seconds of PostgreSQL."""
    written: float = 0.0
    """Bytes of write-ahead log."""
    findings: float = 0.0
    """That stand at its end."""


def secret_of(number: int) -> str:
    """Return a well-formed token made from a number."""
    public = base64.b32encode(hashlib.blake2b(b"%d" % number, digest_size=15).digest()).decode()
    return f"dt0c01.{public}.{'A' * 64}"


class MadeUpSource:
    """Yields tokens that are made when they are asked for, so that the source costs no memory."""

    name = "bench"

    def __init__(self, size: int) -> None:
        self._size = size

    def environments(self) -> Sequence[str]:
        return ("bench",)

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        for start in range(0, self._size, BATCH):
            yield [
                StoredToken("bench", Secret(secret_of(number)), Location(self.name, f"line {number}"))
                for number in range(start, min(start + BATCH, self._size))
            ]


@contextmanager
def server(size: int) -> Iterator[str]:
    """Run the lookup server in a process of its own, for a fleet of so many tokens."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("lookup_server.py")), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


async def bare(url: str, size: int) -> Cost:
    """Return what a loop costs that only POSTs and decodes."""
    numbers = iter(range(size))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONCURRENCY),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Authorization": f"Api-Token {secret_of(-1)}", "Content-Type": "application/json"},
    ) as session:

        async def work() -> None:
            for number in numbers:
                body = msgspec.json.encode({"token": secret_of(number)})
                async with session.post(f"{url}/api/v2/apiTokens/lookup", data=body) as response:
                    decode("v2", await response.read())

        started, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return Cost((time.perf_counter() - started) / size, (time.process_time() - used) / size)


async def spent(connection: Connection) -> tuple[float, float]:
    """Return the processor seconds of PostgreSQL's processes until now, and its bytes of write-ahead log."""
    backend = psutil.Process(await connection.fetchval("select pg_backend_pid()"))
    postmaster = backend.parent()
    assert postmaster is not None
    times = [process.cpu_times() for process in (postmaster, *postmaster.children())]
    log = await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return sum(one.user + one.system for one in times), float(log)


async def whole(address: embedded.Address, url: str, size: int, *, sweeps: int) -> list[Cost]:
    """Return what so many sweeps over the same tokens cost, from an empty database on."""
    async with connected(address, application="bench", connections=2) as pool, pool.acquire() as connection:
        await connection.execute(
            "drop schema if exists as_of cascade; drop schema public cascade; create schema public"
        )
    async with connected(address, application="bench", connections=16) as pool:
        async with pool.acquire() as connection:
            await migrate(connection)
        settings = EnvironmentSettings(
            url=url, token=SecretReference(env="UNUSED"), allow_http=True, concurrency=CONCURRENCY
        )
        policy = Policy(
            PolicyDocument(name="bench"), list(rules().values()), feeds=Feeds(), environment_kind="production"
        )
        costs: list[Cost] = []
        async with Client("bench", settings, Secret(secret_of(-1)), clock=lambda: datetime.now(UTC)) as client:
            for _ in range(sweeps):
                subject = Subject(
                    name="bench",
                    url=url,
                    client=client,
                    sources=[MadeUpSource(size)],
                    environments=frozenset({"bench"}),
                    policy=policy,
                    self_lookup=False,
                    fingerprint=lambda secret: hashlib.blake2b(secret.reveal().encode(), digest_size=16).digest(),
                    routing=NO_ROUTING,
                    clock=lambda: datetime.now(UTC),
                )
                async with pool.acquire() as connection:
                    postgres, written = await spent(connection)
                started, used = time.perf_counter(), time.process_time()
                summary = await sweep(pool, subject)
                seconds, used = time.perf_counter() - started, time.process_time() - used
                assert summary.found == summary.enrolled == size, summary
                async with pool.acquire() as connection:
                    postgres_then, written_then = await spent(connection)
                    findings = await connection.fetchval("select count(*) from finding where status = 'open'")
                totals = (seconds, used, postgres_then - postgres, written_then - written, findings)
                costs.append(Cost(*(total / size for total in totals)))
        return costs


def measure(size: int, rounds: int) -> dict[str, Cost]:
    """Print and return the medians of so many rounds."""
    measured: dict[str, list[Cost]] = {"bare": [], "first": [], "second": []}
    with tempfile.TemporaryDirectory() as directory, embedded.running(Path(directory)) as address, server(size) as url:
        for _ in range(rounds):
            measured["bare"].append(uvloop.run(bare(url, size)))
            for name, cost in zip(("first", "second"), run_loop(whole(address, url, size, sweeps=2)), strict=True):
                measured[name].append(cost)
    medians = {name: Cost(*map(statistics.median, zip(*costs, strict=True))) for name, costs in measured.items()}
    print(f"{size} tokens, {CONCURRENCY} at once, {rounds} rounds, {os.cpu_count()} cores; medians")
    for name, cost in medians.items():
        every = ", ".join(f"{1 / one.seconds:.0f}" for one in measured[name])
        print(
            f"{name:>7}: {1 / cost.seconds:7.0f} tokens/s, {medians['bare'].seconds / cost.seconds:.2f} of bare "
            f"(all: {every}); a token: {cost.processor * 1e6:.0f} µs here, {cost.postgres * 1e6:.0f} µs in PostgreSQL, "
            f"{cost.written:.0f} B of WAL, {cost.findings:.2f} findings",
            flush=True,
        )
    return medians


def scale(size: int, rounds: int) -> None:
    """Print how many times as much ten times the tokens cost."""
    small, large = measure(size, rounds), measure(10 * size, rounds)
    for name in small:
        by_clock, by_processor = (
            10 * one / other
            for one, other in (
                (large[name].seconds, small[name].seconds),
                (large[name].processor + large[name].postgres, small[name].processor + small[name].postgres),
            )
        )
        print(f"{name:>7}: 10 times the tokens take {by_clock:.1f} times the time, {by_processor:.1f} of processors")


def peak_memory(size: int) -> None:
    """Print this process's peak resident memory after one sweep, in MiB."""
    with tempfile.TemporaryDirectory() as directory, embedded.running(Path(directory)) as address, server(size) as url:
        run_loop(whole(address, url, size, sweeps=1))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", action="store_true", help="measure ten times the tokens, too")
    parser.add_argument("--memory", action="store_true", help="compare the peak memory of a small and a large sweep")
    parser.add_argument("--peak", type=int, metavar="TOKENS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with Path(os.devnull).open("w") as sink:
        configure("json", "info", sink)
        if arguments.peak:
            peak_memory(arguments.peak)
        elif arguments.memory:
            peaks = {
                size: float(subprocess.check_output([sys.executable, __file__, "--peak", str(size)]))
                for size in (10_000, 200_000)
            }
            small, large = peaks.values()
            print(f"peak resident memory: {small:.0f} MiB at 10,000 tokens, {large:.0f} MiB at 200,000")
            print(f"ratio: {large / small:.2f}")
        elif arguments.scale:
            scale(arguments.tokens, arguments.rounds)
        else:
            measure(arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
