"""The webhook against the reference implementation of Standard Webhooks, over real sockets."""

import asyncio
import base64
import json
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.http import ANSWER_LIMIT
from auditor.alerts.webhook import KIND, WebhookSettings, signed_headers
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError, DeliveryFailed
from tests.alerts.receivers import PUBLIC_ID, TOKEN, Receiver, alert, answering, digest, message, now, receiving


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@asynccontextmanager
async def webhook(url: str, environ: dict[str, str] | None = None, **settings: Any) -> AsyncIterator[Hook]:
    environ = environ or {"NEW": new_secret()}
    hook = await KIND.open(
        "team",
        WebhookSettings.model_validate(
            {"type": "webhook", "url": url, "secret": {"env": "NEW"}, "allow_http": True, **settings}
        ),
        Surroundings(Resolver(Path(), environ), SHIPPED),
    )
    try:
        yield hook
    finally:
        await hook.close()


async def failure_with(receiver: Receiver, **settings: Any) -> DeliveryFailed:
    async with webhook(receiver.url, **settings) as hook:
        with pytest.raises(DeliveryFailed) as raised:
            await hook.deliver(message(), now())
    return raised.value


async def test_receiver_verifies_what_arrives() -> None:
    secret = new_secret()
    async with receiving(answering(204)) as receiver, webhook(receiver.url, {"NEW": secret}) as hook:
        assert await hook.deliver(message(token_name="Jürgens ☂ token"), now()) == "HTTP 204"
    headers, body = receiver.requests[0]
    assert Reference(secret).verify(body, headers) == {
        "type": "finding.opened",
        "timestamp": "2026-11-24T08:30:00Z",
        "data": {
            "environment": "prod",
            "severity": "high",
            "token": PUBLIC_ID,
            "rule": "DT-EXP-01",
            "token_name": "Jürgens ☂ token",
        },
    }
    assert headers["webhook-id"] == message().id
    assert headers["content-type"] == "application/json"


async def test_digest_says_what_it_stands_for_and_shows_the_worst() -> None:
    secret = new_secret()
    async with receiving(answering(204)) as receiver, webhook(receiver.url, {"NEW": secret}) as hook:
        await hook.deliver(digest(alert(owner="jane"), alert(owner=f"copy of {TOKEN}"), more=37), now())
    headers, body = receiver.requests[0]
    document = Reference(secret).verify(body, headers)
    assert headers["webhook-id"] == digest(alert()).id
    assert (document["type"], document["timestamp"]) == ("digest", "2026-11-24T08:00:00Z")
    data = document["data"]
    assert (data["counts"], data["more"]) == ({"high": 39}, 37)
    assert [(one["id"], one["type"], one["data"]["owner"]) for one in data["alerts"]] == [
        (alert().id, "finding.opened", "jane"),
        (alert().id, "finding.opened", f"copy of {PUBLIC_ID}.…"),
    ]


async def test_changed_body_is_not_verified() -> None:
    secret = new_secret()
    async with receiving(answering(204)) as receiver, webhook(receiver.url, {"NEW": secret}) as hook:
        await hook.deliver(message(), now())
    headers, body = receiver.requests[0]
    with pytest.raises(WebhookVerificationError):
        Reference(secret).verify(body.replace(b"high", b"info"), headers)


async def test_both_secrets_verify_during_rotation() -> None:
    environ = {"NEW": new_secret(), "OLD": new_secret()}
    async with (
        receiving(answering(200)) as receiver,
        webhook(receiver.url, environ, previous_secret={"env": "OLD"}) as hook,
    ):
        await hook.deliver(message(), now())
    headers, body = receiver.requests[0]
    for secret in environ.values():
        Reference(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Reference(new_secret()).verify(body, headers)


async def test_retry_sends_the_same_id_and_bytes_under_a_new_timestamp() -> None:
    first = now() - timedelta(seconds=90)
    async with receiving(answering(200)) as receiver, webhook(receiver.url) as hook:
        await hook.deliver(message(a=1, b=2), first)
        await hook.deliver(message(b=2, a=1), first + timedelta(seconds=90))
    (headers, body), (headers_again, body_again) = receiver.requests
    assert body == body_again
    assert headers["webhook-id"] == headers_again["webhook-id"]
    assert int(headers_again["webhook-timestamp"]) - int(headers["webhook-timestamp"]) == 90
    assert headers["webhook-signature"] != headers_again["webhook-signature"]


async def test_secret_in_outside_text_does_not_leave() -> None:
    async with receiving(answering(200)) as receiver, webhook(receiver.url) as hook:
        await hook.deliver(message(token_name=f"copy of {TOKEN}", evidence={"names": [TOKEN]}), now())
    data = json.loads(receiver.requests[0][1])["data"]
    assert data["token_name"] == f"copy of {PUBLIC_ID}.…"
    assert data["evidence"] == {"names": [f"{PUBLIC_ID}.…"]}
    assert data["token"] == PUBLIC_ID


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "HTTP 400"),
        (401, "HTTP 401; does the receiver have this hook's secret?"),
        (404, "HTTP 404; is url right?"),
        (410, "HTTP 410: the receiver wants no more of these; remove the hook or change its url"),
        (503, "HTTP 503"),
        (599, "HTTP 599"),
    ],
)
async def test_refusal_is_a_failure_with_its_reason(status: int, reason: str) -> None:
    async with receiving(answering(status)) as receiver:
        failure = await failure_with(receiver)
    assert str(failure) == f"hooks.team: 127.0.0.1: {reason}"
    assert failure.retry_after_seconds is None


