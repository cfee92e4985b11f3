"""Mails, sent to a real SMTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from auditor.alerts import mailer
from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.mail import mailbox
from auditor.alerts.mailer import EmailSettings
from auditor.alerts.samples import sample_alerts, sample_digest
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError, DeliveryFailed
from auditor.model.message import Message
from tests.alerts.mail_server import mail_server
from tests.alerts.receivers import PUBLIC_ID, TOKEN, alert, now
from tests.dynatrace.lookup_servers import make_certificate

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
SAMPLES = sample_alerts(NOW)
OPENED = Message.of_one(SAMPLES["finding.opened"])


async def opened(port: int, directory: Path = Path(), **settings: Any) -> Hook:
    values = {
        "type": "email",
        "server": "127.0.0.1",
        "port": port,
        "tls": "off",
        "sender": "Auditor <auditor@example.com>",
        "to": ["security@example.com"],
        **settings,
    }
    surroundings = Surroundings(Resolver(directory, {"SECRET": "capability-of-mail"}), SHIPPED)
    return await mailer.KIND.open("team", EmailSettings.model_validate(values), surroundings)


@asynccontextmanager
async def hook_to(port: int, directory: Path = Path(), **settings: Any) -> AsyncIterator[Hook]:
    hook = await opened(port, directory, **settings)
    yield hook
    await hook.close()


async def test_mail_says_what_happened_in_plain_text_and_html() -> None:
    async with mail_server() as server, hook_to(server.port) as hook:
        assert await hook.deliver(OPENED, NOW) == "SMTP 250"
    (envelope,), (mail,) = server.envelopes, server.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("auditor@example.com", ["security@example.com"])
    assert mail["Subject"] == f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "Why it matters: " in plain.get_content()
    assert "<strong>Why it matters</strong>: " in html.get_content()


async def test_headers_serve_filters_threads_and_answering_machines() -> None:
    async with mail_server() as server, hook_to(server.port) as hook:
        for event in ("opened", "resolved"):
            await hook.deliver(Message.of_one(SAMPLES[f"finding.{event}"]), NOW)
        await hook.deliver(sample_digest(NOW), NOW)
    opened, resolved, digest = server.mails
    assert opened["Message-ID"] == f"<{OPENED.id}.team@example.com>"
    assert opened["References"] == resolved["References"] == resolved["In-Reply-To"]
    assert digest["References"] is None
    assert (opened["Auto-Submitted"], opened["List-Id"]) == ("auto-generated", "<team.auditor.example.com>")
    assert (opened["X-Auditor-Event"], opened["X-Auditor-Severity"]) == ("finding.opened", "critical")
    assert (digest["X-Auditor-Event"], digest["X-Auditor-Environment"]) == ("digest", "prod")
    assert opened["Date"].datetime == NOW


async def test_long_identifiers_are_not_encoded() -> None:
    domain = "a-name-that-is-long.of-a-subsidiary.mail.example.com"
    async with mail_server() as server, hook_to(server.port, sender=f"auditor@{domain}") as hook:
        await hook.deliver(OPENED, NOW)
    content = server.envelopes[0].original_content
    assert content is not None
    head = content.partition(b"\r\n\r\n")[0].decode()
    assert "=?utf-8?" not in head
    assert head.count(f".team@{domain}>") == 3


async def test_every_attempt_sends_the_same_bytes() -> None:
    async with mail_server() as server, hook_to(server.port) as hook:
        await hook.deliver(OPENED, NOW)
        await hook.deliver(OPENED, NOW + timedelta(hours=5))
    assert server.envelopes[0].content == server.envelopes[1].content


async def test_text_from_outside_is_neither_markup_nor_header() -> None:
    text = f"Zoë ☂\r\nBcc: all@evil.example\r\n\r\n<script>&\u202e {TOKEN}"
    message = Message.of_one(replace(alert(token_name=text, owner=text, title=text, message=text), environment=text))
    async with mail_server() as server, hook_to(server.port) as hook:
        await hook.deliver(message, NOW)
    (mail,) = server.mails
    assert mail["Bcc"] is None
    assert "Zoë ☂␍␊Bcc" in mail["Subject"]
    html = mail.get_body(("html",))
    assert html is not None
    assert "&lt;script&gt;&amp;" in html.get_content()
    assert "<script" not in html.get_content()
    assert isinstance(server.envelopes[0].content, bytes)
    assert max(map(len, server.envelopes[0].content.split(b"\r\n"))) <= 998
    assert TOKEN.removeprefix(PUBLIC_ID) not in mail.as_string()


async def test_names_of_people_may_hold_any_letter() -> None:
    async with (
        mail_server() as server,
        hook_to(server.port, sender="Prüfer, ☂ <a@example.com>", to=['"Zoë" <z@example.com>']) as hook,
    ):
        await hook.deliver(OPENED, NOW)
    (mail,) = server.mails
    assert mail["From"].addresses[0].display_name == "Prüfer, ☂"
    assert mail["To"].addresses[0].display_name == "Zoë"


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ("add", ["security@example.com", "owner@example.com"]),
        ("instead", ["owner@example.com"]),
        ("ignore", ["security@example.com"]),
    ],
)
async def test_those_who_can_act_get_it_as_configured(owners: str, expected: list[str]) -> None:
    recipients = ("Owner <owner@example.com>", "SECURITY@example.com", "no address\r\nRCPT TO:<x@evil.example>")
    if owners == "instead":
        recipients = (recipients[0], recipients[2])  # type: ignore[assignment] # shorter on purpose
    async with mail_server() as server, hook_to(server.port, owners=owners) as hook:
        await hook.deliver(Message.of_one(SAMPLES["finding.opened"], recipients), NOW)
    assert server.envelopes[0].rcpt_tos == expected


async def test_mail_without_anybody_to_go_to_fails() -> None:
    async with mail_server() as server, hook_to(server.port, to=[]) as hook:
        with pytest.raises(DeliveryFailed, match="there is nobody to send to; set to, or map owners to addresses"):
            await hook.deliver(OPENED, NOW)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # aiosmtpd knows no implicit TLS
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_mail_and_login_go_over_tls(tls: str, tmp_path: Path) -> None:
    authority, context = make_certificate(tmp_path)
    login = {"username": "auditor", "password": {"env": "SECRET"}, "ca_file": str(authority)}
    async with mail_server(**{tls: context}, auth_required=True) as server:
        hook = await opened(server.port, tmp_path, tls=tls, **login)
        assert await hook.deliver(OPENED, NOW) == "SMTP 250"
    assert (server.is_over_tls, server.logins) == ([True], [(b"auditor", b"capability-of-mail")])


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_certificate_of_nobody_known_is_refused(tls: str, tmp_path: Path) -> None:
    _authority, context = make_certificate(tmp_path)
    async with mail_server(**{tls: context}) as server, hook_to(server.port, tls=tls) as hook:
        with pytest.raises(DeliveryFailed, match=r"127\.0\.0\.1: certificate refused: .*; does it need ca_file\?"):
            await hook.deliver(OPENED, NOW)
    assert server.envelopes == []


async def test_server_without_starttls_gets_nothing() -> None:
    async with mail_server() as server, hook_to(server.port, tls="starttls") as hook:
        with pytest.raises(DeliveryFailed, match="STARTTLS"):
            await hook.deliver(OPENED, NOW)
    assert server.envelopes == []


async def test_refused_login_tells_no_password(tmp_path: Path) -> None:
    authority, context = make_certificate(tmp_path)
    login = {"username": "other", "password": {"env": "SECRET"}, "ca_file": str(authority)}
    async with (
        mail_server(starttls=context) as server,
        hook_to(server.port, tmp_path, tls="starttls", **login) as hook,
    ):
        with pytest.raises(DeliveryFailed, match="login refused: SMTP 535; check username and password") as raised:
            await hook.deliver(OPENED, NOW)
    assert "capability" not in f"{raised.value} {vars(hook)!r}"


async def test_recipient_refused_for_good_holds_nobody_up() -> None:
    async with mail_server() as server, hook_to(server.port, to=["a@example.com", "gone@example.com"]) as hook:
        server.answers = {"gone@example.com": "550 no such user"}
        assert await hook.deliver(OPENED, NOW) == "SMTP 250, 1 of 2 recipients refused"
    assert server.envelopes[0].rcpt_tos == ["a@example.com"]


async def test_recipient_put_off_gets_it_later_and_the_others_once() -> None:
    async with mail_server() as server, hook_to(server.port, to=["a@example.com", "b@example.com"]) as hook:
        server.answers = {"b@example.com": "451 greylisted"}
        with pytest.raises(DeliveryFailed, match="1 of 2 recipients put off: SMTP 451 greylisted"):
            await hook.deliver(OPENED, NOW)
        server.answers = {}
        assert await hook.deliver(OPENED, NOW) == "SMTP 250"
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [["a@example.com"], ["b@example.com"]]
    assert server.envelopes[0].content == server.envelopes[1].content


@pytest.mark.parametrize(
    ("answer", "said"), [("550 gone", "all recipients refused: SMTP 550 gone"), ("450 wait", "put off: SMTP 450 wait")]
)
async def test_mail_that_nobody_gets_is_not_delivered(answer: str, said: str) -> None:
    async with mail_server() as server, hook_to(server.port) as hook:
        server.answers = {"security@example.com": answer}
        with pytest.raises(DeliveryFailed, match=said):
            await hook.deliver(OPENED, NOW)


async def test_refused_content_is_not_delivered() -> None:
    async with mail_server() as server, hook_to(server.port) as hook:
        server.after_data = f"554 looks like spam {TOKEN}"
        with pytest.raises(DeliveryFailed, match="SMTP 554 looks like spam") as raised:
            await hook.deliver(OPENED, NOW)
    assert TOKEN not in str(raised.value)


async def test_mail_larger_than_the_server_takes_is_refused() -> None:
    async with mail_server(data_size_limit=100) as server, hook_to(server.port) as hook:
        with pytest.raises(DeliveryFailed, match="SMTP 552"):
            await hook.deliver(OPENED, NOW)


async def test_server_that_says_nothing_ends_the_attempt() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        is_over.set()

    is_over = asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        hook = await opened(server.sockets[0].getsockname()[1], timeout_seconds=0.05)
        with pytest.raises(DeliveryFailed, match=r"127\.0\.0\.1: no answer within 0.05 s"):
            await hook.deliver(OPENED, now())
        await asyncio.wait_for(is_over.wait(), 5)


async def test_nobody_listening_is_said() -> None:
    async with hook_to(1) as hook:
        with pytest.raises(DeliveryFailed, match=r"hooks\.team: 127\.0\.0\.1: no connection"):
            await hook.deliver(OPENED, NOW)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"server": "mail.example.com", "tls": "off"}, "only for loopback"),
        ({"username": "auditor"}, "username and password go together"),
        ({"to": [], "owners": "ignore"}, "mails would go to nobody"),
        ({"sender": "nobody"}, "is no address"),
        ({"to": ["a@example.com\nBcc: b@example.com"]}, "is no address"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], problem: str) -> None:
    values = {"type": "email", "server": "mail.example.com", "sender": "a@example.com", "to": ["b@example.com"]}
    with pytest.raises(ValidationError, match=problem):
        EmailSettings.model_validate(values | settings)


async def test_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"hooks\.team\.ca_file: .*no PEM certificates"):
        async with hook_to(25, tmp_path, tls="implicit", ca_file="ca.pem"):
            pass


@pytest.mark.parametrize(
    "text", ["", "a", "a@", "@b", "a b@c", "a@b, c@d", "a@b\r\n", "<a@b", "ä@b", "a@b>c", "a..b@c"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        mailbox(text)
