"""Tokens that were read ahead of their lookups: of all that wait, the most urgent is taken next."""

import asyncio
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final, Self

import msgspec

from auditor.model.secret import Secret
from auditor.policy.urgency import Urgency
from auditor.store.tokens import Enrolment, KnownToken

WINDOW: Final = 10_000
"""When so many tokens wait in one process, no more are read until some are taken."""
AT_LEAST: Final = 1_000
"""Of one environment are read in any case, however many of others wait."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A token on its way to its lookup."""

    secret: Secret
    enrolment: Enrolment
    known: KnownToken | None


class Crowd:
    """How many tokens wait in one process, for all of its sweeps."""

    def __init__(self) -> None:
        self.waiting = 0


class LookAhead:
    """The waiting tokens of one sweep.

    Those of one rank (``Urgency.rank``) stand in line, so that most tokens cost no comparison.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._waiting = 0
        self._lines: dict[int, deque[Waiting]] = {}
        """By rank; none is empty."""
        self._ranks: list[int] = []
        """A heap of their keys."""
        self._is_at_end = False
        self._has_news = asyncio.Event()
        """Set while a token waits, and for good once none will come."""
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._crowd.waiting -= self._waiting  # where the sweep broke off

    def __len__(self) -> int:
        return self._waiting

    async def put(self, batch: Sequence[tuple[Urgency, Waiting]]) -> None:
        """Have a batch wait at once, and return when there is room for another."""
        lines = self._lines
        for urgency, waiting in batch:
            rank = urgency.rank
            if rank not in lines:
                lines[rank] = deque()
                heappush(self._ranks, rank)
            lines[rank].append(waiting)
        self._waiting += len(batch)
        self._crowd.waiting += len(batch)
        if batch:
            self._has_news.set()
        while self._is_full:
            self._has_room.clear()
            await self._has_room.wait()

    def end(self) -> None:
        """Say that no more will come."""
        self._is_at_end = True
        self._has_news.set()

    async def has_one(self) -> bool:
        """Wait until a token waits; False when none will come. With several who wait, look again before taking it."""
        await self._has_news.wait()
        return self._waiting > 0 or not self._is_at_end

    def take(self) -> Waiting:
        """Take the most urgent token; one must wait."""
        rank = self._ranks[0]
        line = self._lines[rank]
        waiting = line.popleft()
        if not line:
            heappop(self._ranks)
            del self._lines[rank]
        self._waiting -= 1
        self._crowd.waiting -= 1
        if not self._waiting and not self._is_at_end:
            self._has_news.clear()
        if not self._is_full:
            self._has_room.set()
        return waiting

    @property
    def _is_full(self) -> bool:
        return self._waiting >= AT_LEAST and self._crowd.waiting >= WINDOW
