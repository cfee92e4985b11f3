"""The expiry forecast, as reports and commands read it: what the store counted, forecast."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime

import msgspec

from auditor.policy.forecast import Forecast, Proposal, Proposer, Staggering, forecast, horizon
from auditor.store.connection import Connection
from auditor.store.forecast import endings, ends


async def forecasts(
    connection: Connection, now: datetime, staggering: Staggering, environments: Sequence[str] = ()
) -> Sequence[Forecast]:
    """Return the forecast of every swept environment, by name; ``environments`` narrows them, empty means all."""
    _first, last = horizon(now)
    return [
        forecast(one.environment, one.days, one.active, now=now, cliff=one.cliff, staggering=staggering)
        for one in await ends(connection, now, last, environments)
    ]


async def proposals(connection: Connection, made: Forecast, now: datetime) -> AsyncGenerator[Sequence[Proposal], None]:
    """Yield the tokens of a forecast's cliffs with the days to renew them, in batches, by the day they expire.

    Reads through a cursor, in the transaction that the forecast was made in; else the two may not fit.
    """
    proposer = Proposer(made)
    async with aclosing(endings(connection, made.environment, proposer.days, now)) as batches:
        async for batch in batches:
            yield [one for ending in batch if (one := proposer.propose(ending)) is not None]


class Month(msgspec.Struct, frozen=True):
    """What expires in one month of a forecast."""

    name: str
    """``2026-06``."""
    tokens: int
    busiest: date | None
    """The day on which most expire, the first of several; None where none does."""
    on_busiest: int
    cliffs: int
    """Cliffs that begin in it, or that began before the forecast does."""


def months(made: Forecast) -> Sequence[Month]:
    """Return every month of a forecast, in order, those without any token too."""
    found = []
    first = made.first_day.replace(day=1)
    while first <= made.last_day:
        following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        days = {day: tokens for day, tokens in made.days.items() if first <= day < following}
        busiest = max(days, key=lambda day: (days[day], -day.toordinal()), default=None)
        found.append(
            Month(
                f"{first:%Y-%m}",
                sum(days.values()),
                busiest,
                days[busiest] if busiest else 0,
                sum(first <= max(cliff.first_day, made.first_day) < following for cliff in made.cliffs),
            )
        )
        first = following
    return found


def as_document(made: Forecast) -> Mapping[str, object]:
    """Return a forecast as JSON shows it, days in order; the tokens of its proposal come apart."""
    return {
        "environment": made.environment,
        "first_day": made.first_day,
        "last_day": made.last_day,
        "active": made.active,
        "tokens": made.tokens,
        "most_before": made.most_before,
        "most_after": made.most_after,
        "without_lead": made.without_lead,
        "days": [{"day": day, "tokens": tokens} for day, tokens in made.days.items()],
        "cliffs": made.cliffs,
        "renewals": [{"day": day, "tokens": tokens} for day, tokens in made.renewals.items()],
    }
