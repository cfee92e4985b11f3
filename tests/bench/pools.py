"""Holds the limit of requests under way against thread pools of all sizes, in virtual time: takes three minutes.

For each pool: what comes of the second half of a run that began knowing nothing, as a share of what the best fixed
number brings, and the share of 429 in the whole. Then the workers, or the time a request takes, halve or double: what
comes from 30 to 60 s later, as a share of the best fixed number of then, and the share of 429 in the minute after.
Printed are those that miss 0.95 or 1 %, and how many there were. The constants were chosen by the first pools of each;
the others show how far they carry.

Run: ``python -m tests.bench.pools``.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, product

from auditor.dynatrace.limit import Limit
from auditor.simulator.capacity import Capacity
from tests.dynatrace.virtual_environment import best_fixed, run

CEILING = 256


def answers(capacity: Capacity, number: int) -> float:
    """Return in how many seconds so many answers come at most."""
    return number * capacity.service_seconds / capacity.workers


def found() -> Iterator[tuple[str, float, float]]:
    pools = product((1, 2, 4, 10, 32, 64), (0, 5, 100), (0.005, 0.02, 0.1, 0.5), (0.001, 0.02))
    others = product((3, 7, 20, 48), (0, 2, 20), (0.01, 0.05, 0.25), (0.005, 0.05))
    for workers, queue, service_seconds, trip in chain(pools, others):
        capacity = Capacity(workers=workers, queue=queue, service_seconds=service_seconds)
        seconds = max(answers(capacity, 6000), 8.0, 150 * service_seconds, 400 * trip)
        course = run(Limit(CEILING), capacity, seconds, trip=trip)
        best = best_fixed(capacity, answers(capacity, 3000), trip=trip)
        yield f"{capacity}, trip {trip}", course.rate(seconds / 2) / best, course.share_throttled()


def changed() -> Iterator[tuple[str, float, float]]:
    what = ((0.5, 2), ("workers", "seconds"))
    pools = product((2, 4, 10, 32), (0, 5, 100), (0.02, 0.1, 0.5), (0.001, 0.02), *what)
    others = product((6, 20), (0, 2, 20), (0.05, 0.25), (0.005, 0.05), *what)
    for workers, queue, service_seconds, trip, factor, of in chain(pools, others):
        capacity = Capacity(workers=workers, queue=queue, service_seconds=service_seconds)
        after = (
            replace(capacity, workers=int(workers * factor))
            if of == "workers"
            else replace(capacity, service_seconds=service_seconds * factor)
        )
        at = max(20.0, 80 * service_seconds)
        course = run(Limit(CEILING), capacity, at + 60, trip=trip, changes=[(at, after)])
        best = best_fixed(after, answers(after, 3000), trip=trip)
        yield f"{capacity}, trip {trip}, {of} times {factor}", course.rate(at + 30) / best, course.share_throttled(at)


if __name__ == "__main__":
    for name, results in (("found", found()), ("changed", changed())):
        count = missed = 0
        for what, share, throttled in results:
            count += 1
            if share < 0.95 or throttled >= 0.01:
                missed += 1
                sys.stdout.write(f"{what}: {share:.3f} of the best, {throttled:.2%} 429\n")
        sys.stdout.write(f"{name}: {count - missed} of {count}\n")
