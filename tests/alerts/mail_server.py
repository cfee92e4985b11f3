"""A real SMTP server on loopback (aiosmtpd), with TLS, logins and answers of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class MailServer:
    """What arrived, and what it answers."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    """To recipients, in place of 250."""
    after_data: str = "250 OK"
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_over_tls: list[bool] = field(default_factory=list)

    @property
    def mails(self) -> list[EmailMessage]:
        read: list[EmailMessage] = []
        for envelope in self.envelopes:
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            read.append(mail)
        return read

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.after_data.startswith("250"):
            self.envelopes.append(envelope)
            transport = server.transport
            assert transport is not None
            self.is_over_tls.append(session.ssl is not None or transport.get_extra_info("sslcontext") is not None)
        return self.after_data

    def logged_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data == LoginPassword(b"auditor", b"capability-of-mail"), handled=False)


@asynccontextmanager
async def mail_server(
    *, starttls: ssl.SSLContext | None = None, implicit: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[MailServer]:
    """Serve for the length of the block."""
    server = MailServer()
    connections: list[SMTP] = []

    def connected() -> SMTP:
        settings: Mapping[str, Any] = {
            "hostname": "mail.example.com",
            "tls_context": starttls,
            "require_starttls": starttls is not None,
            "auth_require_tls": implicit is None,
            "authenticator": server.logged_in,
            "timeout": 5,
            **options,
        }
        connections.append(SMTP(server, **settings))
        return connections[-1]

    listening = await asyncio.get_running_loop().create_server(
        connected, "127.0.0.1", 0, ssl=implicit, ssl_shutdown_timeout=0.1 if implicit else None
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for connection in connections:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
        await asyncio.sleep(0)
