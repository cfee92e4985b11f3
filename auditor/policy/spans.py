"""Spans, times of day and time zones, as people write them in configurations."""

import re
from datetime import time, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

_DURATION: Final = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_LONGEST: Final = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """Return a span written as ``1d12h30m15s``, any part left out; raises ``ValueError`` where it is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a span: {text}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def parse_clock(text: str) -> time:
    """Return a time of day written as ``08:00``; raises ``ValueError`` where it is none."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is no time of day; write it as 08:00')
    return time(int(match[1]), int(match[2]))


def _duration(text: str) -> str:
    try:
        span = parse_duration(text)
    except (ValueError, OverflowError):
        span = timedelta()
    if not timedelta() < span <= _LONGEST:
        raise ValueError("must be a span such as 6h, 30m or 1d12h, of a year at most")
    return text


def _clock(text: str) -> str:
    parse_clock(text)
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a directory, as "Europe"
        raise ValueError(f'"{text}" is no time zone; use a name such as Europe/Vienna or UTC') from error
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""A span of time: ``6h``, ``30m``, ``1d12h``."""
Clock = Annotated[str, AfterValidator(_clock)]
"""A time of day: ``08:00``."""
Zone = Annotated[str, AfterValidator(_zone)]
"""The name of a time zone: ``Europe/Vienna``."""
