"""A lookup endpoint as fast as Python can make one, so that a benchmark measures the client and not the server.

A bare ``asyncio.Protocol`` on uvloop that reads nothing of a request but the token's public id, and answers with the
metadata of a realistic fleet. It is the simulator's, which settles how many tokens have what wrong with them, with a
name of its own for each token and so many owners that a service's has some 30 tokens and a person's one or two. Whoever
asks for the environment's list is told that the token may not read it. Run as a program with the fleet's size it prints
its port and serves until its standard input closes.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast
from zlib import crc32

import msgspec
import uvloop

from auditor.simulator import generate
from auditor.simulator.answers import as_v2
from auditor.simulator.profiles import TEAMS

TEMPLATES: Final = 2_000
TOKENS_AN_OWNER: Final = 30
"""Of a service's owner, about; with the simulator's teams seven in ten tokens are of one."""
_ID: Final = b"dt0c01.XXXXXXXXXXXXXXXXXXXXXXXX"
_OWNER: Final = b"-NNNN"
_NAME: Final = b"-IIIIIIII"
_NUMBERED_NAME: Final = re.compile(r"-[0-9]{5}\Z")
_NUMBERED_OWNER: Final = re.compile(r"svc-[a-z]+\Z|[a-z]+\.[a-z]+\Z")
_MAY_NOT_LIST: Final = (
    b'{"error":{"code":403,"message":"Token is missing required scope. Use one of: apiTokens.read (Read API tokens)"}}'
)
_FORBIDDEN: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_MAY_NOT_LIST),
    _MAY_NOT_LIST,
)
"""To the reads at a sweep's end: auditor's own token has no scope for them."""


def answers(now: datetime) -> list[list[bytes]]:
    """Return answers of a fleet, each cut where a token's id, its number in the name, and its owner's number go.

    Between two pieces stands the mark of what goes there. Names and owners that are meant to be awkward have no number.
    """
    made: list[list[bytes]] = []
    for simulated in generate("bench", TEMPLATES, now):
        said = {**as_v2(simulated.token), "id": _ID.decode()}
        said["name"] = _NUMBERED_NAME.sub(_NAME.decode(), simulated.token.name)
        if simulated.token.owner is not None and _NUMBERED_OWNER.match(simulated.token.owner):
            said["owner"] = simulated.token.owner + _OWNER.decode()
        body = msgspec.json.encode(said)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        made.append(re.split(b"(%s)" % b"|".join(map(re.escape, (_ID, _NAME, _OWNER))), head + body))
    return made


class Lookup(asyncio.Protocol):
    """One connection: every request is a lookup, and the next comes after the answer to the last."""

    def __init__(self, answers: Sequence[Sequence[bytes]], services: int) -> None:
        self._answers = answers
        self._services = services
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
        drawn = crc32(token_id)
        values = {_ID: token_id, _NAME: b"-" + token_id[7:15], _OWNER: b"-%04d" % (drawn // TEMPLATES % self._services)}
        self._received = b""
        self._transport.write(b"".join([values.get(piece, piece) for piece in self._answers[drawn % TEMPLATES]]))


async def serve(tokens: int) -> None:
    """Serve a fleet of so many tokens on a free port of the loopback until standard input closes."""
    made = answers(datetime.now(UTC))
    services = max(1, tokens * 7 // 10 // len(TEAMS) // TOKENS_AN_OWNER)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Lookup(made, services), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
