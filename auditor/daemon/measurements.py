"""What a service measures of its work, and how one of its processes tells it to the one that answers for all."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from auditor.alerts.deliveries import DeliveryTelemetry
from auditor.daemon.reports import ReportTelemetry
from auditor.model.lookup import Outcome
from auditor.model.sweep import SweepSummary
from auditor.sweep.pruning import PruningTelemetry
from auditor.sweep.subject import Telemetry


class Measurements(Telemetry, DeliveryTelemetry, ReportTelemetry, PruningTelemetry, Protocol):
    """Where everything that is measured goes."""


class LookedUp(msgspec.Struct, frozen=True, tag=True):
    """See ``Telemetry.looked_up``."""

    environment: str
    outcomes: Mapping[Outcome, int]
    seconds: Sequence[float]
    limit: int


class Swept(msgspec.Struct, frozen=True, tag=True):
    """See ``Telemetry.swept``."""

    summary: SweepSummary


class Delivered(msgspec.Struct, frozen=True, tag=True):
    """See ``DeliveryTelemetry.delivered``."""

    hook: str
    state: str


class Reported(msgspec.Struct, frozen=True, tag=True):
    """See ``ReportTelemetry.reported``."""

    report: str
    result: str


class Removed(msgspec.Struct, frozen=True, tag=True):
    """See ``PruningTelemetry.removed``."""

    kind: str
    rows: int


Measurement = LookedUp | Swept | Delivered | Reported | Removed


class Retold:
    """Makes a message of each measurement."""

    def __init__(self, say: Callable[[Measurement], None]) -> None:
        self._say = say

    def looked_up(
        self, environment: str, outcomes: Mapping[Outcome, int], seconds: Sequence[float], limit: int
    ) -> None:
        """Tell of a batch's lookups."""
        self._say(LookedUp(environment, outcomes, seconds, limit))

    def swept(self, summary: SweepSummary) -> None:
        """Tell of a sweep's end."""
        self._say(Swept(summary))

    def delivered(self, hook: str, state: str) -> None:
        """Tell how one attempt at a delivery ended."""
        self._say(Delivered(hook, state))

    def reported(self, report: str, result: str) -> None:
        """Tell how one attempt to make a report ended."""
        self._say(Reported(report, result))

    def removed(self, kind: str, rows: int) -> None:
        """Tell that rows of a kind were removed."""
        self._say(Removed(kind, rows))


def note(measurement: Measurement, measurements: Measurements) -> None:
    """Put what another process measured where this one's goes."""
    match measurement:
        case LookedUp(environment, outcomes, seconds, limit):
            measurements.looked_up(environment, outcomes, seconds, limit)
        case Swept(summary):
            measurements.swept(summary)
        case Delivered(hook, state):
            measurements.delivered(hook, state)
        case Reported(report, result):
            measurements.reported(report, result)
        case Removed(kind, rows):
            measurements.removed(kind, rows)
