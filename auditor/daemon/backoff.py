"""Waits between tries that grow."""

import asyncio
from typing import Final

LONGEST: Final = 60.0
_FIRST: Final = 1.0


class Backoff:
    """A wait of a second before the next try, then of twice as long each time; cut short when somebody asks to stop."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self.seconds = _FIRST
        """How long the next wait is."""

    def reset(self) -> None:
        """Begin anew, after a try that went well."""
        self.seconds = _FIRST

    async def wait(self) -> None:
        """Wait, or return as soon as asked to stop."""
        seconds, self.seconds = self.seconds, min(self.seconds * 2, LONGEST)
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
