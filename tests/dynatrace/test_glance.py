"""Answers that are taken without aiohttp's parser, beside what that makes of them."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynatrace.glance import content_of
from auditor.model.lookup import Outcome
from tests.dynatrace.lookup_servers import PUBLIC_ID, TOKEN, Server, client_of, http, listening

FOUND = http(200, b'{"id":"%b","scopes":[]}' % PUBLIC_ID.encode())

_LINES = [
    b"Content-Length: 2",
    b"content-length:2",
    b"Content-Length: 02",
    b"Content-Length:  2",
    b"Content-Length: 3",
    b"Content-Length: +2",
    b"Content-Length: 2 2",
    b"X-Content-Length: 2",
    b"X: Content-Length: 2",
    b"X: a\r\n Content-Length: 2",
    b"Connection: keep-alive",
    b"Connection: Close",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"Content-Encoding: identity",
    b"Content-Encoding: gzip",
    b"X-RateLimit-Remaining: 3",
    b"Upgrade: h2c",
    b"Content-Type: application/json; charset=utf-8",
    b"Date: Tue, 24 Nov 2026 12:00:00 GMT",
    b"Set-Cookie: a=b; Path=/",
    b"X:",
]
_STARTS = [
    *[b"HTTP/1.1 200 OK"] * 6,
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 200",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
    b"HTTP/1.1 101 Switching Protocols",
]
_CONTENTS = [*[b"{}"] * 6, b"", b"{", b"{}\n", b"\r\n", b"{}" + FOUND, b"2\r\n{}\r\n0\r\n\r\n"]


def _read_by_aiohttp(data: bytes) -> bytes:
    """Return the content of the one answer that this is, from which nothing follows but the content."""

    async def read() -> bytes:
        loop = asyncio.get_running_loop()
        parser = HttpResponseParser(
            BaseProtocol(loop), loop, 2**16, read_until_eof=True, auto_decompress=False, response_with_body=True
        )
        [(message, payload)], upgraded, tail = parser.feed_data(data)
        assert (message.code, message.should_close, upgraded, tail) == (200, False, False, b"")
        assert not {"Content-Encoding", "X-RateLimit-Remaining"} & message.headers.keys()
        assert payload.is_eof()
        return await payload.read()

    return asyncio.run(read())


@given(
    start=st.sampled_from(_STARTS),
    lines=st.lists(st.sampled_from(_LINES), max_size=4),
    content=st.sampled_from(_CONTENTS),
)
def test_what_is_taken_is_what_aiohttp_would_read(start: bytes, lines: list[bytes], content: bytes) -> None:
    data = b"\r\n".join([start, *lines, b"", content])
    taken = content_of(data)
    assert taken is None or taken == _read_by_aiohttp(data)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\ncontent-length:2\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 200 \r\nCONTENT-LENGTH: 2\r\nStrict-Transport-Security: max-age=31536000\r\n\r\n",
    ],
)
def test_plain_answers_are_taken(head: bytes) -> None:
    assert content_of(head + b"{}") == b"{}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-RateLimit-Remaining: 0\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
    ],
)
def test_whatever_may_be_something_else_is_left_to_aiohttp(data: bytes) -> None:
    assert content_of(data) is None


@pytest.mark.parametrize("size", [1, 7, len(FOUND) - 1])
async def test_answer_in_pieces_is_read_as_one(size: int) -> None:
    async def serve(_server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"}")
            for start in range(0, len(FOUND), size):
                writer.write(FOUND[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)

    async with listening(serve) as server, client_of(server.url, attempts=1) as client:
        assert [(await client.lookup(TOKEN)).outcome for _number in range(2)] == [Outcome.FOUND] * 2
    assert server.connections == 1


@pytest.mark.parametrize("first", [FOUND, http(500)])
async def test_answer_that_nobody_asked_for_ends_its_connection(first: bytes) -> None:
    is_sent = asyncio.Event()

    async def serve(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"}"):
            is_first = server.connections == 1
            writer.write(first if is_first else FOUND)
            await writer.drain()
            if is_first:
                await asyncio.sleep(0.01)
                writer.write(http(200, b'{"id":"somebody else","scopes":[]}'))
                is_sent.set()

    async with listening(serve) as server, client_of(server.url, attempts=1) as client:
        await client.lookup(TOKEN)
        await is_sent.wait()
        for _turn in range(3):  # until it has arrived
            await asyncio.sleep(0.01)
        await client.lookup(TOKEN)
        lookup = await client.lookup(TOKEN)
    assert lookup.metadata is not None
    assert lookup.metadata.id == PUBLIC_ID
    assert server.connections == 2


async def test_connection_that_the_environment_closed_is_not_used_again() -> None:
    is_closed = asyncio.Event()

    async def serve(_server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(FOUND)
        writer.write_eof()
        assert await reader.read() == b""  # the client has closed it
        is_closed.set()

    async with listening(serve) as server, client_of(server.url, attempts=1) as client:
        for _number in range(2):
            assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND
            await is_closed.wait()
            is_closed.clear()


async def test_connection_that_nobody_uses_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.dynatrace.wire._IDLE_SECONDS", 0.01)
    is_closed = asyncio.Event()

    async def serve(_server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(FOUND)
        assert await reader.read() == b""
        is_closed.set()

    async with listening(serve) as server, client_of(server.url) as client:
        await client.lookup(TOKEN)
        await is_closed.wait()
