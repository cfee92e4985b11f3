"""Servers on loopback that answer lookups in ways that the simulated API does not, and clients for them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from auditor.dynatrace.client import Client
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.model.secret import Secret
from auditor.simulator import SteppedClock

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
TOKEN = Secret(f"{PUBLIC_ID}.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM")
OWN = Secret("the-auditors-own-token-of-the-old-format")

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What to send, or what to do in place of it; the connection closes after the latter."""


@dataclass
class Request:
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Server:
    """What arrived so far."""

    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    is_released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end of the block; an answer may wait for it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def answering(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Send these answers one after another, the last for ever, over connections that stay open."""

    async def serve(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            server.requests.append(await _request(reader))
            answer = answers[min(len(server.requests), len(answers)) - 1]
            if not isinstance(answer, bytes):
                return await answer(writer)
            writer.write(answer)
            await writer.drain()

    async with listening(serve, tls) as server:
        yield server


@asynccontextmanager
async def connect_proxy(answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> AsyncIterator[Server]:
    """A proxy that understands CONNECT; it passes everything on after it answered with 200."""

    async def serve(proxy: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _request(reader)
        proxy.requests.append(request)
        writer.write(answer)
        await writer.drain()
        if b" 200 " in answer:
            host, _, port = request.target.partition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))

    async with listening(serve) as proxy:
        yield proxy


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def listening(
    serve: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Have each connection served for the length of the block."""
    server = Server()
    tasks: set[asyncio.Task[object]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await serve(server, reader, writer)
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        server.is_released.set()
        await asyncio.gather(*tasks)


async def _request(reader: asyncio.StreamReader) -> Request:
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(head.split()[1], headers, body)


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer; ``_`` in a header's name stands for ``-``."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def client_of(url: str, *, clock: SteppedClock | None = None, own: Secret = OWN, **settings: object) -> Client:
    environment = EnvironmentSettings.model_validate(
        {"url": url, "token": {"env": "UNUSED"}, "allow_http": True, **settings}
    )
    return Client("prod", environment, own, clock=clock or SteppedClock(NOW))


def make_certificate(directory: Path, *, ended: bool = False) -> tuple[Path, ssl.SSLContext]:
    """Return a new self-signed certificate for 127.0.0.1, and what serves with it."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated environment")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=-1 if ended else 1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private, public = directory / "key.pem", directory / "certificate.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context