async def test_retry_after_is_told_in_seconds() -> None:
    async with receiving(answering(429, Retry_After="120")) as receiver:
        assert (await failure_with(receiver)).retry_after_seconds == 120


async def test_retry_after_as_a_date_goes_by_the_clock_of_the_receiver() -> None:
    tomorrow = {"Date": "Wed, 25 Nov 2026 12:00:00 GMT", "Retry_After": "Wed, 25 Nov 2026 12:02:00 GMT"}
    async with receiving(answering(503, **tomorrow)) as receiver:
        assert (await failure_with(receiver)).retry_after_seconds == 120


async def test_redirect_is_not_followed() -> None:
    async with (
        receiving(answering(200)) as elsewhere,
        receiving(answering(307, Location=elsewhere.url)) as receiver,
    ):
        failure = await failure_with(receiver)
    assert str(failure) == "hooks.team: 127.0.0.1: HTTP 307: redirects are not followed; set url to where it leads"
    assert elsewhere.requests == []


async def test_answer_that_does_not_come_ends_in_time() -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await receiver.is_released.wait()
        return web.Response()

    async with receiving(never) as receiver:
        failure = await failure_with(receiver, timeout_seconds=0.05)
    assert str(failure) == "hooks.team: 127.0.0.1: no answer within 0.05 s"


async def test_endless_answer_is_left_unread() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while not receiver.is_released.is_set() and sent < 1_000 * ANSWER_LIMIT:
            await response.write(b"x" * ANSWER_LIMIT)
            sent += ANSWER_LIMIT
        return response

    async with receiving(endless) as receiver, webhook(receiver.url) as hook:
        assert await hook.deliver(message(), now()) == "HTTP 200"
    assert sent < 1_000 * ANSWER_LIMIT


async def test_answer_cut_short_after_its_status_counts_as_taken() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with receiving(cut) as receiver, webhook(receiver.url) as hook:
        assert await hook.deliver(message(), now()) == "HTTP 200"


async def test_nobody_listening_is_a_failure_that_names_host_but_not_path() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with webhook(f"http://127.0.0.1:{unused.getsockname()[1]}/capability-in-the-path") as hook:
            with pytest.raises(DeliveryFailed, match=r"^hooks\.team: 127\.0\.0\.1: no connection: ") as raised:
                await hook.deliver(message(), now())
    assert "capability" not in str(raised.value)


async def test_answer_that_is_not_http_is_a_failure() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, webhook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as hook:
        with pytest.raises(DeliveryFailed, match="answer is not HTTP"):
            await hook.deliver(message(), now())


async def test_requests_go_through_the_proxy() -> None:
    async with receiving(answering(200)) as proxy:
        address = proxy.url.removesuffix("/hook")
        async with webhook("http://localhost:9/hook", proxy=address) as hook:
            assert await hook.deliver(message(), now()) == "HTTP 200"
    assert proxy.requests[0][0]["host"] == "localhost:9"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "http://127.0.0.1/x"}, "set allow_http = true only for loopback"),
        ({"url": "http://alerts.example.com", "allow_http": True}, r"must be https \(got http://alerts.example.com\)"),
        ({"url": "ftp://alerts.example.com"}, "url must be like https://"),
        ({"url": "https://user:word@alerts.example.com"}, "must have no user"),
        ({"url": "https://alerts.example.com", "proxy": "http://a:b@proxy"}, "proxy must not hold a password"),
        ({"url": "https://alerts.example.com", "timeout_seconds": 0}, "greater than 0"),
        ({"url": "https://alerts.example.com", "retries": 3}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WebhookSettings.model_validate({"type": "webhook", "secret": {"env": "NEW"}, **settings})


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("c2hvcnQ=", "does not begin with whsec_"),
        ("whsec_not*base64", "is not base64"),
        ("whsec_c2hvcnQ=", "holds 5 bytes, and 24 to 64 are needed"),
    ],
)
async def test_secret_that_signs_badly_is_refused_and_not_shown(secret: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        async with webhook("http://127.0.0.1/hook", {"NEW": secret}):
            pass
    assert str(raised.value).startswith("hooks.team.secret: ")
    assert secret not in str(raised.value)


async def test_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"hooks\.team\.ca_file: .*ca\.pem"):
        async with webhook("https://127.0.0.1/hook", ca_file=str(tmp_path / "ca.pem")):
            pass


def test_timestamp_is_when_the_attempt_is_made() -> None:
    headers = signed_headers("id", b"{}", [b"k" * 24], datetime(2026, 11, 24, 9, 30, tzinfo=UTC))
    assert headers["webhook-timestamp"] == "1795512600"
