"""How many requests an older cluster serves in a span of time, and the ``X-RateLimit-*`` headers that tell of it.

The environment API had them until version 1.210, the Managed Cluster API sends them still. Decides only, in virtual
time: nothing here waits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests in each span, which begins with the first request after the one before it has ended."""

    requests: int
    seconds: float
    reset: str | None = None
    """What ``X-RateLimit-Reset`` says in place of the instant, as a proxy or a clock gone wrong may have it."""


class Verdict(NamedTuple):
    """What becomes of a request."""

    is_served: bool
    remaining: int
    """Requests that the span has left."""
    reset_seconds: float
    """Until it ends."""


class Meter:
    """Counts the requests of one environment; ``now`` is any monotonic clock in seconds."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._remaining = 0
        self._ends_at = float("-inf")

    def take(self, now: float) -> Verdict:
        """Decide what becomes of a request that arrives now."""
        if now >= self._ends_at:
            self._remaining, self._ends_at = self.quota.requests, now + self.quota.seconds
        is_served = self._remaining > 0
        self._remaining -= is_served
        return Verdict(is_served, self._remaining, self._ends_at - now)

    def headers(self, verdict: Verdict, clock: datetime) -> dict[str, str]:
        """Return what an answer says of it: the span's end in microseconds since the epoch, by the cluster's clock."""
        resets_at = clock + timedelta(seconds=verdict.reset_seconds)
        return {
            "X-RateLimit-Limit": str(self.quota.requests),
            "X-RateLimit-Remaining": str(verdict.remaining),
            "X-RateLimit-Reset": str(round(resets_at.timestamp() * 1_000_000))
            if self.quota.reset is None
            else self.quota.reset,
        }
