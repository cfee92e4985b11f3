"""Waits between tries that grow."""

import asyncio
from typing import Final

LONGEST: Final = 60.0
_FIRST: Final = 1.0


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class Backoff:
    """A wait of a second before the next try, then of twice as long each time; cut short when an event is set."""

    def __init__(self, *events: asyncio.Event) -> None:
        self._events = events
        self.seconds = _FIRST
        """How long the next wait is."""

    def reset(self) -> None:
        """Begin anew, after a try that went well."""
        self.seconds = _FIRST

    async def wait(self) -> None:
        """Wait, or return as soon as one of the events is set."""
        seconds, self.seconds = self.seconds, min(self.seconds * 2, LONGEST)
        try:
            async with asyncio.timeout(seconds):
                await first_of(*self._events)
        except TimeoutError:
            return
