"""What the tables of ``auditor.toml`` have in common, and how those of them say when something is due."""

from datetime import UTC, datetime
from typing import Annotated, Final, Self

from pydantic import AfterValidator, model_validator

from auditor.model.table import Table
from auditor.policy.spans import Duration, Zone

_SOME_LEAP_YEAR: Final = datetime(2024, 1, 1, tzinfo=UTC)


def _crontab(text: str) -> str:
    from auditor.config.crontab import cron_times  # APScheduler takes a tenth of a second, which most can save

    try:
        times = cron_times(text, UTC)
    except ValueError as error:
        raise ValueError(f'"{text}" is not five crontab fields such as "0 2 * * *": {error}') from error
    if times(_SOME_LEAP_YEAR) is None:
        raise ValueError(f'"{text}" names a day that never comes')
    return text


class Timing(Table):
    """When something is due, again and again."""

    cron: Annotated[str, AfterValidator(_crontab)] | None = None
    """Five fields as in crontab(5): ``0 2 * * *``."""
    every: Duration | None = None
    """A span in place of a calendar: ``6h``."""
    timezone: Zone = "UTC"
    """The zone that ``cron`` is read in."""

    @model_validator(mode="after")
    def _has_one_time(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError('a schedule has either cron = "…" or every = "…"')
        return self

    @property
    def times_told(self) -> str:
        """When it is due, in words: ``0 2 * * * (UTC)``."""
        return f"every {self.every}" if self.cron is None else f"{self.cron} ({self.timezone})"
