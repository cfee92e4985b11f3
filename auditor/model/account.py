"""What the auditor knows of its own work, for the rules that judge it."""

from datetime import datetime

import msgspec

from auditor.model.lookup import Lookup
from auditor.model.sweep import SweepSummary


class Unaudited(msgspec.Struct, frozen=True, gc=False):
    """A stored token whose lookup ended without evidence."""

    lookup: Lookup
    """The last one."""
    failures: int
    """Lookups running without evidence, that one included; a sweep makes one."""
    evident_at: datetime | None
    """When a lookup last gave evidence; None where none ever did."""


class SweepAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep that came to its end, with how regular its environment's sweeps are."""

    summary: SweepSummary
    full_since: datetime | None
    """When the last full sweep of the environment began, this one included; before the first, when the first sweep of
    any kind began; None where there was none."""
    was_ever_full: bool = True
    """Whether ``full_since`` is of a full sweep."""
    slots_passed: int | None
    """Slots of the environment's most frequent schedule since ``full_since``, counted up to a small number; None where
    no schedule sweeps it."""
