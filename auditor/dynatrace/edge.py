"""The limit where 429s begin: as many requests under way as cost just so many of them.

Where hardly anything may wait, latency tells nothing: who finds the queue full is answered 429 at once, and all others
as soon as ever. So the 429s themselves are the measure. There are two kinds of edges:

- A *sharp* one, where the network takes little of an answer's time: one request more than the pool holds is a 429 at
  once, and then again and again; one fewer is none.
- A *blurred* one, where requests on their way make the pool now fuller, now emptier than the limit says. 429s come by
  chance, from far below on and ever more of them; the best number is the one that costs just under what may be.

One rule holds the limit at both: an answer raises it by ``SHARE`` of a step, a 429 lowers it by a whole one. So it
comes to rest where ``SHARE`` of the answers are 429, whatever the pool is like. (The weighted up-and-down rule of
psychophysics; AIMD, RFC 5681, is another of the kind, with a share of losses that nobody chose.) Where the edge has
moved up it is climbed to at once, as CUBIC (RFC 9438) does once well past its last loss; and a flood of 429s is an edge
that has moved down. What that cost is paid back, by not rising, before there may be more.
"""

from typing import Final

SHARE: Final = 0.0085
"""Of the answers, that may be 429: fewer than 1 in 100, with something left for what cannot be foreseen."""
_ON_THE_WAY: Final = 1.5
"""An edge is sharp while no more requests than that are on the network, as the time of a 429 tells."""
_STEP_LEAST: Final = 0.3
_STEP_SHARE: Final = 0.02
"""The step at a blurred edge, of the limit; at a sharp one it is 1, which is all that there is to be wrong by."""
_CLIMB: Final = 16
"""A climb adds one in so many requests a round, and one at least: that many 429s at once end it."""
_QUIET: Final = 2.0
"""429s that would have been due and did not come, after which a blurred edge is thought to have moved."""
_ROUNDS: Final = 2
"""For so many the limit stands where it brought a 429, without another, until a sharp edge is."""
_CREDIT_LIMIT_PART: Final = 32
"""Of the limit, that adds a 429 that may come before any is owed: the more are under way, the more come at once."""
_LEAK: Final = 3.0
"""429s a round that are no flood."""
_FLOOD_SHARP: Final = 2.5
_FLOOD_LEAST: Final = 3.0
_FLOOD_SHARE: Final = 0.2
"""Beyond those, a flood: the environment serves much less than before. At a blurred edge, of the limit."""


class Edge:
    """Holds a limit where 429s are as rare as may be. ``level`` is that limit and the fraction of the next request."""

    __slots__ = ("_bad", "_burst", "_credit", "_is_climbing", "_is_sharp", "_quiet", "_stood", "level")

    def __init__(self, credit: int) -> None:
        self.level = 1.0
        self._credit = float(credit)
        """429s that may still come; below 0 those that are owed. Nothing is tried before they are paid back."""
        self._burst = 0.0
        """429s of late, less those of a steady edge."""
        self._bad = 0
        """So many under way brought the last 429."""
        self._is_sharp = True
        self._is_climbing = False
        self._quiet = 0.0
        self._stood = 0
        """Answers since the limit last rose."""

    def earn(self) -> None:
        """Note an answer, wherever the limit is."""
        if self._burst > 0:
            self._burst -= _LEAK / self.level
        if self._credit < 1 + self.level / _CREDIT_LIMIT_PART:
            self._credit += SHARE

    def stand(self, limit: float) -> None:
        """Begin to hold a limit here."""
        self.level, self._is_climbing, self._quiet, self._stood = max(1.0, limit), False, 0.0, 0

    def rise(self, ceiling: int) -> None:
        """Note an answer that came while as many were under way as permitted."""
        limit = int(self.level)
        if limit >= ceiling:
            return
        if self._is_climbing:
            self.level += max(1.0, self.level / _CLIMB) / self.level
            return
        if self._credit < (-1 if self._is_sharp else 0):
            return
        self._stood += 1
        self._quiet += SHARE
        self.level += self._step() * SHARE
        if int(self.level) > limit:
            self._stood = 0
        elif self._is_sharp:
            self._is_climbing = limit >= self._bad and self._stood >= _ROUNDS * limit
        else:
            self._is_climbing = self._quiet >= _QUIET and self._credit >= 1

    def is_flooded(self, at_once: int, seconds: float, served_seconds: float) -> bool:
        """Note a 429; return whether it is one of so many that the environment must serve much less than before.

        It came after ``seconds``, where an answer takes ``served_seconds``; 0 where that is not known.
        """
        most = 1 + self.level / _CREDIT_LIMIT_PART
        self._credit = min(max(self._credit - 1, -self.level), most)
        self._burst = max(0.0, self._burst) + 1
        self._is_sharp = seconds * at_once < _ON_THE_WAY * served_seconds or not served_seconds
        if self._burst <= (_FLOOD_SHARP if self._is_sharp else max(_FLOOD_LEAST, _FLOOD_SHARE * at_once)):
            return False
        self._burst = 0.0
        return True

    def shrink(self, at_once: int) -> None:
        """Give way to a flood."""
        # At a sharp edge those before it took the first two off a limit that is to be halved.
        share = max(0.6 * at_once, at_once / 2 + 1) if self._is_sharp else 0.8 * at_once
        self.stand(min(share, at_once - 1))
        self._bad = int(self.level) + 1

    def fall(self, at_once: int) -> None:
        """Give way to a 429 of a request that left with so many under way; it is one of few."""
        level = min(self.level, at_once - 0.01) if self._is_climbing else self.level - self._step()
        self.stand(int(level) if self._is_sharp else level)
        self._bad = at_once

    def _step(self) -> float:
        return 1.0 if self._is_sharp else max(_STEP_LEAST, _STEP_SHARE * self.level)
