"""Slots: the same in every replica, found again by who was not there, and fired when they come."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config.document import ScheduleSettings
from auditor.config.timetable import times_of
from auditor.daemon.schedules import Schedules, last_slot
from auditor.simulator import SteppedClock


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(**settings: object) -> ScheduleSettings:
    return ScheduleSettings.model_validate({"jitter_seconds": 0, **settings})


NIGHTLY = schedule(cron="0 2 * * *")
VIENNESE = schedule(cron="30 2 * * *", timezone="Europe/Vienna")


@pytest.mark.parametrize(
    ("settings", "now", "slot"),
    [
        (NIGHTLY, "2026-11-24T02:00:00", "2026-11-24T02:00:00"),
        (NIGHTLY, "2026-11-24T01:59:59.999999", "2026-11-23T02:00:00"),
        (NIGHTLY, "2026-11-24T13:00:00", "2026-11-24T02:00:00"),
        (schedule(cron="*/5 * * * *"), "2026-11-24T13:04:59", "2026-11-24T13:00:00"),
        (schedule(cron="0 2 * * 1"), "2026-11-24T01:00:00", "2026-11-23T02:00:00"),  # a Monday
        (schedule(cron="0 0 1 1 *"), "2026-11-24T01:00:00", "2026-01-01T00:00:00"),
        (schedule(cron="0 0 29 2 *"), "2026-11-24T01:00:00", None),
        (VIENNESE, "2026-07-01T12:00:00", "2026-07-01T00:30:00"),
        (VIENNESE, "2026-12-01T12:00:00", "2026-12-01T01:30:00"),
        (VIENNESE, "2026-10-25T01:45:00", "2026-10-25T00:30:00"),  # 2:45 for the second time
        (VIENNESE, "2026-03-29T01:10:00", "2026-03-29T01:00:00"),  # 2:30 was skipped
        (schedule(every="1s"), "2026-11-24T13:04:59.5", "2026-11-24T13:04:59"),
        (schedule(every="6h"), "2026-11-24T13:04:59", "2026-11-24T12:00:00"),
        (schedule(every="1d12h"), "2026-11-24T13:04:59", "2026-11-24T00:00:00"),
        (schedule(every="30d"), "2026-11-24T13:04:59", "2026-11-03T00:00:00"),
    ],
)
def test_last_slot_is_the_latest_that_has_come(settings: ScheduleSettings, now: str, slot: str | None) -> None:
    assert last_slot(times_of(settings), at(now)) == (slot and at(slot))


@given(
    seconds=st.integers(1, 400 * 86_400),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- bounds
)
def test_spans_are_counted_from_1970_so_that_replicas_agree(seconds: int, now: datetime) -> None:
    settings = schedule(every=f"{min(seconds, 366 * 86_400)}s")
    span = timedelta(seconds=min(seconds, 366 * 86_400))
    slot = last_slot(times_of(settings), now)
    assert slot is not None
    assert now - span < slot <= now
    assert (slot - datetime(1970, 1, 1, tzinfo=UTC)) % span == timedelta(0)
    assert times_of(settings)(slot) == slot + span


class Fired:
    """What was fired, and a schedule's way of telling."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ScheduleSettings, datetime]] = []
        self.is_one_more = asyncio.Event()

    async def __call__(self, name: str, settings: ScheduleSettings, slot: datetime) -> None:
        self.calls.append((name, settings, slot))
        self.is_one_more.set()

    async def wait_for(self, number: int) -> None:
        async with asyncio.timeout(30):
            while len(self.calls) < number:
                self.is_one_more.clear()
                await self.is_one_more.wait()


def clock() -> datetime:
    return datetime.now(UTC)


async def test_schedule_catches_up_at_once_and_then_fires_slot_after_slot() -> None:
    fired = Fired()
    schedules = Schedules[ScheduleSettings](clock)
    often = schedule(every="1s", environments=["prod*"])
    schedules.replace({"often": often})
    running = asyncio.create_task(schedules.run(fired))
    await fired.wait_for(3)
    running.cancel()
    await asyncio.wait([running])
    slots = [slot for _name, _settings, slot in fired.calls]
    assert slots[1:3] == [slots[0] + timedelta(seconds=1), slots[0] + timedelta(seconds=2)]
    assert all((name, settings) == ("often", often) for name, settings, _slot in fired.calls)


async def test_schedules_that_were_replaced_fire_no_more_and_the_new_ones_catch_up() -> None:
    fired = Fired()
    schedules = Schedules[ScheduleSettings](lambda: at("2026-11-24T13:00:00"))
    schedules.replace({"gone": schedule(cron="0 1 * * *"), "kept": NIGHTLY})
    assert schedules.next_at == at("2026-11-25T01:00:00")
    schedules.replace({"kept": NIGHTLY, "new": schedule(cron="0 3 * * *")})
    assert schedules.next_at == at("2026-11-25T02:00:00")
    running = asyncio.create_task(schedules.run(fired))
    await fired.wait_for(2)
    running.cancel()
    await asyncio.wait([running])
    assert {slot for _name, _settings, slot in fired.calls} == {at("2026-11-24T02:00:00"), at("2026-11-24T03:00:00")}


async def test_failure_to_fire_is_not_swallowed() -> None:
    async def fail(_name: str, _settings: ScheduleSettings, _slot: datetime) -> None:
        raise RuntimeError("as planned")

    schedules = Schedules[ScheduleSettings](clock)
    schedules.replace({"nightly": NIGHTLY})
    with pytest.raises(RuntimeError, match="as planned"):
        await schedules.run(fail)


@pytest.mark.parametrize("days", [-1, 1])
async def test_clock_that_is_stepped_makes_the_slot_due_that_is_the_last_by_then(
    monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    monkeypatch.setattr("auditor.daemon.schedules._LOOK_SECONDS", 0.01)
    stepped = SteppedClock(at("2026-11-24T13:00:00"))
    fired = Fired()
    schedules = Schedules[ScheduleSettings](stepped)
    schedules.replace({"nightly": NIGHTLY})
    running = asyncio.create_task(schedules.run(fired))
    await fired.wait_for(1)
    stepped.advance(timedelta(days=days))
    await fired.wait_for(2)
    running.cancel()
    await asyncio.wait([running])
    slots = [slot for _name, _settings, slot in fired.calls]
    assert slots[:2] == [at("2026-11-24T02:00:00"), at("2026-11-24T02:00:00") + timedelta(days=days)]
