"""When the next request may leave: the operator's ceiling, and pauses that the environment asked for. Decides only."""

from typing import Final

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
        """Whether ``take`` must be asked: there is a ceiling, or there was a pause."""
        return self._interval > 0 or self._next > float("-inf")

    def take(self, now: float) -> float:
        """Take the place of a request that leaves now and return 0, or return after how many seconds to ask again."""
        if now < self._next:
            return self._next - now
        self._next = (self._next if now - self._next <= _SLACK_SECONDS else now) + self._interval
        return 0.0

    def pause(self, now: float, seconds: float) -> None:
        """Let no request leave before ``seconds`` have passed."""
        self._next = max(self._next, now + seconds)
