"""Holds the limit of requests under way against thread pools of all sizes, in virtual time: takes half an hour.

For each pool and seed: what comes of the second half of a run that began knowing nothing, as a share of what the best
fixed number brings, and the share of 429 in the whole. Then the workers, or the time a request takes, halve or double:
what comes from 30 s later on, for 30 s or 1,500 answers, as a share of the best fixed number of then, and the share of
429 in the minute after. Printed are those that miss 0.95 or 1 %, and how many there were, for each seed and for all.
The constants were chosen on these settings with the first three seeds; the others show how far they carry.

Run: ``python -m tests.bench.pools --seeds 5``.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import NamedTuple

from auditor.dynatrace.limit import Limit
from auditor.simulator.capacity import Capacity
from tests.dynatrace.virtual_environment import Fixed, run

CEILING = 256
MINUTE = 60.0
FOUND_WITHIN = 30.0


class Setting(NamedTuple):
    """A thread pool, how far away it is, and what becomes of it."""

    kind: str
    capacity: Capacity
    trip: float
    after: Capacity | None = None
    """The capacity that it has later on; None where it stays."""


def answers(capacity: Capacity, number: int) -> float:
    """Return in how many seconds so many answers come at most."""
    return number * capacity.service_seconds / capacity.workers


def settings() -> Iterator[Setting]:
    pools = product((1, 2, 4, 10, 32, 64), (0, 5, 100), (0.005, 0.02, 0.1, 0.5), (0.001, 0.02))
    others = product((3, 7, 20, 48), (0, 2, 20), (0.01, 0.05, 0.25), (0.005, 0.05))
    for kind, sizes in (("found", pools), ("found, others", others)):
        for workers, queue, seconds, trip in sizes:
            yield Setting(kind, Capacity(workers=workers, queue=queue, service_seconds=seconds), trip)
    pools = product((2, 4, 10, 32), (0, 5, 100), (0.02, 0.1, 0.5), (0.001, 0.02))
    others = product((6, 20), (0, 2, 20), (0.05, 0.25), (0.005, 0.05))
    for kind, sizes in (("changed", pools), ("changed, others", others)):
        for workers, queue, seconds, trip in sizes:
            capacity = Capacity(workers=workers, queue=queue, service_seconds=seconds)
            for factor in (0.5, 2):
                yield Setting(kind, capacity, trip, replace(capacity, workers=int(workers * factor)))
                yield Setting(kind, capacity, trip, replace(capacity, service_seconds=seconds * factor))


@cache
def best_fixed(capacity: Capacity, trip: float) -> float:
    """Return the most answers a second that any fixed number brings with fewer than 1 in 100 429, by bisection.

    It takes many answers to tell 0.9 % from 1.1 %; a tenth of them is left out, in which the pool fills.
    """

    def tried(number: int) -> tuple[float, float]:
        seconds = max(answers(capacity, 30_000), 60 * (capacity.service_seconds + trip))
        course = run(Fixed(number), capacity, seconds, trip=trip)
        return course.rate(seconds / 10), course.share_throttled(seconds / 10)

    good = min(CEILING, capacity.workers)
    most = bad = min(CEILING, int((capacity.workers + capacity.queue) * (1 + trip / capacity.service_seconds)) + 1)
    if most <= good or tried(most)[1] < 0.01:
        return tried(max(good, most))[0]
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if tried(middle)[1] < 0.01 else (good, middle)
    return tried(good)[0]


def measure(setting: Setting, seed: int) -> tuple[float, float]:
    """Return the share of the best fixed number's answers and the share of 429."""
    _kind, capacity, trip, after = setting
    limit = Limit(CEILING)
    if after is None:
        seconds = max(answers(capacity, 6000), 8.0, 150 * capacity.service_seconds, 400 * trip)
        course = run(limit, capacity, seconds, trip=trip, seed=seed)
        return course.rate(seconds / 2) / best_fixed(capacity, trip), course.share_throttled()
    at = max(20.0, 80 * capacity.service_seconds)
    seconds = at + FOUND_WITHIN + max(30.0, answers(after, 1500))
    course = run(limit, capacity, seconds, trip=trip, changes=[(at, after)], seed=seed)
    return course.rate(at + FOUND_WITHIN) / best_fixed(after, trip), course.share_throttled(at, at + MINUTE)


def main(seeds: int) -> None:
    met: dict[str, list[list[bool]]] = {}
    for setting in settings():
        results = [measure(setting, seed) for seed in range(seeds)]
        met.setdefault(setting.kind, []).append([share >= 0.95 and late < 0.01 for share, late in results])
        if not all(met[setting.kind][-1]):
            told = ", ".join(f"{share:.3f} with {late:.2%} 429" for share, late in results)
            sys.stdout.write(f"{setting}: {told}\n")
    for kind, pools in met.items():
        each = [sum(pool[seed] for pool in pools) for seed in range(seeds)]
        sys.stdout.write(f"{kind}: of {len(pools)}, {each} with each seed, {sum(map(all, pools))} with all\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    main(parser.parse_args().seeds)
