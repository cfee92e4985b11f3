"""Removes what is older than it is kept: in small transactions with rests between them, so that sweeps never wait."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

import msgspec
import structlog

from auditor.model.retention import Retention
from auditor.store import retention
from auditor.store.connection import Connection, Pool

_REST: Final = 3.0
"""A batch is followed by a rest of so many times what it took."""
_LONGEST_REST: Final = 5.0

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """Kinds of rows that do not stay, as the configuration names them."""

    USES = "uses"
    ALERTS = "alerts"
    QUEUE_LOG = "queue_log"


class Pruned(msgspec.Struct, frozen=True):
    """What became of one kind, or would."""

    kind: Kind
    before: datetime
    """Rows of before then go."""
    rows: int


class PruningTelemetry(Protocol):
    """Where the measurements go."""

    def removed(self, kind: str, rows: int) -> None:
        """Note that rows of a kind were removed."""
        ...


class _Unmeasured:
    def removed(self, kind: str, rows: int) -> None:
        """Drop the measurement."""


_UNMEASURED: Final = _Unmeasured()


async def prune(
    pool: Pool, kept: Retention, now: datetime, *, telemetry: PruningTelemetry = _UNMEASURED, rest: float = _REST
) -> list[Pruned] | None:
    """Remove what is older than it is kept; return what was removed by kind, None while another process is at it.

    Each batch is a transaction of its own, so it may be cancelled at any time and goes on from there. ``rest`` is how
    many times the time of a batch nothing is done after it.
    """
    async with retention.alone(pool) as connection:
        if connection is None:
            return None
        pace = _Pace(rest, telemetry)
        done: list[Pruned] = []
        for kind, before in horizons(kept, now):
            if kind is Kind.USES:
                rows = await _remove_uses(connection, before, now, pace)
            else:
                rows = await _remove(connection, kind, before, pace)
            done.append(Pruned(kind, before, rows))
            if rows:
                log.info("rows_removed", kind=kind.value, rows=rows, before=before.isoformat())
        return done


async def would_prune(connection: Connection, kept: Retention, now: datetime) -> list[Pruned]:
    """Return what ``prune`` would remove now, by kind; writes nothing."""
    return [Pruned(kind, before, await _COUNTS[kind](connection, before)) for kind, before in horizons(kept, now)]


def horizons(kept: Retention, now: datetime) -> Iterator[tuple[Kind, datetime]]:
    """Yield the kinds that do not stay for good, and before when their rows go."""
    uses_before = kept.uses_before(now)
    if uses_before is not None:
        yield Kind.USES, uses_before
    if kept.alerts is not None:
        yield Kind.ALERTS, now - kept.alerts
    if kept.queue_log is not None:
        yield Kind.QUEUE_LOG, now - kept.queue_log


class _Pace:
    """Notes what batches remove, and rests after each in proportion to what it took."""

    def __init__(self, rest: float, telemetry: PruningTelemetry) -> None:
        self._rest = rest
        self._telemetry = telemetry

    async def after(self, kind: Kind, batch: Awaitable[int | None]) -> int | None:
        """Wait for a batch, then rest; return how many rows it removed, None where there was none to do."""
        time = asyncio.get_running_loop().time
        began = time()
        rows = await batch
        if rows:
            self._telemetry.removed(kind.value, rows)
            await asyncio.sleep(min((time() - began) * self._rest, _LONGEST_REST))
        return rows


async def _remove(connection: Connection, kind: Kind, before: datetime, pace: _Pace) -> int:
    total = 0
    while rows := await pace.after(kind, _REMOVALS[kind](connection, before)):
        total += rows
    return total


async def _remove_uses(connection: Connection, before: datetime, now: datetime, pace: _Pace) -> int:
    total = 0
    for environment in await retention.outdated(connection, before):
        while (
            removed := await pace.after(Kind.USES, retention.remove_uses(connection, environment, before, now))
        ) is not None:
            total += removed
    return total


_Work = Callable[[Connection, datetime], Awaitable[int]]
_REMOVALS: Final[dict[Kind, _Work]] = {
    Kind.ALERTS: retention.remove_alerts,
    Kind.QUEUE_LOG: retention.remove_queue_log,
}
_COUNTS: Final[dict[Kind, _Work]] = {
    Kind.USES: retention.count_uses,
    Kind.ALERTS: retention.count_alerts,
    Kind.QUEUE_LOG: retention.count_queue_log,
}
