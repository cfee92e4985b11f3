"""How many slots of an environment's schedules have passed."""

from datetime import UTC, datetime, timedelta

import pytest

from auditor.config.document import ScheduleSettings
from auditor.config.timetable import slots_of


def schedule(**settings: object) -> ScheduleSettings:
    return ScheduleSettings.model_validate(settings)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHTLY = schedule(cron="0 2 * * *")
WORKDAYS = schedule(cron="0 2 * * 1-5")


@pytest.mark.parametrize(
    ("settings", "until", "count"),
    [
        (NIGHTLY, "2026-11-25T01:59:59", 0),
        (NIGHTLY, "2026-11-25T02:00:00", 1),
        (NIGHTLY, "2026-11-27T01:59:59", 2),
        (NIGHTLY, "2026-11-27T02:00:00", 3),
        (NIGHTLY, "2036-11-27T02:00:00", 3),
        (WORKDAYS, "2026-11-30T01:00:00", 3),
        (schedule(every="6h"), "2026-11-24T11:59:59", 1),
        (schedule(every="6h"), "2026-11-24T12:00:00", 2),
        (schedule(cron="0 0 1 1 *"), "2026-12-31T23:59:59", 0),
    ],
)
def test_slots_are_counted_after_one_instant_up_to_another_and_a_limit(
    settings: ScheduleSettings, until: str, count: int
) -> None:
    slots = slots_of("prod", [settings])
    assert slots is not None
    assert slots(at("2026-11-24T02:00:30"), at(until), 3) == count


def test_slot_at_the_start_does_not_count() -> None:
    slots = slots_of("prod", [NIGHTLY])
    assert slots is not None
    assert slots(at("2026-11-24T02:00:00"), at("2026-11-24T02:00:00") + timedelta(hours=23), 3) == 0


def test_most_frequent_of_an_environments_schedules_counts() -> None:
    hourly = schedule(every="1h", environments=["prod*"])
    start, end = at("2026-11-24T12:30:00"), at("2026-11-24T14:30:00")
    for name, count in (("prod-eu", 2), ("dev", 0)):
        slots = slots_of(name, [NIGHTLY, hourly])
        assert slots is not None
        assert slots(start, end, 3) == count


def test_environment_that_no_schedule_sweeps_has_no_slots() -> None:
    assert slots_of("dev", [schedule(every="1h", environments=["prod*"])]) is None
    assert slots_of("dev", []) is None
