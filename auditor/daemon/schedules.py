"""When sweeps and reports are due: the slots of schedules, and who says that one has come.

A slot is a nominal instant of a schedule, the same in every replica; who takes it enqueues the work.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from auditor.config.timetable import Times, times_of
from auditor.config.timing import Timing
from auditor.model.errors import ungrouped

_TICK: Final = timedelta(microseconds=1)
_LOOK_BACK: Final = (
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=32),
    timedelta(days=370),
)
_LOOK_SECONDS: Final = 2.0
"""How often the clock is looked at."""
_STEP_SECONDS: Final = 1.0
"""So far a clock does not go wrong by itself between two looks."""

S = TypeVar("S", bound=Timing)

Fire = Callable[[str, S, datetime], Awaitable[None]]
"""``fire(name, settings, slot)``: take a slot of what has this name in the configuration."""

log = structlog.get_logger(__name__)


def last_slot(times: Times, now: datetime) -> datetime | None:
    """Return the latest slot at or before ``now``; None where there was none in the last year."""
    for span in _LOOK_BACK:
        slot, following = None, times(now - span)
        while following is not None and following <= now:
            slot, following = following, times(following)
        if slot is not None:
            return slot
    return None


class _Trigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """A schedule's slots as APScheduler wants to be told them; one that passed while nobody looked is not told."""

    __slots__ = ("_times",)

    def __init__(self, times: Times) -> None:
        self._times = times

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return self._times(now if previous_fire_time is None else max(previous_fire_time, now - _TICK))


class Schedules(Generic[S]):
    """The schedules in force. APScheduler says when one is due; what is due waits until it is fired."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._schedules: Mapping[str, S] = {}
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def replace(self, schedules: Mapping[str, S]) -> None:
        """Put these schedules in force instead of the ones before; each is due at once, to catch up."""
        self._schedules = schedules
        self._scheduler.remove_all_jobs()
        for name, settings in schedules.items():
            self._scheduler.add_job(
                self._due.put, _Trigger(times_of(settings)), args=(name,), id=name, misfire_grace_time=None
            )
            self._due.put_nowait(name)

    async def run(self, fire: Fire[S]) -> None:
        """Fire the latest slot of every schedule that is due, until cancelled; what ``fire`` raises passes."""
        self._scheduler.start()
        try:
            with ungrouped():
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch_clock())
                    await self._fire_what_is_due(fire)
        finally:
            self._scheduler.shutdown(wait=False)

    async def _fire_what_is_due(self, fire: Fire[S]) -> None:
        while True:
            name = await self._due.get()
            settings = self._schedules.get(name)
            slot = None if settings is None else last_slot(times_of(settings), self._clock())
            if settings is not None and slot is not None:
                await fire(name, settings, slot)

    async def _watch_clock(self) -> None:
        """Begin anew when the clock is stepped or the machine slept: APScheduler waits for spans, not for instants."""
        time = asyncio.get_running_loop().time
        ahead = self._clock().timestamp() - time()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before, ahead = ahead, self._clock().timestamp() - time()
            if abs(ahead - before) >= _STEP_SECONDS:
                log.warning("clock_stepped", seconds=round(ahead - before), effect="schedules go by the new time")
                self.replace(self._schedules)

    @property
    def next_at(self) -> datetime | None:
        """When the next slot comes; None where there is none."""
        now = self._clock()
        return min((slot for slot in (times_of(s)(now) for s in self._schedules.values()) if slot), default=None)
