"""A lookup endpoint as fast as Python can make one, so that a benchmark measures the client and not the server.

A bare ``asyncio.Protocol`` on uvloop that reads nothing of a request but the token's public id, and answers with the
metadata of a realistic fleet; whoever asks for the environment's list is told that the token may not read it. Run as a
program it prints its port and serves until its standard input closes.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

import msgspec
import uvloop

from auditor.simulator import generate
from auditor.simulator.answers import as_v2

TEMPLATES: Final = 2_000
_ID: Final = b"dt0c01.XXXXXXXXXXXXXXXXXXXXXXXX"
_MAY_NOT_LIST: Final = (
    b'{"error":{"code":403,"message":"Token is missing required scope. Use one of: apiTokens.read (Read API tokens)"}}'
)
_FORBIDDEN: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_MAY_NOT_LIST),
    _MAY_NOT_LIST,
)
"""To the reads at a sweep's end: auditor's own token has no scope for them."""


def answers(now: datetime) -> list[tuple[bytes, bytes]]:
    """Return answers of a fleet, each cut where the token's id goes."""
    made: list[tuple[bytes, bytes]] = []
    for simulated in generate("bench", TEMPLATES, now):
        body = msgspec.json.encode({**as_v2(simulated.token), "id": _ID.decode()})
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        before, _, after = (head + body).partition(_ID)
        made.append((before, after))
    return made


class Lookup(asyncio.Protocol):
    """One connection: every request is a lookup, and the next comes after the answer to the last."""

    def __init__(self, answers: Sequence[tuple[bytes, bytes]]) -> None:
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.startswith(b"GET ") and self._received.endswith(b"\r\n\r\n"):
            self._received = b""
            self._transport.write(_FORBIDDEN)
            return
        start = self._received.find(b'{"token":"')
        if start < 0 or self._received[-1:] != b"}":
            return
        token_id = self._received[start + 10 : start + 10 + len(_ID)]
        before, after = self._answers[hash(token_id) % len(self._answers)]
        self._received = b""
        self._transport.write(before + token_id + after)


async def serve() -> None:
    """Serve on a free port of the loopback until standard input closes."""
    made = answers(datetime.now(UTC))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Lookup(made), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
