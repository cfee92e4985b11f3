"""Takes an answer that is plain and came in one piece, as nearly all do, without aiohttp's parser.

A parser for each answer, a stream, headers that nobody looks at, two queues: that is a fifth of what a lookup costs.
What is not seen to be plain at one glance is aiohttp's to read (``docs/decisions/0004-http.md``).
"""

import asyncio
import re
from typing import Final

import aiohttp
from aiohttp.connector import Connection

_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,9})(?:\r\n|\Z)")


def content_of(data: bytes) -> bytes | None:
    """Return the content of an answer with status 200 that is here whole; None where it may be anything else.

    So it may where its head holds a word, wherever that stands, by which the content would not be just what follows,
    the connection would close, or a limit of requests would be told.
    """
    end = data.find(b"\r\n\r\n")
    head = data[: max(end, 0)].lower()
    if (
        not head.startswith(b"http/1.1 200 ")
        or b"transfer-encoding" in head
        or b"content-encoding" in head
        or b"close" in head
        or b"ratelimit" in head
        or head.count(b"content-length") != 1
    ):
        return None
    length = _LENGTH.search(head)
    if length is None or end + 4 + int(length[1]) != len(data):
        return None
    return data[end + 4 :]


class Glance(asyncio.Protocol):
    """The protocol of a connection in place of aiohttp's, until there is an answer for that.

    It may be used again as long as it ``is_open``; whoever has it closes or releases the ``connection``.
    ``read_seconds`` is how long no byte may come of an answer that aiohttp reads. Raises aiohttp's error where the
    connection is lost by now.
    """

    __slots__ = ("_answer", "_loop", "_read_seconds", "connection", "handler", "transport")

    def __init__(self, connection: Connection, read_seconds: float | None, loop: asyncio.AbstractEventLoop) -> None:
        handler, transport = connection.protocol, connection.transport
        # It should close, too, where it holds something that nobody asked for.
        if handler is None or transport is None or transport.is_closing() or handler.should_close:
            connection.close()
            raise aiohttp.ClientConnectionResetError("Connection lost")
        self.connection = connection
        self.handler = handler
        """aiohttp's."""
        self.transport = transport
        self._read_seconds = read_seconds
        self._loop = loop
        self._answer: asyncio.Future[bytes | None] | None = None
        self.transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return not self.transport.is_closing()

    def answer(self) -> "asyncio.Future[bytes | None]":
        """Return what becomes the content of the next answer; None where ``handler`` has that, or an error."""
        self._answer = self._loop.create_future()
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Take the answer, or leave it and all that follows to aiohttp."""
        if self._answer is None:  # nobody asked: it must not become the answer to what is asked next
            self.transport.close()
            return
        content = content_of(data)
        if content is None:
            self.transport.set_protocol(self.handler)
            self.handler.set_response_params(
                read_until_eof=True, auto_decompress=False, read_timeout=self._read_seconds
            )
            self.handler.data_received(data)
        self._settle(content)

    def connection_lost(self, exc: Exception | None) -> None:
        """Have aiohttp make an error of it."""
        self.handler.connection_lost(exc)
        self._settle(None)

    def _settle(self, content: bytes | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(content)
