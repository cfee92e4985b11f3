"""Hook ``syslog``: a message of RFC 5424 for each alert, over UDP, TCP, TLS or a Unix socket.

Contracts: RFC 5424 (the message), RFC 5426 (UDP: one datagram each), RFC 6587 §3.4.1 and RFC 5425 (TCP and TLS: each
message after its length in octets). Syslog has no answer: that a message was handed over says nothing of its arrival,
and over UDP not even that anybody listens.
"""

import asyncio
import socket
import ssl
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.datagrams import send_to_socket
from auditor.alerts.receiver import trust_of
from auditor.alerts.record import PRIORITIES, fields_of
from auditor.alerts.rfc5424 import syslog_message
from auditor.alerts.wording import AlertWordedSettings, Wording
from auditor.model.errors import DeliveryFailed
from auditor.model.message import Message
from auditor.model.shape import HOST, Shape
from auditor.outbound import name_of

_FACILITIES: Final = {"user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "audit": 13}
_FACILITIES.update({f"local{number}": 16 + number for number in range(8)})
_PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}

Facility = Literal[
    "user", "daemon", "auth", "authpriv", "audit",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip


def _visible(most: int) -> Shape:
    return Shape(rf"[\x21-\x7e]{{1,{most}}}", f"must be 1 to {most} visible ASCII characters, without a space")


class SyslogSettings(AlertWordedSettings):
    """A ``[hooks.NAME]`` table with ``type = "syslog"``."""

    transport: Literal["tls", "tcp", "udp", "unix"] = "tls"
    """How messages travel. Over ``tcp`` and ``udp`` anybody on the way can read and forge them."""
    server: Annotated[str, HOST] | None = None
    """Name or address of the receiver; not for ``unix``."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """By default 6514 over TLS, 601 over TCP, 514 over UDP."""
    path: Path | None = None
    """The datagram socket of ``unix``."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    facility: Facility = "local0"
    """What receivers sort by."""
    app_name: Annotated[str, _visible(48)] = "auditor"
    """``APP-NAME`` of each message."""
    host_name: Annotated[str, _visible(255)] | None = None
    """``HOSTNAME`` of each message; by default this machine's."""
    enterprise_number: int = Field(default=32_473, ge=1)
    """The IANA private enterprise number after ``auditor@`` of the structured data; the default is the one of examples
    (RFC 5612)."""
    max_bytes: int = Field(default=2_048, ge=1_024, le=65_000)
    """Of a message: 2,048 is what every receiver should take (RFC 5424 §6.1). Longer texts are cut."""
    timeout_seconds: float = Field(default=10, gt=0, le=120)
    """For one attempt."""

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.transport == "unix" and (self.path is None or self.server is not None or self.port is not None):
            raise ValueError('transport = "unix" needs path, and neither server nor port')
        if self.transport != "unix" and (self.server is None or self.path is not None):
            raise ValueError(f'transport = "{self.transport}" needs server, and no path')
        if self.ca_file is not None and self.transport != "tls":
            raise ValueError('ca_file is for transport = "tls"')
        return self


class Syslog:
    """One receiver."""

    def __init__(
        self, name: str, settings: SyslogSettings, host: str, trust: ssl.SSLContext | None, wording: Wording
    ) -> None:
        self.name = name
        self._settings = settings
        self._host = host
        self._trust = trust
        self._wording = wording

    async def deliver(self, message: Message, now: datetime) -> str:
        """Hand over one message; ``id`` of its structured data tells a repetition."""
        settings = self._settings
        (alert,) = message.alerts
        record = syslog_message(
            priority=_FACILITIES[settings.facility] * 8 + PRIORITIES[alert.severity],
            at=alert.at,
            host=self._host,
            app=settings.app_name,
            event=alert.event,
            sd_id=f"auditor@{settings.enterprise_number}",
            fields=fields_of(alert),
            text=self._wording.words(message).subject,
            limit=settings.max_bytes,
        )
        try:
            async with asyncio.timeout(settings.timeout_seconds):
                await self._send(record)
        except TimeoutError:
            raise self._failed(f"not handed over within {settings.timeout_seconds:g} s") from None
        except ssl.SSLCertVerificationError as error:
            reason = f"certificate refused: {error.verify_message}; does it need ca_file?"
            raise self._failed(reason) from None
        except OSError as error:
            raise self._failed(f"no connection: {name_of(error)}") from None
        return f"handed over by {settings.transport}"

    async def close(self) -> None:
        """Do nothing: a connection lives for one message."""

    async def _send(self, record: bytes) -> None:
        settings = self._settings
        if settings.path is not None:
            await send_to_socket(settings.path, record, settings.timeout_seconds)
            return
        assert settings.server is not None
        port = settings.port or _PORTS[settings.transport]
        if settings.transport == "udp":
            loop = asyncio.get_running_loop()
            transport, _protocol = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=(settings.server, port)
            )
            transport.sendto(record)
            transport.close()
            return
        _reader, writer = await asyncio.open_connection(settings.server, port, ssl=self._trust)
        try:
            writer.write(b"%d %b" % (len(record), record))
            await writer.drain()
        finally:
            writer.close()
        await writer.wait_closed()

    def _failed(self, reason: str) -> DeliveryFailed:
        where = self._settings.server or self._settings.path
        return DeliveryFailed(f"hooks.{self.name}: {where}: {reason}")


async def _open(name: str, settings: SyslogSettings, surroundings: Surroundings) -> Hook:
    trust = None
    if settings.transport == "tls":
        trust = await trust_of(name, settings.ca_file, surroundings.resolver.directory)
    return Syslog(name, settings, settings.host_name or socket.gethostname(), trust, surroundings.wording)


KIND: Final = HookKind(name="syslog", settings=SyslogSettings, open=_open, takes_digests=False)
