"""Which stored tokens are looked up first, and which at all where a sweep may make only so many lookups."""

import heapq
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from auditor.model.lookup import TokenMetadata
from auditor.policy.scopes import RiskSettings

_RISKY_SHARE: Final = 4
"""One lookup in so many goes to the riskiest; the others go by age, so that every token has its turn."""
_EXPIRES_SOON: Final = timedelta(days=14)
_CHANGED_LATELY: Final = timedelta(days=7)
_MINUTES: Final = 10**9
"""More than there have been since 1970."""


class Urgency(msgspec.Struct, frozen=True, order=True, gc=False):
    """How soon a token should be looked up: the lesser, the sooner."""

    calm: int
    """What does not speak for it, of: never looked up, which outweighs all others; powerful, expiring, changed."""
    looked_up_at: float
    """When it was looked up last, in seconds since 1970; 0 where never."""

    @property
    def is_risky(self) -> bool:
        """Whether anything but age speaks for it."""
        return self.calm < _CALM

    @property
    def rank(self) -> int:
        """The order as a number, to the minute: so many tokens have the same that few need be compared."""
        return self.calm * _MINUTES + int(self.looked_up_at) // 60


_CALM: Final = 3
NEVER_LOOKED_UP: Final = Urgency(-1, 0.0)


def urgency(
    last_found: TokenMetadata | None,
    *,
    looked_up_at: datetime | None,
    changed_at: datetime | None,
    risk: RiskSettings,
    now: datetime,
) -> Urgency:
    """Return how soon a token should be looked up, by what the last lookup that found it said of it.

    ``changed_at`` is when anything but its use last changed. Never looked up comes first; then what expires within 14
    days or has done so in the last 14, holds a scope of tier high or critical, or changed in the last 7 days, the more
    of these the sooner; among equals the one whose last lookup is the oldest.
    """
    if looked_up_at is None:
        return NEVER_LOOKED_UP
    calm = _CALM
    if last_found is not None and last_found.enabled is not False:
        expires = last_found.expiration_date
        calm -= expires is not None and abs(expires - now) <= _EXPIRES_SOON
        calm -= bool(risk.high_risk_among(last_found.scopes))
    calm -= changed_at is not None and now - changed_at <= _CHANGED_LATELY
    return Urgency(calm, looked_up_at.timestamp())


T = TypeVar("T")


class Choice(Generic[T]):
    """Chooses a number of tokens among any number of them, in memory for that number.

    A quarter of the places goes to the riskiest, the rest to those looked up the longest ago, never ones before all. So
    with N tokens and B places every token is looked up at least once in ceil(N / (B - B // 4)) + 1 sweeps.
    """

    def __init__(self, places: int) -> None:
        self.offered = 0
        """How many tokens took part."""
        self._risky = _Best[T](places // _RISKY_SHARE)
        self._oldest = _Best[T](places)
        self._places = places

    def offer(self, token: T, urgency: Urgency) -> None:
        """Let a token take part; among equals the one that was offered first wins."""
        self.offered += 1
        if urgency.is_risky:
            self._risky.offer(urgency.calm, urgency.looked_up_at, self.offered, token)
        self._oldest.offer(0, urgency.looked_up_at, self.offered, token)

    def chosen(self) -> list[T]:
        """Return those that are to be looked up: the riskiest, then the others by age."""
        chosen = dict(self._risky.in_order())
        for number, token in self._oldest.in_order():
            if len(chosen) >= self._places:
                break
            chosen[number] = token
        return list(chosen.values())


class _Best(Generic[T]):
    """The least of what it was offered, up to a number."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._heap: list[tuple[int, float, int, T]] = []
        """The greatest first: numbers are negated. No two have the same third, so that tokens are never compared."""

    def offer(self, first: int, second: float, third: int, token: T) -> None:
        entry = (-first, -second, -third, token)
        if len(self._heap) < self._number:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def in_order(self) -> list[tuple[int, T]]:
        """Return the tokens with their third numbers, the least first."""
        return [(-third, token) for _first, _second, third, token in sorted(self._heap, reverse=True)]
