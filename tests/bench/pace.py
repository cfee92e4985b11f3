"""Measures how well the limit of requests under way is found, against the simulator over loopback.

The best fixed number is searched for first, with fewer than 1 in 100 answers 429. Then a client that begins knowing
nothing asks for some seconds; of the second half its answers a second count, of the whole the share of 429. Last, the
capacity halves and doubles under a client at its pace: printed is after how many seconds two seconds running bring
95 % of the best fixed number at the new capacity. Also the processor time that finding the limit costs a request.

Run: ``python -m tests.bench.pace --workers 10 --queue 100 --service-ms 50``.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from auditor.credentials.reference import SecretReference
from auditor.dynatrace.client import Client
from auditor.dynatrace.gate import Gate
from auditor.dynatrace.limit import Limit
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.model.secret import Secret
from auditor.simulator import Capacity, Environment, World, serve

SEARCHED_SECONDS = 2.0
KNOWN_SECONDS = 12.0
CHANGED_SECONDS = 20.0
ENOUGH = 0.95
CEILING = 256


class Fixed(Limit):
    """The same number, whatever happens."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.value = number

    def set_ceiling(self, ceiling: int) -> None:
        pass

    def answered(self, started: float, now: float, under_way: int) -> None:
        pass

    def throttled(self, started: float, now: float, under_way: int, asked_seconds: float = 0.0) -> float:
        return 0.0


@dataclass
class Stage:
    """One simulated environment, and tokens of it."""

    environment: Environment
    url: str
    own: Secret
    token: Secret
    ended_at: list[float] = field(default_factory=list)
    """When lookups found their token, of the client that asks now."""

    @asynccontextmanager
    async def asking(self, limit: Limit) -> AsyncIterator[None]:
        """Ask without a pause, as many at once as the limit permits."""
        settings = EnvironmentSettings(
            url=self.url, token=SecretReference(env="UNUSED"), allow_http=True, concurrency=CEILING, attempts=1
        )
        self.ended_at.clear()

        async def ask(client: Client) -> None:
            while True:
                if (await client.lookup(self.token)).metadata is not None:
                    self.ended_at.append(time.monotonic())

        async with Client("bench", settings, self.own, clock=lambda: datetime.now(UTC), limit=limit) as client:
            tasks = [asyncio.create_task(ask(client)) for _number in range(CEILING)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def rate(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.ended_at) / (until - since)

    def share_throttled(self) -> float:
        throttled = self.environment.answers[429]
        return throttled / max(1, throttled + self.environment.answers[200])

    async def best_fixed(self, capacity: Capacity) -> tuple[float, int]:
        """Return the most answers a second, and the number of requests under way that brings them."""
        self.environment.set_capacity(capacity)
        most = capacity.workers + capacity.queue
        shares = (0.8, 1, 1.2, 1.5, 2)
        tried = []
        for number in sorted({min(most, max(1, round(capacity.workers * share))) for share in shares}):
            self.environment.answers.clear()
            async with self.asking(Fixed(number)):
                await asyncio.sleep(SEARCHED_SECONDS)
                now = time.monotonic()
                if self.share_throttled() < 0.01:
                    tried.append((self.rate(now - SEARCHED_SECONDS * 2 / 3, now), number))
        return max(tried)


async def measure(stage: Stage, capacity: Capacity) -> None:
    half = replace(capacity, workers=max(1, capacity.workers // 2))
    best_of_half = await stage.best_fixed(half)
    rate, number = best = await stage.best_fixed(capacity)
    sys.stdout.write(f"best fixed: {rate:.0f} answers a second with {number} under way\n")

    stage.environment.answers.clear()
    limit = Limit(CEILING)
    async with stage.asking(limit):
        await asyncio.sleep(KNOWN_SECONDS)
        now = time.monotonic()
        found = stage.rate(now - KNOWN_SECONDS / 2, now)
        sys.stdout.write(
            f"adaptive:   {found:.0f} answers a second ({found / rate:.3f} of it), {limit.value} under way, "
            f"{stage.share_throttled():.2%} of all answers 429\n"
        )
        for name, changed, (rate, number) in (("halved", half, best_of_half), ("doubled", capacity, best)):
            stage.environment.set_capacity(changed)
            stage.environment.answers.clear()
            began = time.monotonic()
            await asyncio.sleep(CHANGED_SECONDS)
            seconds = next(
                (
                    after
                    for after in (step / 4 for step in range(int(CHANGED_SECONDS - 2) * 4))
                    if stage.rate(began + after, began + after + 2) >= ENOUGH * rate
                ),
                None,
            )
            told = f"after {seconds:g} s" if seconds is not None else f"not in {CHANGED_SECONDS:g} s"
            sys.stdout.write(
                f"{name}: {ENOUGH:.0%} of {rate:.0f} a second (best fixed: {number}) {told}, now {limit.value} under "
                f"way, {stage.share_throttled():.2%} of answers 429 since\n"
            )


def cost(requests: int = 200_000) -> float:
    """Return the µs of processor time that the limit and its gate cost a request nobody waits for."""
    gate, limit = Gate(Limit(16)), Limit(16)
    began = time.process_time()
    for number in range(requests):
        if gate.room:
            gate.under_way += 1
        limit.answered(number * 0.001 - 0.05, number * 0.001, gate.under_way)
        gate.permitted = limit.value
        gate.leave()
    return (time.process_time() - began) / requests * 1e6


async def main(capacity: Capacity) -> None:
    world = World(clock=lambda: datetime.now(UTC))
    own, token = (Secret(world.create(name, ["metrics.read"]).secret) for name in ("own", "other"))
    async with serve({"bench": world}, capacity=capacity) as simulator:
        await measure(Stage(simulator.environments["bench"], simulator.url("bench"), own, token), capacity)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--queue", type=int, default=100)
    parser.add_argument("--service-ms", type=float, default=50)
    arguments = parser.parse_args()
    sys.stdout.write(f"limit and gate: {cost():.2f} µs a request\n")
    asyncio.run(main(Capacity(arguments.workers, arguments.queue, arguments.service_ms / 1000)))
