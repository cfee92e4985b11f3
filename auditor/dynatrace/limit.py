"""How many requests one environment is given at once: found by trying, since the provider publishes no quota.

An environment has a thread pool with a queue, and answers 429 when both are full or a request has waited for 10 s in
the queue (the provider's page *Access limit*). Below the size of the pool each further request under way adds to the
answers a second; beyond it, it only waits, and keeps others waiting, too. So the limit climbs while that brings more
answers, and now and then a little more and a little less is tried. Where that ends in 429s, they are the measure, and
the price of knowing where the end is (``auditor.dynatrace.edge``).

Related: TCP Vegas and BBR, Netflix' concurrency-limits, Envoy's adaptive concurrency. Those compare latencies with the
least ever seen, which goes stale when the environment changes; this one compares neighbouring limits with each other.
"""

from enum import Enum, auto
from math import ceil
from typing import Final

from auditor.dynatrace.edge import Edge

_START: Final = 4
_RESUMED: Final = 0.5
"""Of what was learned before."""
_GROWTH: Final = 1.5
"""From one trial to the next while more is sought."""
_STEP: Final = 0.25
"""How much more or less is tried at a time, as a share; at least one."""
_GAIN: Final = 0.04
"""More answers a second, as a share, that make a higher limit worth it."""
_LOSS: Final = 0.02
"""Fewer answers a second, as a share, that a lower limit may cost."""
_CHANGED: Final = 0.15
"""A difference of answers a second, at the same limit, that tells of another capacity."""
_SHORT_SECONDS: Final = 0.02
"""Answers that come so soon did not wait long, and what they waited for may be this process."""
_WINDOW_ANSWERS: Final = 6.0
"""So many answers tell a difference by 100 %; by a half, four times as many."""
_IDLE: Final = 0.1
"""Share of requests that may leave while fewer are under way than permitted, for a window to say something."""
_REST_SECONDS: Final = 4.0
"""Between one try of more and the next where nothing calls for one."""

_RAMP: Final = 16
"""A higher limit is gone up to by one in so many requests a round, and one at least, so that a first 429 ends it before
there are many."""
_PAUSES: Final = 50
"""For so many times the pause that a 429 asked for the limit at an edge does not rise."""
_LATE_SECONDS: Final = 1.0
"""A 429 that took so long has been in the queue, which therefore is much too long."""
_PAUSE_FIRST: Final = 0.25
_PAUSE_LONGEST: Final = 8.0


class _Trial(Enum):
    """What the present window is about."""

    NONE = auto()
    """What the limit that has proved itself brings now."""
    UP = auto()
    """Whether a higher limit brings more; on success a still higher one follows at once."""
    DOWN = auto()
    """Whether a lower limit brings as much."""


