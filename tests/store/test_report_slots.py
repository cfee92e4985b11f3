"""The slots of a report's schedule: each makes one report, whatever the clock said before."""

from datetime import UTC, datetime, timedelta

from auditor.store import reports
from auditor.store.connection import Pool

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


async def test_slot_taken_under_a_clock_that_was_ahead_keeps_no_report_back(database: Pool) -> None:
    async with database.acquire() as connection:
        assert await reports.take_slot(connection, "weekly", NOW, None, NOW) is None
        assert await reports.take_slot(connection, "weekly", NOW + 9 * DAY, None, NOW + 9 * DAY)
        assert await reports.take_slot(connection, "weekly", NOW + DAY, None, NOW + DAY)
        assert await reports.take_slot(connection, "weekly", NOW + DAY, None, NOW + DAY) is None
        assert await reports.take_slot(connection, "weekly", NOW + 9 * DAY, None, NOW + 9 * DAY) is None
        assert await reports.take_slot(connection, "weekly", NOW + 10 * DAY, None, NOW + 10 * DAY)
