"""How messages of rules show spans, lists and outside text."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

_NAMES_SHOWN: Final = 5
_TEXT_SHOWN: Final = 80
_DAYS_IN_HOURS: Final = 2


def listed(names: Sequence[str]) -> str:
    """Join the first few names; what is left out is counted: ``a, b, c, d, e and 3 more``."""
    shown = ", ".join([shortened(name) for name in names[:_NAMES_SHOWN]])
    rest = len(names) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def shortened(text: str) -> str:
    """Cut outside text to a length that a message can bear."""
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}…"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 day``, ``2 days``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def span(length: timedelta) -> str:
    """Return a span of at least zero in whole days, under two days in hours: ``13 days``, ``30 hours``."""
    if length.days >= _DAYS_IN_HOURS:
        return f"{length.days} days"
    return counted(int(length.total_seconds()) // 3600, "hour")
