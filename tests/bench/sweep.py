"""Measures a whole sweep against the bare cost of its requests, in one run, against one local server.

``bare`` is a plain aiohttp loop that POSTs each token and decodes the answer, nothing else. ``first`` is a sweep into
an empty database: lookup, decode, all rules, findings, history, PostgreSQL, the log. ``second`` is the same sweep again
with nothing changed. All three run at the same concurrency on uvloop, the sweeps on the loop as the
command line sets it up; the rounds alternate, the medians are printed.

Run: ``make bench``, or ``python tests/bench/sweep.py --tokens 50000 --rounds 3``; ``--memory`` measures peak memory
of sweeps over 10,000 and 200,000 tokens instead, each in a process of its own.
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

import aiohttp
import msgspec
import uvloop

from auditor.cli.session import run_loop
from auditor.credentials.reference import SecretReference
from auditor.dynatrace.answer import decode
from auditor.dynatrace.client import Client
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.log import configure
from auditor.model.secret import Secret
from auditor.model.sweep import SweepSummary
from auditor.model.token import Location, StoredToken
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules
from auditor.policy.routing.routing import NO_ROUTING
from auditor.sources.base import BATCH
from auditor.store import embedded
from auditor.store.database import connected
from auditor.store.migrate import migrate
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep

CONCURRENCY = 64


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
def server() -> Iterator[str]:
    """Run the lookup server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("lookup_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


async def bare(url: str, size: int) -> float:
    """Return the tokens a second of a loop that only POSTs and decodes."""
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

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return size / (time.perf_counter() - started)


async def whole(address: embedded.Address, url: str, size: int, *, sweeps: int) -> tuple[list[float], SweepSummary]:
    """Return the tokens a second of so many sweeps over the same tokens, from an empty database on."""
    async with connected(address, application="bench", connections=2) as pool, pool.acquire() as connection:
        await connection.execute(
            "drop schema if exists as_of cascade; drop schema public cascade; create schema public"
        )
    async with connected(address, application="bench") as pool:
        async with pool.acquire() as connection:
            await migrate(connection)
        settings = EnvironmentSettings(
            url=url, token=SecretReference(env="UNUSED"), allow_http=True, concurrency=CONCURRENCY
        )
        policy = Policy(
            PolicyDocument(name="bench"), list(rules().values()), feeds=Feeds(), environment_kind="production"
        )
        speeds: list[float] = []
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
                started = time.perf_counter()
                summary = await sweep(pool, subject)
                speeds.append(size / (time.perf_counter() - started))
                assert summary.found == summary.enrolled == size, summary
        async with pool.acquire() as connection:
            opened = await connection.fetchval("select count(*) from finding")
        print(f"  {opened / size:.2f} findings a token", file=sys.stderr)
        return speeds, summary


def compare(size: int, rounds: int) -> None:
    """Print the medians of so many rounds."""
    figures: dict[str, list[float]] = {"bare": [], "first": [], "second": []}
    with tempfile.TemporaryDirectory() as directory, embedded.running(Path(directory)) as address, server() as url:
        for _ in range(rounds):
            figures["bare"].append(uvloop.run(bare(url, size)))
            (first, second), _summary = run_loop(whole(address, url, size, sweeps=2))
            figures["first"].append(first)
            figures["second"].append(second)
    against = statistics.median(figures["bare"])
    print(f"{size} tokens, {CONCURRENCY} at once, {rounds} rounds, {os.cpu_count()} cores; medians")
    for name, values in figures.items():
        median = statistics.median(values)
        every = ", ".join(f"{value:.0f}" for value in values)
        print(f"{name:>7}: {median:8.0f} tokens/s   {median / against:5.2f} of bare   (all: {every})")


def peak_memory(size: int) -> None:
    """Print this process's peak resident memory after one sweep, in MiB."""
    with tempfile.TemporaryDirectory() as directory, embedded.running(Path(directory)) as address, server() as url:
        run_loop(whole(address, url, size, sweeps=1))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
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
        else:
            compare(arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
