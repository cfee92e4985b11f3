"""Writes that leave together at the end of a turn of the event loop, over real sockets."""

import asyncio
import logging

import pytest

from auditor.dynatrace.burst import Burst
from tests.dynatrace.lookup_servers import Server, listening


async def _connected(server: Server) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    transport, _protocol = await loop.create_connection(asyncio.Protocol, "127.0.0.1", server.port)
    return transport


async def test_what_is_written_in_one_turn_arrives_on_its_connection_and_in_order() -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(_server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())

    async with listening(serve) as server:
        one, another = await _connected(server), await _connected(server)
        burst = Burst(asyncio.get_running_loop())
        for transport, data in ((one, b"a"), (another, b"x"), (one, b"b")):
            burst.write(transport, data)
        await asyncio.sleep(0)
        burst.write(one, b"c")
        await asyncio.sleep(0)
        one.close()
        another.close()
        assert {await received.get(), await received.get()} == {b"abc", b"x"}


async def test_nothing_is_written_to_a_connection_that_was_closed_in_between(caplog: pytest.LogCaptureFixture) -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(_server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())

    async with listening(serve) as server:
        closed = await _connected(server)
        burst = Burst(asyncio.get_running_loop())
        with caplog.at_level(logging.WARNING):
            for _number in range(10):  # the event loop complains of several
                burst.write(closed, b"a request")
            closed.close()
            assert await received.get() == b""
        assert not caplog.records
