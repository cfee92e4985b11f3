"""When sweeps are due: triggers from the configuration, and the slots that they make.

A slot is a nominal instant of a schedule, the same in every replica; who takes it enqueues the sweep. Jitter delays
the sweep, not the slot.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from auditor.config.document import ScheduleSettings, parse_duration

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK_BACK: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=370))

Fire = Callable[[str, datetime, timedelta], Awaitable[None]]
"""``fire(schedule, slot, delay)``: take the slot for the schedule's environments, their sweeps ``delay`` later."""


def trigger_of(settings: ScheduleSettings) -> BaseTrigger:
    """Return what fires a schedule: a crontab in its time zone, or spans counted from 1970 so that replicas agree."""
    if settings.cron is not None:
        return CronTrigger.from_crontab(settings.cron, timezone=ZoneInfo(settings.timezone))
    assert settings.every is not None
    seconds = int(parse_duration(settings.every).total_seconds())
    return IntervalTrigger(seconds=seconds, start_date=_EPOCH, timezone=UTC)


def last_slot(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """Return the latest slot at or before ``now``; None where there was none in the last year."""
    for span in _LOOK_BACK:
        slot: datetime | None = trigger.get_next_fire_time(None, now - span)
        if slot is None or slot > now:
            continue
        while (following := trigger.get_next_fire_time(slot, slot + timedelta(microseconds=1))) and following <= now:
            slot = following
        return slot.astimezone(UTC)
    return None


class Schedules:
    """The schedules in force, fired by APScheduler."""

    def __init__(self, fire: Fire, clock: Callable[[], datetime]) -> None:
        self._fire = fire
        self._clock = clock
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def start(self) -> None:
        """Begin to fire."""
        self._scheduler.start()

    def stop(self) -> None:
        """Fire no more."""
        self._scheduler.shutdown(wait=False)

    def replace(self, schedules: Mapping[str, ScheduleSettings]) -> None:
        """Put these schedules in force instead of the ones before."""
        self._scheduler.remove_all_jobs()
        for name, settings in schedules.items():
            self._scheduler.add_job(
                self.catch_up,
                trigger_of(settings),
                args=(name, settings),
                id=name,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )

    async def catch_up(self, name: str, settings: ScheduleSettings) -> None:
        """Fire a schedule's latest slot: what is due now, or was missed while nobody was there to fire it."""
        slot = last_slot(trigger_of(settings), self._clock())
        if slot is not None:
            delay = random.uniform(0, settings.jitter_seconds)  # noqa: S311 -- jitter, not a secret
            await self._fire(name, slot, timedelta(seconds=delay))

    @property
    def next_at(self) -> datetime | None:
        """When the next schedule fires; None where there is none."""
        times = [job.next_run_time for job in self._scheduler.get_jobs() if job.next_run_time is not None]
        return min(times, default=None)
