"""How messages of rules show instants, lists and outside text.

A message names dates, never spans up to now: it changes when a fact changes and not as days go by.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

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


def iso(instant: datetime) -> str:
    """Return an instant in UTC as evidence holds it, in ISO 8601: ``2026-03-31T08:15:30.144000Z``."""
    text: str = msgspec.to_builtins(instant)  # a tenth of what datetime.isoformat takes to write the zone
    return text


def iso_or_none(instant: datetime | None) -> str | None:
    """Return an instant as evidence holds it, or None where there is none."""
    return None if instant is None else iso(instant)


def day(instant: datetime) -> str:
    """Return the day of an instant in UTC: ``2026-03-31``."""
    return iso(instant)[:10]


def minute(instant: datetime) -> str:
    """Return an instant in UTC to the minute: ``2026-03-31 08:15 UTC``."""
    text = iso(instant)
    return f"{text[:10]} {text[11:16]} UTC"
