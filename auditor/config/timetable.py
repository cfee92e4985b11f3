"""When a schedule's slots are: nominal instants, the same in every replica."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final
from zoneinfo import ZoneInfo

from auditor.config.document import ScheduleSettings
from auditor.config.timing import Timing
from auditor.policy.spans import parse_duration

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Times = Callable[[datetime], datetime | None]
"""``times(after)``: the first slot later than ``after``, in UTC; None where there is none any more."""
Slots = Callable[[datetime, datetime, int], int]
"""``slots(after, until, limit)``: how many slots are later than ``after`` and at or before ``until``, up to a limit."""


def times_of(settings: Timing) -> Times:
    """Return a schedule's slots: of a crontab in its time zone, or spans counted from 1970 so that replicas agree."""
    if settings.cron is not None:
        from auditor.config.crontab import cron_times  # APScheduler takes a tenth of a second, which most can save

        return cron_times(settings.cron, ZoneInfo(settings.timezone))
    assert settings.every is not None
    span = parse_duration(settings.every)
    return lambda after: _EPOCH + ((after - _EPOCH) // span + 1) * span


def covers(settings: ScheduleSettings, environment: str) -> bool:
    """Whether a schedule sweeps an environment."""
    return any(fnmatchcase(environment, glob) for glob in settings.environments)


def slots_of(environment: str, schedules: Iterable[ScheduleSettings]) -> Slots | None:
    """Return what counts the slots of an environment's most frequent schedule; None where no schedule sweeps it."""
    of_this = [settings for settings in schedules if covers(settings, environment)]
    if not of_this:
        return None

    def slots(after: datetime, until: datetime, limit: int) -> int:
        return max(_count(times_of(settings), after, until, limit) for settings in of_this)

    return slots


def _count(times: Times, after: datetime, until: datetime, limit: int) -> int:
    count = 0
    slot = times(after)
    while count < limit and slot is not None and slot <= until:
        count += 1
        slot = times(slot)
    return count
