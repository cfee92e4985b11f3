"""Lets as many requests of an environment be under way as its limit permits; the others wait for their turn."""

import asyncio
from collections import deque

from auditor.dynatrace.limit import Limit


class Gate:
    """Counts the requests under way. Nothing holds a place while it waits for anything but its answer."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.permitted = limit.value
        """Requests that may be under way now: the limit, or fewer where the environment said that fewer are left."""
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def room(self) -> int:
        """How many requests could leave at once; 0 where there are some that wait already."""
        return 0 if self._waiting else max(0, self.permitted - self.under_way)

    async def enter(self) -> None:
        """Take a place, which ``leave`` gives back, as soon as there is one."""
        if not self._waiting and self.under_way < self.permitted:
            self.under_way += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()  # the place came at the same moment
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Give a place back, and hand on what is permitted."""
        self.under_way -= 1
        while self._waiting and self.under_way < self.permitted:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.under_way += 1
                turn.set_result(None)
