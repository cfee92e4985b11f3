"""Reads the five fields of crontab(5) as cron does, in a time zone whose clocks are put forward and back.

APScheduler's own reading differs: it counts the days of the week from Monday, wants day and weekday to match both, and
in the hour that a zone has twice it comes back to times that have passed.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

Times = Callable[[datetime], datetime | None]
"""``times(after)``: the first instant later than ``after``, in UTC; None where there is none any more."""

_TICK: Final = timedelta(microseconds=1)
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SUNDAY_AT_THE_END: Final = 7
_PART: Final = re.compile(r"(?P<all>\*)?(?:(?P<first>\w+)(?:-(?P<last>\w+))?)?(?:/(?P<step>[1-9]\d*))?")


def cron_times(expression: str, zone: tzinfo) -> Times:
    """Return the times of a crontab line, by the clocks of a zone; raises ``ValueError`` where it is none.

    A time that the clocks show twice counts once, the first time; where the field of hours begins with ``*``, it counts
    both times, as in Debian's cron(8). One that they skip counts when they have skipped it.
    """
    readings = _readings(expression)
    is_of_any_hour = expression.split()[1].startswith("*")

    def times(after: datetime) -> datetime | None:
        # A clock's reading is handled as if it were UTC, where every reading exists, once.
        local = after.astimezone(zone)
        reading = local.replace(tzinfo=UTC, fold=0)
        if is_of_any_hour:  # what was shown since the clocks showed this for the first time is shown once more
            reading -= local.replace(fold=1).astimezone(UTC) - after
        second: datetime | None = None
        while (found := readings.get_next_fire_time(None, reading + _TICK)) is not None:
            reading = found
            instant = _instant_of(reading, zone)
            if instant > after:
                return instant if second is None else min(instant, second)
            again = reading.replace(tzinfo=zone, fold=1).astimezone(UTC)
            if is_of_any_hour and second is None and again > after:
                second = again
        return second

    return times


def _readings(expression: str) -> BaseTrigger:
    fields = expression.split()
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)} fields")
    minute, hour, day, month, weekday = fields
    weekdays = _by_name(weekday)

    def trigger(day: str, weekdays: str) -> BaseTrigger:
        return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekdays, timezone=UTC)

    if day.startswith("*") or weekday.startswith("*"):
        return trigger(day, weekdays)
    return OrTrigger([trigger(day, "*"), trigger("*", weekdays)])  # where both are restricted, either is enough


def _instant_of(reading: datetime, zone: tzinfo) -> datetime:
    local = reading.replace(tzinfo=zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=UTC) == reading:
        return instant
    # The clocks skipped it (PEP 495): between these two instants, in seconds, they were put forward.
    before, after = int(local.replace(fold=1).timestamp()), int(local.timestamp())
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == local.utcoffset():
            before = middle
        else:
            after = middle
    return datetime.fromtimestamp(after, UTC)


def _by_name(field: str) -> str:
    """Return a field of weekdays, where 0 and 7 are Sunday, as names, which mean the same to APScheduler."""
    days: set[int] = set()
    for part in field.lower().split(","):
        match = _PART.fullmatch(part)
        if match is None or (match["all"] is None) == (match["first"] is None):
            raise ValueError(f'"{part}" is no day of the week')
        first, last = (0, 6) if match["all"] else (_number(match["first"]), _number(match["last"] or match["first"]))
        if match["last"] and last == 0:
            last = _SUNDAY_AT_THE_END
        if last < first or (match["step"] and not match["all"] and not match["last"]):
            raise ValueError(f'"{part}" is no range of days')
        days.update(number % 7 for number in range(first, last + 1, int(match["step"] or 1)))
    return ",".join(_DAYS[number] for number in sorted(days))


def _number(day: str) -> int:
    if day in _DAYS:
        return _DAYS.index(day)
    if day.isascii() and day.isdigit() and int(day) <= _SUNDAY_AT_THE_END:
        return int(day)
    raise ValueError(f'"{day}" is no day of the week')
