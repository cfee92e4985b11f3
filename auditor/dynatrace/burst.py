"""Sends what one turn of the event loop has to send at the end of it, one request right after another.

Where the other side is on this machine, a proxy for instance, to wake it costs more than the write does. So it is woken
once and finds the rest there already, where else it would fall asleep between one request and the next.
"""

import asyncio


class Burst:
    """Writes that wait for the end of the turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Have data written to a connection, unless that is closed by then."""
        if not self._waiting:
            self._loop.call_soon(self._leave)
        self._waiting.append((transport, data))

    def _leave(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
