"""What holds for every hook that sends over HTTP, beside what the webhook's tests show of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from auditor.alerts.http import ANSWER_LIMIT, Answer, HttpSettings, Sender, checked_url, secret_url
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError, DeliveryFailed
from auditor.model.secret import Secret
from tests.alerts.receivers import PUBLIC_ID, TOKEN, answering, now, receiving


@asynccontextmanager
async def sender(**settings: Any) -> AsyncIterator[Sender]:
    made = await Sender.open("team", HttpSettings.model_validate({"type": "any", **settings}), Resolver(Path(), {}))
    try:
        yield made
    finally:
        await made.close()


def whole(answer: Answer) -> str:
    return answer.body.decode()


async def test_answer_is_read_up_to_a_limit() -> None:
    async with receiving(answering(200, "x" * 2 * ANSWER_LIMIT)) as receiver, sender() as team:
        answer = await team.post(URL(receiver.url), b"{}", now())
    assert (answer.status, answer.body) == (200, b"x" * ANSWER_LIMIT)
    assert str(answer) == "HTTP 200"


async def test_refusal_quotes_the_answer_only_where_the_hook_knows_what_to_quote() -> None:
    async with receiving(answering(400, "no such channel")) as receiver, sender() as team:
        with pytest.raises(DeliveryFailed, match=r"^hooks\.team: 127\.0\.0\.1: HTTP 400$"):
            await team.post(URL(receiver.url), b"{}", now())
        with pytest.raises(DeliveryFailed, match=r": HTTP 400: no such channel; really\?$"):
            await team.post(URL(receiver.url), b"{}", now(), quote=whole, hints={400: "; really?"})


async def test_what_is_quoted_is_one_short_line_without_secrets() -> None:
    async with receiving(answering(400, f"got\n{TOKEN}\x1b[2J{'!' * 500}")) as receiver, sender() as team:
        with pytest.raises(DeliveryFailed) as raised:
            await team.post(URL(receiver.url), b"{}", now(), quote=whole)
    said = str(raised.value).removeprefix("hooks.team: 127.0.0.1: HTTP 400: ")
    assert said.startswith(f"got {PUBLIC_ID}.…\N{REPLACEMENT CHARACTER}[2J!!!")
    assert len(said) == 301


async def test_proxy_that_refuses_is_told_from_the_receiver() -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=407)

    async with receiving(refuse) as proxy, sender(proxy=proxy.url.removesuffix("/hook")) as team:
        with pytest.raises(DeliveryFailed, match=r"^hooks\.team: alerts\.example\.com: the proxy refused: HTTP 40\d$"):
            await team.post(URL("https://alerts.example.com/x"), b"{}", now())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://hooks.example.com:99999/capability", "is not a URL"),
        ("hooks.example.com/capability", "must be like https://"),
        ("https://user:capability@hooks.example.com/", "must have no user"),
        ("http://hooks.example.com/capability", r"must be https \(got http://hooks\.example\.com\)"),
    ],
)
def test_url_that_is_a_secret_is_refused_without_showing_it(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        secret_url(Secret(text), HttpSettings(type="any", allow_http=True), "hooks.team.url")
    assert str(raised.value).startswith("hooks.team.url: what it points to will not do: ")
    assert "capability" not in str(raised.value)


def test_plain_http_goes_to_this_machine_only_where_it_is_allowed() -> None:
    assert checked_url("http://127.0.0.1:8080/x", allow_http=True) == URL("http://127.0.0.1:8080/x")
    for text, allowed in (("http://127.0.0.1:8080/x", False), ("http://10.0.0.1/x", True)):
        with pytest.raises(ValueError, match="set allow_http = true only for loopback"):
            checked_url(text, allow_http=allowed)
