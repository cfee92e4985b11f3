"""Sends requests to one environment over aiohttp's connections, and returns the answers.

aiohttp's connector does what is hard: names, TLS, proxies; and its protocol parses answers, those that are not plain.
What its session adds - cookies, redirects, content types, headers merged anew, a task that writes - is wanted in no
request of ours, and costs two thirds of a lookup's processor time (``docs/decisions/0004-http.md``). So the head of a
request is written once, each request is one write and one read, and a connection that is idle is used again at once.
What fails, fails with aiohttp's own errors.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from ssl import SSLContext
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from auditor.dynatrace.burst import Burst
from auditor.dynatrace.glance import Glance

_DNS_SECONDS: Final = 60
_IDLE_SECONDS: Final = 15.0
"""How long a connection is kept that nobody uses, as in aiohttp's connector."""
_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200
_UNSEEN: Final[Mapping[str, str]] = {}
"""The headers of a plain answer."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer that came whole, whatever it says."""

    status: int
    headers: Mapping[str, str]
    """Names in any case; none where no header of the answer matters."""
    content: bytes | None
    """None where it is larger than what may be held."""


class Wire:
    """Connections to one environment. ``open`` it in the event loop that uses it, and ``close`` it there.

    ``headers`` go with every request, to the environment only: a ``proxy`` is for an ``https`` one and sees none.
    """

    def __init__(
        self,
        base: URL,
        headers: Mapping[str, str],
        *,
        connections: int,
        proxy: URL | None,
        connect_seconds: float,
        read_seconds: float | None,
    ) -> None:
        self._base = base
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._connections = connections
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._read_seconds = read_seconds
        """How long no byte of an answer may come; None where nobody asks."""
        self._connector: aiohttp.TCPConnector | None = None
        self._idle: deque[tuple[float, Glance]] = deque()
        """Connections that wait for a request, with the instant since when; the longest first."""
        self._idle_timer: asyncio.TimerHandle | None = None

    def open(self, trust: SSLContext | None) -> None:
        """Begin to keep connections; ``trust`` replaces the system's certificate authorities."""
        self._loop = asyncio.get_running_loop()
        self._burst = Burst(self._loop)
        self._connector = aiohttp.TCPConnector(limit=self._connections, ssl=trust or True, ttl_dns_cache=_DNS_SECONDS)
        # Only tells the connector where to connect to, and how.
        self._where = aiohttp.ClientRequest("GET", self._base, loop=self._loop, proxy=self._proxy)

    async def close(self) -> None:
        """Close all connections."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        while self._idle:
            self._idle.popleft()[1].connection.close()
        if self._connector is not None:
            await self._connector.close()
            self._connector = None

    def head(self, method: str, url: URL) -> bytes:
        """Return how a request for a URL of the environment begins, for ``send``; it holds the auditor's own token."""
        return f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n{self._headers}".encode()

    async def send(self, head: bytes, body: bytes | None, limit: int) -> Answer:
        """Send one request, with a body of JSON or none, and return its answer; at most ``limit`` bytes are held.

        Raises ``aiohttp.ClientError`` where no connection was made or it broke, ``TimeoutError`` where that or a read
        took too long, and aiohttp's ``HttpProcessingError`` where what came is not HTTP.
        """
        glance = self._take_idle() or await self._connected()
        try:
            if body is None:
                self._burst.write(glance.transport, head + b"\r\n")
            else:
                self._burst.write(
                    glance.transport,
                    b"%bContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
                    % (head, len(body), body),
                )
            answer = glance.answer()
            if self._read_seconds is None:
                content = await answer
            else:
                async with asyncio.timeout(self._read_seconds):
                    content = await answer
            if content is not None:
                self._keep(glance)
                return Answer(_OK, _UNSEEN, content if len(content) <= limit else None)
            message, payload = await glance.handler.read()
            while message.code < _OK and message.code != _SWITCHING_PROTOCOLS:  # only the final answer is one
                message, payload = await glance.handler.read()
            content = await _read(payload, limit)
        except BaseException:
            glance.connection.close()
            raise
        glance.connection.release()  # closes it where the answer is not read to its end
        return Answer(message.code, message.headers, content)

    def _take_idle(self) -> Glance | None:
        while self._idle:
            _since, glance = self._idle.popleft()
            if glance.is_open:
                return glance
            glance.connection.close()
        return None

    async def _connected(self) -> Glance:
        """Return a connection from aiohttp's connector."""
        assert self._connector is not None, "the wire is opened first"
        try:
            connection = await self._connector.connect(self._where, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("timed out while connecting") from error
        return Glance(connection, self._read_seconds, self._loop)

    def _keep(self, glance: Glance) -> None:
        self._idle.append((self._loop.time(), glance))
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(_IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        self._idle_timer = None
        while self._idle:
            since, glance = self._idle[0]
            if since + _IDLE_SECONDS > self._loop.time():
                self._idle_timer = self._loop.call_at(since + _IDLE_SECONDS, self._close_idle)
                return
            self._idle.popleft()
            glance.connection.close()


async def _read(payload: aiohttp.StreamReader, limit: int) -> bytes | None:
    content = await payload.readany()
    if payload.at_eof():  # as most answers come
        return content if len(content) <= limit else None
    pieces = bytearray(content)
    while len(pieces) <= limit and not payload.at_eof():
        pieces += await payload.readany()
    return bytes(pieces) if len(pieces) <= limit else None
