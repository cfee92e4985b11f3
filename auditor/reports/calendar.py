"""Draws an expiry forecast: a bar for each day of twelve months, cliffs marked; in units that a page scales."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from auditor.policy.forecast import Forecast
from auditor.reports.expiry import Month, months
from auditor.reports.sentences import listed, plural

_DAY_WIDTH: Final = 3
_TOP: Final = 12
"""Above the highest bar: room for the mark of a cliff."""
_BOTTOM: Final = 92
_NAME_DAYS: Final = 10
"""As wide as the name of a month."""
HEIGHT: Final = 108
"""Bars, and the names of months below them."""


class Bar(msgspec.Struct, frozen=True):
    """What expires on one day."""

    x: int
    y: float
    height: float
    is_cliff: bool
    title: str


class Tick(msgspec.Struct, frozen=True):
    """Where a month begins."""

    x: int
    name: str
    """``Jun``; January with its year."""


class Calendar(msgspec.Struct, frozen=True):
    """A forecast to be drawn, with the same in words."""

    forecast: Forecast
    months: Sequence[Month]
    width: int
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    label: str
    """For those who do not see the picture."""
    summary: str
    proposal: str
    """What staggering would change; empty where there is no cliff."""


def calendar(made: Forecast) -> Calendar:
    """Return how a forecast is drawn."""
    return Calendar(
        forecast=made,
        months=months(made),
        width=((made.last_day - made.first_day).days + 1) * _DAY_WIDTH,
        bars=[_bar(made, day, tokens) for day, tokens in made.days.items()],
        ticks=list(_ticks(made)),
        label=f"Tokens that expire in {made.environment} by day, {made.first_day} to {made.last_day}; "
        f"{plural(len(made.cliffs), 'cliff')}, at most {made.most_before:,} on one day",
        summary=f"{made.tokens:,} of {plural(made.active, 'live token')} {'expires' if made.tokens == 1 else 'expire'} "
        f"from {made.first_day} to {made.last_day}, at most {made.most_before:,} on one day.",
        proposal=_proposal(made),
    )


def _bar(made: Forecast, day: date, tokens: int) -> Bar:
    height = max(2.0, round((_BOTTOM - _TOP) * tokens / made.most_before, 1))
    is_cliff = any(cliff.first_day <= day <= cliff.last_day for cliff in made.cliffs)
    told = f"{day}: {plural(tokens, 'token')}{', part of a cliff' if is_cliff else ''}"
    return Bar(_x(made, day), round(_BOTTOM - height, 1), height, is_cliff, told)


def _ticks(made: Forecast) -> Sequence[Tick]:
    starts = [date.fromisoformat(f"{month.name}-01") for month in months(made)]
    return [
        Tick(_x(made, start), _MONTHS[start.month - 1] + (f" {start.year}" if start.month == 1 else ""))
        for start in starts
        if start >= made.first_day and (made.last_day - start).days >= _NAME_DAYS
    ]


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _x(made: Forecast, day: date) -> int:
    return (day - made.first_day).days * _DAY_WIDTH


def _proposal(made: Forecast) -> str:
    if not made.cliffs:
        return ""
    days = listed([str(cliff.first_day) for cliff in made.cliffs])
    told = (
        f"Staggered, the tokens of the {'cliff' if len(made.cliffs) == 1 else 'cliffs'} of {days} would bring at most "
        f"{plural(made.most_after, 'renewal')} a day in place of {made.most_before:,}."
    )
    if made.without_lead:
        told += f" For {made.without_lead:,} of them there is no room to keep the lead time."
    return told
