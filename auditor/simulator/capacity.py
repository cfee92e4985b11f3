"""How much an environment can serve: a thread pool with a queue, and 429 when both are full.

The provider publishes no quota: every environment has a thread pool with a queue; 429 comes when both are full, or
when a request has waited 10 s in the queue. The model works in virtual time: service times are drawn on arrival and
the queue is first come, first served, so everything about a request is known when it arrives. Nothing here waits.
"""

import heapq
import math
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True, slots=True)
class Capacity:
    """The size and pace of a thread pool."""

    workers: int = 10
    """Requests served at the same time, at least 1."""
    queue: int = 100
    """Requests that may wait for a worker, at least 0."""
    service_seconds: float = 0.02
    """How long a worker takes for a request, on average."""
    jitter: float = 0.5
    """Service times are spread evenly over ``service_seconds`` times 1 ± this share, 0 to 1."""
    wait_limit_seconds: float = 10.0
    """A request that no worker took until then is answered 429."""
    retry_after_seconds: int | None = None
    """The ``Retry-After`` of a 429; None sends no such header, as the environment API does."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.queue < 0:
            raise ValueError(f"capacity needs at least 1 worker and a queue of 0 or more (got {self})")
        if self.service_seconds < 0 or not 0 <= self.jitter <= 1 or self.wait_limit_seconds < 0:
            raise ValueError(f"capacity needs spans of 0 or more and a jitter of 0 to 1 (got {self})")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A worker takes the request after ``wait_seconds`` and works on it for ``service_seconds``."""

    wait_seconds: float
    service_seconds: float


@dataclass(frozen=True, slots=True)
class Throttled:
    """The request is answered 429 after ``after_seconds``: 0 where the queue was full."""

    after_seconds: float


@dataclass(slots=True)
class Counts:
    """What a pool has done so far."""

    served: int = 0
    throttled_by_queue: int = 0
    """Answered 429 at once."""
    throttled_by_wait: int = 0
    """Answered 429 after the wait limit."""
    max_queued: int = 0
    """The most requests that ever waited at the same time."""

    @property
    def throttled(self) -> int:
        """All requests answered 429."""
        return self.throttled_by_queue + self.throttled_by_wait


@dataclass(slots=True)
class Pool:
    """The state of a thread pool over time; ``now`` is any monotonic clock in seconds."""

    capacity: Capacity
    seed: int | str = 0
    counts: Counts = field(default_factory=Counts)
    _free_at: list[float] = field(init=False)  # heap: when each worker is done with all that it was given
    _leaves_queue_at: list[float] = field(init=False, default_factory=list)  # heap
    _rng: Random = field(init=False)

    def __post_init__(self) -> None:
        self._free_at = [-math.inf] * self.capacity.workers
        self._rng = Random(f"pool {self.seed}")  # noqa: S311  # a simulation; nothing here guards anything

    def arrive(self, now: float) -> Admitted | Throttled:
        """Decide what becomes of a request that arrives now."""
        capacity = self.capacity
        queued = self._leaves_queue_at
        while queued and queued[0] <= now:
            heapq.heappop(queued)
        start = max(now, self._free_at[0])
        if start > now:
            if len(queued) >= capacity.queue:
                self.counts.throttled_by_queue += 1
                return Throttled(0.0)
            heapq.heappush(queued, min(start, now + capacity.wait_limit_seconds))
            self.counts.max_queued = max(self.counts.max_queued, len(queued))
            if start - now > capacity.wait_limit_seconds:
                self.counts.throttled_by_wait += 1
                return Throttled(capacity.wait_limit_seconds)
        service = capacity.service_seconds * self._rng.uniform(1 - capacity.jitter, 1 + capacity.jitter)
        heapq.heapreplace(self._free_at, start + service)
        self.counts.served += 1
        return Admitted(start - now, service)

    def resize(self, capacity: Capacity, now: float) -> None:
        """Change the capacity from now on; requests already admitted keep what they were promised.

        With fewer workers, a new request waits until enough of the old ones are done.
        """
        free_at = heapq.nlargest(capacity.workers, self._free_at)
        free_at += [now] * (capacity.workers - len(free_at))
        heapq.heapify(free_at)
        self._free_at = free_at
        self.capacity = capacity
