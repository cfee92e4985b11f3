"""How many requests one environment is given at once: found by trying, since the provider publishes no quota.

An environment has a thread pool with a queue, and answers 429 when both are full or a request has waited for 10 s in
the queue (the provider's page *Access limit*). Below the size of the pool each further request under way adds to the
answers a second; beyond it, it only waits, and keeps others waiting, too. So the limit climbs while that brings more
answers, and now and then a little more and a little less is tried. A 429 is the price of knowing where the end is:
they are paid from a budget, and only what overdraws it is too much.

Related: TCP Vegas and BBR, Netflix' concurrency-limits, Envoy's adaptive concurrency. Those compare latencies with the
least ever seen, which goes stale when the environment changes; this one compares neighbouring limits with each other.
"""

from enum import Enum, auto
from math import ceil
from typing import Final

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
_EDGE_ANSWERS: Final = 8
"""So many for each request under way tell that a limit brings hardly a 429, which is all it has to at their edge."""
_IDLE: Final = 0.1
"""Share of requests that may leave while fewer are under way than permitted, for a window to say something."""
_REST_SECONDS: Final = 4.0
"""Between one try of more and the next where nothing calls for one."""

_EARNED: Final = 0.008
"""What an answer adds to the budget; a 429 takes 1, so that fewer than 1 in 100 are."""
_BUDGET_LEAST: Final = 1.0
_BUDGET_MOST: Final = 8.0
_BUDGET_SECONDS: Final = 5.0
"""It holds at most what the answers of so long add, but 1 at least: where many come, 429s do so in bursts. It must be
full before a limit is tried that brought a 429, and such a trial may take half of it: the rest is for bursts."""
_DEBT: Final = 0.3
"""The most it owes, as a share of the limit, but at least 1: the more are under way, the more come at once."""
_CUTS: Final = (0.0, 0.1, 0.5)
"""Shares given up by the first, second, … cut before a window without one; each time one request at least."""
_PAUSES: Final = 50
"""For so many times the pause that a 429 asked for nothing is tried that may bring another."""
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
        "_budget",
        "_ceiling",
        "_counted",
        "_cut_at",
        "_cuts",
        "_dear_until",
        "_full",
        "_idle",
        "_is_seeking",
        "_is_settled",
        "_needed",
        "_pause",
        "_rate",
        "_rested_at",
        "_seconds",
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
        self._budget = _BUDGET_LEAST
        self._full = _BUDGET_LEAST
        """What the budget holds at most."""
        self._cuts = 0
        self._cut_at = self._rested_at = self._dear_until = float("-inf")
        self._pause = 0.0
        self._open(_Trial.NONE, self.value)

    def set_ceiling(self, ceiling: int) -> None:
        """Go on under another ceiling, higher or lower, with what was learned."""
        self._ceiling = ceiling
        self._base = min(self._base, ceiling)
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
        self._is_seeking, self._is_settled, self._too_many = True, False, None
        self._open(_Trial.NONE, self._base)

    def answered(self, started: float, now: float, under_way: int) -> None:
        """Note an answer that is no 429; called for every request, so it does little."""
        if self._budget < self._full:
            self._budget += _EARNED
            if self._budget >= self._full:
                self._try_edge(now)
        if self.value < self._target:  # by one for each answer, so that a first 429 ends it before there are many
            if under_way >= self.value:
                self.value += 1
            return
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
        self._budget = max(self._budget - 1, -max(1.0, self._base * _DEBT))
        if asked_seconds:
            self._budget = min(self._budget, -_EARNED)
            self._dear_until = now + asked_seconds * _PAUSES
        if started < self._cut_at:  # it was under way already
            return 0.0
        at_once = max(1, min(under_way, self.value))
        if at_once > self._base and (self._too_many is None or at_once < self._too_many):
            self._too_many = at_once
        is_late = now - started >= _LATE_SECONDS
        is_trial = self.value > self._base
        if self._budget >= (self._full / 2 if is_trial else 0) and not is_late and at_once > 1:
            return 0.0
        if is_trial and not is_late:
            self._retreat(at_once)
        else:
            self._cut(at_once, 0.5 if is_late else _CUTS[min(self._cuts, len(_CUTS) - 1)])
        self._cut_at = self._rested_at = now
        if at_once > 1:
            return 0.0
        self._pause = min(max(_PAUSE_FIRST, 2 * self._pause), _PAUSE_LONGEST)
        return self._pause

    def _retreat(self, at_once: int) -> None:
        """End a trial of more that cost too much; up to where it did it was good."""
        base = min(max(self._base, (self._too_many or at_once) - 1), self.value)
        if base != self._base:
            self._base, self._rate = base, 0.0
        self._is_seeking = False
        self._open(_Trial.NONE, self._base)

    def _cut(self, at_once: int, share: float) -> None:
        self._cuts += 1
        self._too_many = at_once
        self._base = max(1, min(at_once - 1, int(at_once * (1 - share))))
        self._rate = 0.0
        self._is_seeking = self._base < at_once - 1
        self._is_settled = self._is_settled and not self._is_seeking
        self._open(_Trial.NONE, self._base)

    def _open(self, trial: _Trial, target: int) -> None:
        """Begin a window, which tells what a limit of ``target`` brings."""
        self._trial = trial
        self._target = self._skipped = target
        self.value = min(self.value, target) if trial is _Trial.UP else target
        share = max(abs(target - self._base) / self._base, _STEP)
        self._needed = 2 * target
        enough = ceil(_WINDOW_ANSWERS / (share * share))
        if trial is _Trial.UP and self._is_at_edge(target):
            self._needed = max(self._needed, min(_EDGE_ANSWERS * target, enough))
        elif not self._is_seeking:
            self._needed = max(self._needed, enough)
        self._counted = self._idle = self._under_way = 0
        self._seconds = 0.0

    def _judge(self, now: float) -> None:
        """Decide by a window that is full what to do next."""
        # Little's law: so a pause between two requests, when a batch is recorded, is not taken for a slow environment.
        rate = self._under_way / self._seconds
        is_short = self._seconds <= _SHORT_SECONDS * self._counted
        self._cuts = 0
        self._pause = 0.0
        if self._idle > _IDLE * self._counted:  # it is not the limit that holds requests up
            self._open(_Trial.NONE, self._base)
        elif self._trial is _Trial.NONE:
            self._judge_base(now, rate, is_short=is_short)
        elif self._trial is _Trial.UP:
            self._judge_more(now, rate, is_short=is_short)
        elif rate >= self._rate * (1 - _LOSS):
            self._base = self.value
            self._try_less()
        else:
            self._is_settled, self._rested_at = True, now
            self._open(_Trial.NONE, self._base)

    def _judge_base(self, now: float, rate: float, *, is_short: bool) -> None:
        """Decide whether more, less or neither is tried."""
        has_changed = self._rate > 0 and abs(rate - self._rate) > _CHANGED * self._rate
        self._rate = (self._rate + rate) / 2 if self._rate and not has_changed else rate
        self._full = min(max(_BUDGET_LEAST, _EARNED * _BUDGET_SECONDS * self._rate), _BUDGET_MOST)
        if has_changed:
            self._is_settled = False
        if has_changed or self._is_seeking or now - self._rested_at > _REST_SECONDS:
            self._try_more(now, _GROWTH if has_changed or self._is_seeking else 1 + _STEP)
        elif not self._is_settled and not is_short:
            self._try_less()
        else:
            self._open(_Trial.NONE, self._base)

    def _judge_more(self, now: float, rate: float, *, is_short: bool) -> None:
        """Decide whether the higher limit stays, which at the edge of 429s it does if it cost no more than it may."""
        is_at_edge = self._is_at_edge(self.value)
        if is_at_edge or is_short or rate >= self._rate * (1 + _GAIN):
            self._base, self._rate = self.value, rate
            if is_at_edge:
                self._too_many = None
            else:
                self._is_settled = False
            self._try_more(now, 1 + _STEP if is_at_edge else _GROWTH)
        else:
            self._is_seeking = False
            self._rested_at = now
            self._open(_Trial.NONE, self._base)

    def _try_more(self, now: float, growth: float) -> None:
        """Try a higher limit, but none that brought a 429 before the budget is full again."""
        target = min(max(ceil(self._base * growth), self._base + 1), self._ceiling)
        if self._too_many is not None and target >= self._too_many:
            may_cost = self._budget >= self._full and now >= self._dear_until
            target = self._too_many if may_cost else self._too_many - 1
        if target > self._base:
            self._open(_Trial.UP, target)
        else:
            self._is_seeking = False
            self._open(_Trial.NONE, self._base)

    def _is_at_edge(self, limit: int) -> bool:
        """Whether so many under way have brought a 429."""
        return self._too_many is not None and limit >= self._too_many

    def _try_edge(self, now: float) -> None:
        """Try one request more as soon as that may cost a 429, where nothing else keeps the limit down."""
        is_at_edge = self._too_many == self._base + 1 and self._base < self._ceiling
        if is_at_edge and self._trial is _Trial.NONE and self._rate and now >= self._dear_until:
            self._open(_Trial.UP, self._base + 1)

    def _try_less(self) -> None:
        target = max(1, min(int(self._base * (1 - _STEP)), self._base - 1))
        self._open(_Trial.DOWN if target < self._base else _Trial.NONE, target)
