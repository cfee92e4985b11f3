"""What will expire within twelve months, where too much of it ends at once, and on which days to renew it instead."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from auditor.model.finding import Violation
from auditor.policy.fleet import ExpiryWindow
from auditor.policy.rules import exp_06
from auditor.policy.rules.exp_06 import Cliff

_DAY: Final = timedelta(days=1)
_EPOCH: Final = date(1970, 1, 1)
_SATURDAY: Final = 5


class Staggering(BaseModel):
    """How renewals are to be staggered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lead_days: int = Field(default=14, ge=0, le=365)
    """A token is renewed so many days before it expires, or earlier."""
    spread_days: int = Field(default=30, ge=0, le=365)
    """But at most so many days earlier than that, so that none is renewed needlessly early."""
    weekdays_only: bool = False
    """Whether no token is to be renewed on a Saturday or Sunday."""

    def allows(self, day: date) -> bool:
        """Whether tokens may be renewed on a day."""
        return not self.weekdays_only or day.weekday() < _SATURDAY


class CliffAhead(msgspec.Struct, frozen=True):
    """A span of days in which too many tokens expire."""

    first_day: date
    last_day: date
    tokens: int
    message: str
    """What DT-EXP-06 says of it."""


class Slot(msgspec.Struct, frozen=True):
    """Some tokens that expire on one day, and the day to renew them."""

    expire_on: date
    renew_on: date
    tokens: int
    keeps_lead: bool
    """Whether that leaves the lead time; False where there is no room for it."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What expires in one environment. Days are UTC's; only live tokens count: stored, found, not disabled."""

    environment: str
    first_day: date
    last_day: date
    """Twelve months on. A window that goes on beyond it is judged by what expires up to this day."""
    active: int
    """Live tokens, whenever they expire, if ever."""
    days: Mapping[date, int]
    """Tokens that expire, by day, in order; days without any are left out."""
    cliffs: Sequence[CliffAhead]
    slots: Sequence[Slot]
    """When to renew the tokens of cliffs, by the day they expire and then the day of renewal."""
    renewals: Mapping[date, int]
    """What has to be renewed by day if that is done: tokens of cliffs on the proposed days, others when they expire."""

    @property
    def tokens(self) -> int:
        """How many tokens expire."""
        return sum(self.days.values())

    @property
    def most_before(self) -> int:
        """The most tokens that expire on one day."""
        return max(self.days.values(), default=0)

    @property
    def most_after(self) -> int:
        """The most tokens that have to be renewed on one day if the proposal is followed."""
        return max(self.renewals.values(), default=0)

    @property
    def without_lead(self) -> int:
        """Tokens of cliffs for which the lead time cannot be kept."""
        return sum(slot.tokens for slot in self.slots if not slot.keeps_lead)


class Ending(msgspec.Struct, frozen=True, gc=False):
    """A token that expires."""

    environment: str
    label: str
    token_name: str | None
    owner: str | None
    expiration_date: datetime


class Proposal(msgspec.Struct, frozen=True):
    """A token of a cliff, and the day to renew it."""

    token: Ending
    renew_on: date
    keeps_lead: bool


def horizon(now: datetime) -> tuple[date, date]:
    """Return the first and the last day of a forecast: today, and the day before today's date in a year."""
    first = day_of(now)
    try:
        end = first.replace(year=first.year + 1)
    except ValueError:  # 29 February
        end = date(first.year + 1, 3, 1)
    return first, end - _DAY


def day_of(instant: datetime) -> date:
    """Return the day of an instant in UTC."""
    return instant.astimezone(UTC).date()


def forecast(
    environment: str,
    days: Mapping[date, int],
    active: int,
    *,
    now: datetime,
    cliff: Cliff,
    staggering: Staggering,
) -> Forecast:
    """Return the forecast for tokens that expire on these days; days outside the horizon are left out.

    ``cliff`` says what DT-EXP-06 holds to be too many; windows are the ones that it looks at.
    """
    first, last = horizon(now)
    ahead = {day: days[day] for day in sorted(days) if first <= day <= last and days[day] > 0}
    cliffs = list(_cliffs(ahead, active, cliff, now))
    slots = _stagger(ahead, cliffs, first, staggering)
    renewals = dict(ahead)
    for slot in slots:
        renewals[slot.expire_on] -= slot.tokens
        renewals[slot.renew_on] = renewals.get(slot.renew_on, 0) + slot.tokens
    return Forecast(
        environment=environment,
        first_day=first,
        last_day=last,
        active=active,
        days=ahead,
        cliffs=cliffs,
        slots=slots,
        renewals={day: renewals[day] for day in sorted(renewals) if renewals[day]},
    )


class Proposer:
    """Gives the tokens of cliffs their days, one token after the other, so that nobody has to hold them all.

    Tokens have to come by the day they expire and then by owner. The tokens of one day take its slots in turn, so that
    those of one owner, who come together, are spread.
    """

    def __init__(self, made: Forecast) -> None:
        self._by_day: dict[date, list[Slot]] = {}
        for slot in made.slots:
            self._by_day.setdefault(slot.expire_on, []).append(slot)
        self._day: date | None = None
        self._turns: Iterator[Slot] = iter(())

    @property
    def days(self) -> list[date]:
        """The days on which tokens of cliffs expire, in order."""
        return sorted(self._by_day)

    def propose(self, ending: Ending) -> Proposal | None:
        """Return a token's day; None where it is of no cliff."""
        expires = day_of(ending.expiration_date)
        if expires != self._day:
            self._day, self._turns = expires, _in_turn(self._by_day.get(expires, ()))
        slot = next(self._turns, None)
        return None if slot is None else Proposal(ending, slot.renew_on, slot.keeps_lead)


