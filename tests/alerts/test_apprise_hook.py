"""Apprise, with its own JSON plugin and a receiver on loopback."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.everything_else import KIND, AppriseSettings
from auditor.alerts.samples import sample_digest
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError, DeliveryFailed
from tests.alerts.receivers import TOKEN, Receiver, answering, message, now, receiving

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
"""Apprise imports it."""

HOSTILE = f"<b>&amp; *x* {TOKEN}"


async def opened(*urls: str, **settings: Any) -> Hook:
    environ = {f"URL{number}": url for number, url in enumerate(urls)}
    values = AppriseSettings.model_validate(
        {"type": "apprise", "urls": [{"env": name} for name in environ], **settings}
    )
    return await KIND.open("rest", values, Surroundings(Resolver(Path(), environ), SHIPPED))


def json_url(receiver: Receiver) -> str:
    return receiver.url.replace("http://", "json://user:capability@")


async def test_message_goes_to_each_url() -> None:
    async with receiving(answering(200)) as receiver:
        hook = await opened(json_url(receiver), f"{json_url(receiver)}/2")
        assert await hook.deliver(message(message=HOSTILE), now()) == "taken by 2"
        assert await hook.deliver(sample_digest(now()), now()) == "taken by 2"
        await hook.close()
    sent = [json.loads(body) for _headers, body in receiver.requests]
    assert len(sent) == 4
    assert {one["type"] for one in sent} == {"failure"}
    assert sent[0]["title"].startswith("HIGH prod: ")
    assert "<b>&amp; *x* " in sent[0]["message"]
    assert TOKEN not in str(sent)


async def test_url_that_takes_nothing_fails_the_delivery_and_is_not_quoted() -> None:
    async with receiving(answering(500, "capability")) as receiver:
        hook = await opened(json_url(receiver))
        with pytest.raises(DeliveryFailed, match=r"^hooks\.rest: not taken by all of urls") as raised:
            await hook.deliver(message(), now())
        await hook.close()
    assert "capability" not in f"{raised.value}"


async def test_attempt_ends_while_apprise_still_waits() -> None:
    async def wait(_request: web.Request) -> web.StreamResponse:
        await receiver.is_released.wait()
        return web.Response()

    async with receiving(wait) as receiver:
        hook = await opened(json_url(receiver), timeout_seconds=0.05)
        with pytest.raises(DeliveryFailed, match=r"not sent within 0\.05 s"):
            await hook.deliver(message(), now())
        receiver.is_released.set()
        await asyncio.sleep(0.05)
        await hook.close()


async def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"hooks\.rest\.type: Apprise is not installed; install auditor\[apprise\]"):
        await opened("json://localhost")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nothing://capability@host", "is no URL that Apprise knows"),
        ("json://user:capability@alerts.example.com", "json:// sends in clear, .* use jsons://"),
    ],
)
async def test_url_that_will_not_do_is_named_by_its_place(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"hooks\.rest\.urls\[0\]: .*{problem}") as raised:
        await opened(url)
    assert "capability" not in str(raised.value)
