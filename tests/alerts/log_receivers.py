"""Receivers of logs on real sockets, and strict readers written from RFC 5424 and systemd's Native Journal Protocol."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_NAME = r"[!#-<>-\\^-~]{1,32}"
_VALUE = r'(?:[^"\\\]]|\\["\\\]])*'
_PARAM = re.compile(rf' (?P<name>{_NAME})="(?P<value>{_VALUE})"')
_MESSAGE = re.compile(
    r"<(?P<priority>0|[1-9][0-9]{0,2})>1 "
    r"(?P<at>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z) "
    r"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<event>[!-~]{1,32}) "
    rf"\[(?P<sd_id>{_NAME}@[0-9]+)(?P<params>(?: {_NAME}=\"{_VALUE}\")*)\] (?P<text>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Record:
    """A syslog message as a receiver reads it."""

    facility: int
    severity: int
    at: datetime
    host: str
    app: str
    event: str
    sd_id: str
    fields: Mapping[str, str]
    text: str


def record_of(message: bytes) -> Record:
    """Read a message; raises ``ValueError`` where RFC 5424 does not allow it."""
    match = _MESSAGE.fullmatch(message.decode())
    if match is None or int(match["priority"]) > 191:
        raise ValueError(f"no message of RFC 5424: {message!r}")
    text = match["text"]
    if not text.isascii() and not text.startswith("\ufeff"):
        raise ValueError("UTF-8 without a BOM")
    facility, severity = divmod(int(match["priority"]), 8)
    fields = {
        param["name"]: re.sub(r'\\(["\\\]])', r"\1", param["value"]) for param in _PARAM.finditer(match["params"])
    }
    at = datetime.fromisoformat(match["at"])
    return Record(
        facility, severity, at, match["host"], match["app"], match["event"], match["sd_id"], fields,
        text.removeprefix("\ufeff"),
    )  # fmt: skip


def frames_of(stream: bytes) -> list[bytes]:
    """Part a stream by octet counts (RFC 6587 §3.4.1); raises ``ValueError`` where it does not come out even."""
    frames: list[bytes] = []
    while stream:
        count, space, stream = stream.partition(b" ")
        if not space or not re.fullmatch(rb"[1-9][0-9]*", count) or len(stream) < int(count):
            raise ValueError(f"no frame: {stream!r}")
        frames.append(stream[: int(count)])
        stream = stream[int(count) :]
    return frames


def entry_of(datagram: bytes) -> dict[str, str]:
    """Read an entry of the Native Journal Protocol; raises ``ValueError`` where it is none."""
    fields: dict[str, str] = {}
    while datagram:
        line, feed, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(datagram[:8], "little")
            value, feed, datagram = datagram[8 : 8 + length], datagram[8 + length :][:1], datagram[9 + length :]
        if feed != b"\n" or not re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name) or name.decode() in fields:
            raise ValueError(f"no field: {line!r}")
        fields[name.decode()] = value.decode()
    return fields


@asynccontextmanager
async def streams(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, "asyncio.Queue[bytes]"]]:
    """Yield a TCP port and all that arrived over each connection."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(await reader.read())
        writer.close()

    async with await asyncio.start_server(read, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], arrived


@asynccontextmanager
async def datagrams(path: Path | None = None) -> AsyncIterator[tuple[int, "asyncio.Queue[bytes]"]]:
    """Yield a UDP port, or 0 for a Unix socket, and each datagram that arrived."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    class Reading(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            arrived.put_nowait(data)

    with socket.socket(socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        at.setblocking(False)
        at.bind(("127.0.0.1", 0) if path is None else str(path))
        transport, _protocol = await asyncio.get_running_loop().create_datagram_endpoint(Reading, sock=at)
        try:
            yield 0 if path else at.getsockname()[1], arrived
        finally:
            transport.close()