def _in_turn(slots: Sequence[Slot]) -> Iterator[Slot]:
    """Yield each slot as many times as it has tokens, all of them in turn."""
    left = [(slot, slot.tokens) for slot in slots]
    while left:
        yield from (slot for slot, _tokens in left)
        left = [(slot, tokens - 1) for slot, tokens in left if tokens > 1]


def _cliffs(days: Mapping[date, int], active: int, cliff: Cliff, now: datetime) -> Iterator[CliffAhead]:
    windows: dict[date, int] = {}
    for day, tokens in days.items():
        start = _window_of(day, cliff.window_days)
        windows[start] = windows.get(start, 0) + tokens
    for start, tokens in windows.items():
        starts_at = datetime(start.year, start.month, start.day, tzinfo=UTC)
        violation: Violation | None = next(exp_06.check(ExpiryWindow(starts_at, tokens, active), cliff, now), None)
        if violation is not None:
            yield CliffAhead(start, start + (cliff.window_days - 1) * _DAY, tokens, violation.message)


def _window_of(day: date, window_days: int) -> date:
    """Return the first day of the window that a day lies in; windows are counted from 1 January 1970."""
    return day - (day - _EPOCH).days % window_days * _DAY


class _Group(NamedTuple):
    """The tokens of a cliff that expire on one day; the order is that in which they are served."""

    deadline: date
    expire_on: date
    release: date
    keeps_lead: bool
    tokens: int


def _stagger(days: Mapping[date, int], cliffs: Sequence[CliffAhead], today: date, staggering: Staggering) -> list[Slot]:
    """Place the tokens of cliffs on days so that the fullest day is as empty as it can be.

    No day gets fuller than the fullest was. Where the lead time cannot be kept at that price, it is given up, and what
    expires first is renewed first.
    """
    steep = {day for day in days if any(one.first_day <= day <= one.last_day for one in cliffs)}
    fixed = {day: tokens for day, tokens in days.items() if day not in steep}
    groups = [_group(day, days[day], today, staggering) for day in sorted(steep)]
    if not groups:
        return []
    most = max(days.values())
    low, high = 1, most
    while low < high:  # the least room that will do; more room never does worse
        middle = (low + high) // 2
        if _placed(groups, fixed, middle, today, staggering, give_up_lead=False) is None:
            low = middle + 1
        else:
            high = middle
    slots = _placed(groups, fixed, low, today, staggering, give_up_lead=False)
    if slots is None:
        slots = _placed(groups, fixed, most, today, staggering, give_up_lead=True)
    assert slots is not None
    return sorted(slots, key=lambda slot: (slot.expire_on, slot.renew_on))


def _group(day: date, tokens: int, today: date, staggering: Staggering) -> _Group:
    deadline = day - staggering.lead_days * _DAY
    if deadline < today or not any(
        staggering.allows(deadline - back * _DAY)
        for back in range(min(staggering.spread_days, (deadline - today).days) + 1)
    ):
        return _Group(day, day, today, False, tokens)
    return _Group(deadline, day, max(today, deadline - staggering.spread_days * _DAY), True, tokens)


def _placed(
    groups: Sequence[_Group],
    fixed: Mapping[date, int],
    room: int,
    today: date,
    staggering: Staggering,
    *,
    give_up_lead: bool,
) -> list[Slot] | None:
    """Fill the days one after the other, the nearest deadline first; None where a group is left beyond its own.

    ``room`` is for all that is renewed on a day, ``fixed`` what cannot be moved. A group without lead that finds no
    room is renewed on the day it expires.
    """
    waiting = sorted(groups, key=lambda group: group.release, reverse=True)
    open_groups: list[_Group] = []
    slots: list[Slot] = []
    day = today
    while waiting or open_groups:
        while waiting and waiting[-1].release <= day:
            heapq.heappush(open_groups, waiting.pop())
        free = max(0, room - fixed.get(day, 0))
        while open_groups:
            group = open_groups[0]
            is_due = group.deadline <= day
            usable = free if staggering.allows(day) or (is_due and not group.keeps_lead) else 0
            if not usable and not is_due:
                break
            heapq.heappop(open_groups)
            tokens = min(group.tokens, usable)
            if tokens < group.tokens and is_due:
                if not give_up_lead:
                    return None
                if not group.keeps_lead:  # it expires today
                    tokens = group.tokens
            if tokens:
                slots.append(Slot(group.expire_on, day, tokens, group.keeps_lead))
                free = max(0, free - tokens)
            if tokens < group.tokens:
                rest = group._replace(tokens=group.tokens - tokens)
                if is_due:
                    rest = rest._replace(deadline=group.expire_on, keeps_lead=False)
                heapq.heappush(open_groups, rest)
        day += _DAY
    return slots
