"""How messages of rules show instants, lists and outside text.

A message names dates, never spans up to now: it changes when a fact changes and not as days go by.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

_NAMES_SHOWN: Final = 5
_TEXT_SHOWN: Final = 80


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


def day(instant: datetime) -> str:
    """Return an instant's day in UTC: ``2026-03-31``."""
    return instant.isoformat()[:10]


def minute(instant: datetime) -> str:
    """Return an instant to the minute in UTC: ``2026-03-31 08:15 UTC``."""
    return instant.isoformat(" ", "minutes")[:16] + " UTC"
