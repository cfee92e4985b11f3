"""Sends requests to one environment over aiohttp's connections, and reads the answers that its parser makes of them.

aiohttp's connector does what is hard: names, TLS, proxies, connections kept alive; and its protocol parses answers.
What its session adds - cookies, redirects, content types, headers merged anew, a task that writes - is wanted in no
request of ours, and costs two thirds of a lookup's processor time (``docs/decisions/0004-http.md``). So the head of a
request is written once, and each request is one write and one read. What fails, fails with aiohttp's own errors.
"""

import asyncio
from collections.abc import Mapping
from ssl import SSLContext
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from auditor.dynatrace.burst import Burst

_DNS_SECONDS: Final = 60
_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200


class Answer(NamedTuple):
    """An answer that came whole, whatever it says."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
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
        self._burst = Burst()

    def open(self, trust: SSLContext | None) -> None:
        """Begin to keep connections; ``trust`` replaces the system's certificate authorities."""
        self._connector = aiohttp.TCPConnector(limit=self._connections, ssl=trust or True, ttl_dns_cache=_DNS_SECONDS)
        # Only tells the connector where to connect to, and how.
        self._where = aiohttp.ClientRequest("GET", self._base, loop=asyncio.get_running_loop(), proxy=self._proxy)

    async def close(self) -> None:
        """Close all connections."""
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
        assert self._connector is not None, "the wire is opened first"
        try:
            connection = await self._connector.connect(self._where, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("timed out while connecting") from error
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("Connection lost")
            protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_timeout=self._read_seconds)
            if body is None:
                self._burst.write(transport, head + b"\r\n")
            else:
                self._burst.write(
                    transport,
                    b"%bContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
                    % (head, len(body), body),
                )
            protocol.start_timeout()
            message, payload = await protocol.read()
            while message.code < _OK and message.code != _SWITCHING_PROTOCOLS:  # only the final answer is one
                message, payload = await protocol.read()
            content = await _read(payload, limit)
        except BaseException:
            connection.close()
            raise
        connection.release()  # closes it where the answer is not read to its end
        return Answer(message.code, message.headers, content)


async def _read(payload: aiohttp.StreamReader, limit: int) -> bytes | None:
    content = await payload.readany()
    if payload.at_eof():  # as most answers come
        return content if len(content) <= limit else None
    pieces = bytearray(content)
    while len(pieces) <= limit and not payload.at_eof():
        pieces += await payload.readany()
    return bytes(pieces) if len(pieces) <= limit else None
