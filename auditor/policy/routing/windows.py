"""When an alert leaves for a hook: at once, with the next digest, or when the quiet hours are over."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated, Final, Self

from pydantic import AfterValidator, model_validator

from auditor.model.finding import Severity
from auditor.model.table import Table
from auditor.policy.spans import Clock, parse_clock, parse_duration

NOW: Final = "now"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SATURDAY: Final = 5
_AT: Final = re.compile(rf"(?:({'|'.join(_DAYS)}) )?([0-9]{{2}}:[0-9]{{2}})")
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=7)
_STRETCHES: Final = 8
"""A night, a weekend and so on that follow one another without a break, at most."""

Next = Callable[[datetime], datetime]
"""``following(now)``: the first instant after ``now`` at which a digest closes."""


def _window(text: str) -> str:
    if text == NOW:
        return text
    match = _AT.fullmatch(text)
    if match is not None:
        parse_clock(match[2])
        return text
    try:
        span = parse_duration(text)
    except (ValueError, OverflowError):
        span = timedelta()
    if not _SHORTEST <= span <= _LONGEST:
        raise ValueError('must be "now", a span from 1m to 7d, a time of day such as "08:00", or "mon 08:00"')
    return text


Window = Annotated[str, AfterValidator(_window)]
"""When a digest closes: ``now`` for none, a span such as ``1h``, or a time such as ``08:00`` or ``mon 08:00``."""


class DigestSettings(Table):
    """A ``digest`` table of a hook: when alerts of each severity leave, gathered into one message."""

    critical: Window = NOW
    """When a digest of critical alerts closes: "now" for none, a span such as "1h", "08:00", or "mon 08:00"."""
    high: Window | None = None
    """The same for high ones."""
    medium: Window | None = None
    """The same for medium ones."""
    low: Window | None = None
    """The same for low ones."""
    info: Window | None = None
    """The same for those that only inform."""
    rest: Window = NOW
    """For every severity that is not named, but critical, which leaves at once unless it is named."""

    def of(self, severity: Severity) -> str:
        """Return the window of a severity."""
        named: str | None = getattr(self, severity.value)
        return self.rest if named is None else named


class QuietHours(Table):
    """A ``quiet`` table of a hook: what would leave then waits for the end."""

    start: Clock = "20:00"
    """When they begin, each day, by the clock of the hook's time zone."""
    end: Clock = "07:00"
    """When they end, on the same day or the next."""
    weekends: bool = False
    """Whether all of Saturday and Sunday is quiet, too."""
    unless: Severity = Severity.CRITICAL
    """Alerts of this severity or worse leave all the same."""

    @model_validator(mode="after")
    def _is_over_some_time(self) -> Self:
        if parse_clock(self.start) == parse_clock(self.end):
            raise ValueError(
                f'start and end are both "{self.start}", so that it would be quiet for ever; let end be another time, '
                'or leave "quiet" out for no quiet hours'
            )
        return self

    def over(self, now: datetime, zone: tzinfo) -> datetime | None:
        """Return when the quiet hours end that ``now`` falls into; None where it falls into none."""
        at = now
        for _stretch in range(_STRETCHES):
            end = self._end(at, zone)
            if end is None:
                break
            at = end
        return at if at > now else None

    def _end(self, at: datetime, zone: tzinfo) -> datetime | None:
        local = at.astimezone(zone)
        start, end = parse_clock(self.start), parse_clock(self.end)
        clock = local.time().replace(fold=0)
        found: datetime | None = None
        if self.weekends and local.weekday() >= _SATURDAY:
            found = _instant(local, len(_DAYS) - local.weekday(), time(), zone)
        elif start < end:
            found = _instant(local, 0, end, zone) if start <= clock < end else None
        elif clock >= start:
            found = _instant(local, 1, end, zone)
        elif clock < end:
            found = _instant(local, 0, end, zone)
        if found is not None and found <= at:  # the clocks were put back, and show the end a second time
            found = _instant(local, 0, end, zone, fold=1)
        return found if found is not None and found > at else None


class Windows:
    """When alerts leave for one hook."""

    def __init__(
        self, digest: DigestSettings | None = None, quiet: QuietHours | None = None, zone: tzinfo = UTC
    ) -> None:
        written = digest or DigestSettings()
        self._next: Mapping[Severity, Next | None] = {
            severity: None if written.of(severity) == NOW else next_close(written.of(severity), zone)
            for severity in Severity
        }
        self._quiet = quiet
        self._zone = zone
        self.is_immediate = quiet is None and not any(self._next.values())
        """Whether everything leaves at once, always."""

    def due(self, severity: Severity, now: datetime, *, is_operational: bool = False) -> datetime | None:
        """Return when an alert of a severity leaves that came up at ``now``; None for at once."""
        if self.is_immediate:
            return None
        following = None if is_operational else self._next[severity]
        at = None if following is None else following(now)
        return self.quiet_until(severity, at or now) or at

    def quiet_until(self, severity: Severity, at: datetime) -> datetime | None:
        """Return when what would leave at an instant may leave; None for at that instant."""
        if self._quiet is None or severity.rank >= self._quiet.unless.rank:
            return None
        return self._quiet.over(at, self._zone)


def next_close(window: str, zone: tzinfo) -> Next:
    """Return when digests of a window close; spans are counted from 1970 so that replicas agree."""
    match = _AT.fullmatch(window)
    if match is None:
        span = parse_duration(window)
        return lambda now: _EPOCH + ((now - _EPOCH) // span + 1) * span
    clock = parse_clock(match[2])
    weekday = _DAYS.index(match[1]) if match[1] else None

    def following(now: datetime) -> datetime:
        local = now.astimezone(zone)
        days = 0 if weekday is None else (weekday - local.weekday()) % len(_DAYS)
        step = 1 if weekday is None else len(_DAYS)
        at = _instant(local, days, clock, zone)
        while at <= now:
            days += step
            at = _instant(local, days, clock, zone)
        return at

    return following


def _instant(local: datetime, days: int, clock: time, zone: tzinfo, fold: int = 0) -> datetime:
    """Return when a zone's clocks show a time so many days after another; the first time, where they show it twice."""
    return datetime.combine(local.date() + days * _DAY, clock.replace(fold=fold), zone).astimezone(UTC)
