"""When the next request may leave: the operator's ceiling, and pauses that the environment asked for. Decides only."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from auditor.outbound import LONGEST_WAIT_SECONDS, sent_at

_SLACK_SECONDS: Final = 0.05
"""A request that leaves late by no more than this, as timers do, does not make the ones after it late."""


class Pace:
    """A queue of departures, ``1 / requests_per_second`` apart; without a ceiling only pauses hold anything up.

    ``now`` is the reading in seconds of a clock that only goes forward.
    """

    def __init__(self, requests_per_second: float | None) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next = float("-inf")

    @property
    def holds_up(self) -> bool:
        """Whether ``take`` must be asked: there is a ceiling, or a pause whose end nobody has met yet."""
        return self._interval > 0 or self._next > float("-inf")

    def take(self, now: float) -> float:
        """Take the place of a request that leaves now and return 0, or return after how many seconds to ask again."""
        if seconds := self.seconds_to_wait(now):
            return seconds
        if self._interval:
            self._next = (self._next if now - self._next <= _SLACK_SECONDS else now) + self._interval
        else:
            self._next = float("-inf")
        return 0.0

    def seconds_to_wait(self, now: float) -> float:
        """Return after how many seconds there is a place; 0 where there is one now."""
        return max(0.0, self._next - now)

    def pause(self, now: float, seconds: float) -> None:
        """Let no request leave before ``seconds`` have passed."""
        self._next = max(self._next, now + seconds)


class Allowance(NamedTuple):
    """What the ``X-RateLimit-*`` headers of an answer leave of a quota."""

    remaining: int
    """Requests that may still be sent."""
    reset_seconds: float
    """Until there are new ones; 0 where that is not said, is over, or is too far away to be meant."""


def allowance_of(headers: Mapping[str, str], now: datetime) -> Allowance | None:
    """Read the quota of an answer; None where it has none, as with the environment API since version 1.210.

    Older clusters and the Managed Cluster API send ``X-RateLimit-Remaining``, and in ``X-RateLimit-Reset`` an instant
    in microseconds since the epoch (the provider's page *Access limit*). It is of their clock, and so is ``Date``;
    ``now`` stands in where that is missing. An instant more than a day away is a mistake: no quota lasts so long, and
    to believe it would end the sweep.
    """
    try:
        remaining = max(0, int(headers["X-RateLimit-Remaining"]))
    except (KeyError, ValueError):
        return None
    try:
        resets_at = int(headers["X-RateLimit-Reset"]) / 1_000_000
    except (KeyError, ValueError, OverflowError):
        return Allowance(remaining, 0.0)
    seconds = resets_at - sent_at(headers, now).timestamp()
    return Allowance(remaining, seconds if 0 < seconds <= LONGEST_WAIT_SECONDS else 0.0)