class Limit:
    """The limit of one environment, between 1 and the operator's ceiling: a machine that is told what happens.

    ``started`` and ``now`` are readings in seconds of a clock that only goes forward, of a request's departure and end;
    ``under_way`` is how many were under way when it left, itself included.
    """

    __slots__ = (
        "_base",
        "_ceiling",
        "_counted",
        "_cut_at",
        "_dear_until",
        "_edge",
        "_idle",
        "_is_at_edge",
        "_is_seeking",
        "_is_settled",
        "_needed",
        "_pause",
        "_rate",
        "_rested_at",
        "_seconds",
        "_served_seconds",
        "_skipped",
        "_target",
        "_too_many",
        "_trial",
        "_under_way",
        "value",
    )

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self.value: int = min(_START, ceiling)
        """Requests that may be under way now."""
        self._base = self.value
        """The limit that has proved itself."""
        self._rate = 0.0
        """Answers a second that it brought; 0 where they have not been measured."""
        self._is_settled = False
        """Whether less than it was tried, and brought less."""
        self._is_seeking = True
        """Whether the limit is thought to be far from what it should be: windows are short and steps long."""
        self._too_many: int | None = None
        """So many under way brought a 429; None where none has been seen lately."""
        self._edge = Edge(self.value)  # as many leave before there is a first answer to learn from
        self._is_at_edge = False
        """Whether the edge decides what the limit is, and the windows only whether less would do."""
        self._served_seconds = 0.0
        """What an answer took in the last window; 0 before the first."""
        self._cut_at = self._rested_at = self._dear_until = float("-inf")
        self._pause = 0.0
        self._open(_Trial.NONE, self.value)

    def set_ceiling(self, ceiling: int) -> None:
        """Go on under another ceiling, higher or lower, with what was learned."""
        self._ceiling = ceiling
        self._base = min(self._base, ceiling)
        if self._edge.level > ceiling:
            self._edge.stand(ceiling)
        self._open(_Trial.NONE, self._base)

    @property
    def learned(self) -> int | None:
        """What the environment was found to serve best; None before an end of it has been found."""
        return None if self._is_seeking and self._too_many is None else self._base

    def resume(self, learned: int) -> None:
        """Begin anew with a share of what another limit learned of the environment, which others may use by now.

        Not where that is more than the ceiling: who lowered it wants to know nothing of what was before.
        """
        if learned > self._ceiling:
            return
        self._base = max(min(learned, _START), ceil(learned * _RESUMED))
        self._rate = 0.0
        self._is_seeking, self._is_settled, self._is_at_edge, self._too_many = True, False, False, None
        self._open(_Trial.NONE, self._base)

    def answered(self, started: float, now: float, under_way: int) -> None:
        """Note an answer that is no 429; called for every request, so it does little."""
        self._edge.earn()
        is_full = under_way >= self.value - self.value // _RAMP
        if self.value < self._target:
            self.value += is_full
            return
        if self._is_at_edge and self._trial is _Trial.NONE and is_full and now >= self._dear_until:
            self._edge.rise(self._ceiling)
            self._stand(int(self._edge.level))
        if self._skipped:  # until all that left under another limit has come back
            if under_way <= self.value:
                self._skipped -= 1
            return
        self._counted += 1
        self._under_way += under_way
        self._seconds += now - started
        if under_way < self.value:
            self._idle += 1
        if self._counted > self._needed and self._seconds:
            self._judge(now)

    def throttled(self, started: float, now: float, under_way: int, asked_seconds: float = 0.0) -> float:
        """Note a 429; return for how many seconds nothing should leave, 0 where a lower limit will do.

        ``asked_seconds`` are those of its ``Retry-After``: where a 429 costs a pause, it must be rarer.
        """
        at_once = max(1, min(under_way, self.value))
        is_flooded = self._edge.is_flooded(at_once, now - started, self._served_seconds)
        if asked_seconds:
            self._dear_until = now + asked_seconds * _PAUSES
        is_late = now - started >= _LATE_SECONDS
        if started < self._cut_at and not is_flooded:  # it was under way already
            return 0.0
        if is_late:
            self._edge.stand(at_once // 2)
        elif is_flooded:
            self._edge.shrink(at_once)
        elif self._trial is _Trial.DOWN and at_once > 1:
            return 0.0
        elif self._is_at_edge:
            self._edge.fall(at_once)
        else:
            self._edge.stand(max(self._base, at_once - 1) if self._trial is _Trial.UP else at_once - 1)
        self._cut_at = self._rested_at = now
        self._too_many = at_once
        self._is_seeking = False
        if self._is_at_edge and self._trial is _Trial.NONE:
            self._stand(int(self._edge.level))
        else:
            self._go_to_edge()
        if at_once > 1:
            return 0.0
        self._pause = min(max(_PAUSE_FIRST, 2 * self._pause), _PAUSE_LONGEST)
        return self._pause

    def _go_to_edge(self) -> None:
        """From now on the edge decides, from the level at which it stands."""
        self._is_at_edge = True
        self._base, self._rate = int(self._edge.level), 0.0
        self._open(_Trial.NONE, self._base)

    def _stand(self, limit: int) -> None:
        """Take over what the edge says; each request under way is taken to bring as many answers as before."""
        limit = min(limit, self._ceiling)
        self._rate *= limit / self._base
        self._base = self._target = self.value = limit

    def _open(self, trial: _Trial, target: int) -> None:
        """Begin a window, which tells what a limit of ``target`` brings."""
        self._trial = trial
        self._target = self._skipped = target
        self.value = min(self.value, target) if trial is _Trial.UP else target
        share = max(abs(target - self._base) / self._base, _STEP)
        self._needed = 2 * target
        enough = ceil(_WINDOW_ANSWERS / (share * share))
        if not self._is_seeking:
            self._needed = max(self._needed, enough)
        self._counted = self._idle = self._under_way = 0
        self._seconds = 0.0

    def _judge(self, now: float) -> None:
        """Decide by a window that is full what to do next."""
        # Little's law: so a pause between two requests, when a batch is recorded, is not taken for a slow environment.
        rate = self._under_way / self._seconds
        is_short = self._seconds <= _SHORT_SECONDS * self._counted
        self._served_seconds = self._seconds / self._counted
        self._pause = 0.0
        if self._idle > _IDLE * self._counted:  # it is not the limit that holds requests up
            self._open(_Trial.NONE, self._base)
        elif self._trial is _Trial.NONE:
            self._judge_base(now, rate, is_short=is_short)
        elif self._trial is _Trial.UP:
            self._judge_more(now, rate, is_short=is_short)
        elif rate >= self._rate * (1 - _LOSS):
            self._base = self.value
            self._is_at_edge = False
            self._try_less()
        else:
            self._is_settled, self._rested_at = True, now
            self._open(_Trial.NONE, self._base)

    def _judge_base(self, now: float, rate: float, *, is_short: bool) -> None:
        """Decide whether more, less or neither is tried."""
        has_changed = self._rate > 0 and abs(rate - self._rate) > _CHANGED * self._rate
        self._rate = (self._rate + rate) / 2 if self._rate and not has_changed else rate
        if has_changed:
            self._is_settled = False
        is_due = has_changed or self._is_seeking or now - self._rested_at > _REST_SECONDS
        if is_due and not self._is_at_edge:
            self._try_more(_GROWTH if has_changed or self._is_seeking else 1 + _STEP)
        elif not self._is_settled and not is_short:
            self._try_less()
        else:
            self._open(_Trial.NONE, self._base)

    def _judge_more(self, now: float, rate: float, *, is_short: bool) -> None:
        """Decide whether the higher limit stays."""
        part = min(1.0, (self.value / self._base - 1) / _STEP)  # of a whole step, where a 429 is known to be near
        if is_short or rate >= self._rate * (1 + _GAIN * part):
            self._base, self._rate = self.value, rate
            self._is_settled = False
            self._try_more(_GROWTH if self._is_seeking else 1 + _STEP)
        else:
            self._is_seeking = False
            self._rested_at = now
            self._open(_Trial.NONE, self._base)

    def _try_more(self, growth: float) -> None:
        """Try a higher limit; who comes to where a 429 was is at the edge."""
        target = min(max(ceil(self._base * growth), self._base + 1), self._ceiling)
        if self._too_many is not None and target >= self._too_many:
            target = self._too_many - 1
        if target > self._base:
            self._open(_Trial.UP, target)
        elif self._base < self._ceiling:
            self._edge.stand(self._base)
            self._go_to_edge()
        else:
            self._is_seeking = False
            self._open(_Trial.NONE, self._base)

    def _try_less(self) -> None:
        target = max(1, min(int(self._base * (1 - _STEP)), self._base - 1))
        self._open(_Trial.DOWN if target < self._base else _Trial.NONE, target)
