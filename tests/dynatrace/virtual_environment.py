"""The simulator's thread pool and a client that is never short of requests, in virtual time: exact and fast."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from auditor.simulator.capacity import Capacity, Pool, Throttled


class Limiting(Protocol):
    """What decides how many requests are under way."""

    @property
    def value(self) -> int: ...
    def answered(self, started: float, now: float, under_way: int) -> None: ...
    def throttled(self, started: float, now: float, under_way: int, asked_seconds: float = 0.0) -> float: ...


@dataclass
class Fixed:
    """The same number of requests, whatever happens."""

    value: int

    def answered(self, started: float, now: float, under_way: int) -> None: ...

    def throttled(self, started: float, now: float, under_way: int, asked_seconds: float = 0.0) -> float:
        return asked_seconds


@dataclass
class Course:
    """When which answers came."""

    seconds: float
    served: list[float] = field(default_factory=list)
    throttled: list[float] = field(default_factory=list)

    def rate(self, since: float, until: float | None = None) -> float:
        """Answers a second, 429 apart."""
        until = self.seconds if until is None else until
        return sum(since <= at < until for at in self.served) / (until - since)

    def share_throttled(self, since: float = 0.0, until: float | None = None) -> float:
        until = self.seconds if until is None else until
        throttled = sum(since <= at < until for at in self.throttled)
        return throttled / max(1, throttled + sum(since <= at < until for at in self.served))


def run(
    limit: Limiting,
    capacity: Capacity,
    seconds: float,
    *,
    trip: float = 0.001,
    changes: Sequence[tuple[float, Capacity]] = (),
    supply: int = 10_000,
    seed: int = 0,
) -> Course:
    """Ask for so many seconds; ``trip`` is the network's share of an answer's time, there and back.

    ``changes`` are other capacities and when they come; ``supply`` is how many requests there ever are at once;
    ``seed`` draws the times that requests take.
    """
    pool, course, numbers = Pool(capacity, seed), Course(seconds), count()
    events: list[tuple[float, int, str, float, int]] = []  # at, number, what, started, under way at the start
    now, paused_until, under_way, pending = 0.0, 0.0, 0, list(changes)

    def plan(at: float, what: str, started: float, at_once: int) -> None:
        heapq.heappush(events, (at, next(numbers), what, started, at_once))

    while now < seconds:
        while now >= paused_until and under_way < min(limit.value, supply):
            under_way += 1
            plan(now + trip / 2, "arrives", now, under_way)
        if not events:
            now = paused_until
            continue
        now, _number, what, started, at_once = heapq.heappop(events)
        while pending and pending[0][0] <= now:
            pool.resize(pending.pop(0)[1], now)
        if what == "arrives":
            verdict = pool.arrive(now)
            if isinstance(verdict, Throttled):
                plan(now + verdict.after_seconds + trip / 2, "is throttled", started, at_once)
            else:
                plan(now + verdict.wait_seconds + verdict.service_seconds + trip / 2, "is served", started, at_once)
        elif what == "is served":
            limit.answered(started, now, at_once)
            course.served.append(now)
            under_way -= 1
        elif what == "is throttled":
            asked = float(pool.capacity.retry_after_seconds or 0)
            pause = max(limit.throttled(started, now, at_once, asked), asked)
            course.throttled.append(now)
            under_way -= 1
            if pause:
                paused_until = max(paused_until, now + pause)
                plan(paused_until, "goes on", now, 0)
    return course


def best_fixed(capacity: Capacity, seconds: float, *, trip: float = 0.001) -> float:
    """Return the most answers a second that any fixed number of requests brings with fewer than 1 in 100 throttled.

    Fewer than half the workers can not be the best, nor more than workers and queue hold. What comes of the first third
    does not count: the pool fills.
    """
    most = (capacity.workers + capacity.queue) * (1 + trip / capacity.service_seconds)
    numbers = {capacity.workers, int(most)}
    number = capacity.workers / 2
    while number <= min(256, most):
        numbers.add(max(1, int(number)))
        number = max(number + 1, number * 1.3)
    courses = [run(Fixed(number), capacity, seconds, trip=trip) for number in sorted(numbers)]
    return max(
        course.rate(seconds / 3) for course in courses if course.served and course.share_throttled(seconds / 3) < 0.01
    )
