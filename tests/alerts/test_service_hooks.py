"""What is true of every hook that sends to a service, by a strict receiver written from the service's contract."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from msgspec.structs import replace

from auditor.alerts.samples import sample_alerts, sample_digest, trial_alert
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from tests.alerts.receivers import PUBLIC_ID, TOKEN, alert, answering, digest, now, receiving
from tests.alerts.services import CASES, connected, hook_to

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
HOSTILE = f"<!channel> &*_~`[x](http://evil.example)<script>\u202e\x00\x1b[2J\ud800\n\"'\\ {TOKEN}"


def hostile(size: int = 1) -> Alert:
    text = HOSTILE * size
    names = ("token_name", "owner", "title", "message", "rationale", "remediation", "rule", "token")
    return alert(
        **dict.fromkeys(names, text),
        key=f"prod/{text}/DT",
        evidence={text: [text, {"deep": text}]},
        locations=[{"source": text, "place": text}] * 9,
    )


ALERTS = {
    **sample_alerts(NOW),
    "test": trial_alert("1", "team", NOW),
    "hostile": hostile(),
    "hostile and resolved": replace(hostile(), event="finding.resolved"),
    "huge": hostile(200),
    "short": alert(),
    "nothing but an event": Alert(id="2", event="x.y", severity=Severity.INFO, environment="prod", at=NOW, data={}),
}
every_service = pytest.mark.parametrize("name", CASES)
those_with_digests = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind.takes_digests])


@every_service
async def test_service_takes_every_alert(name: str) -> None:
    async with connected(name) as (hook, _service, receiver):
        for one in ALERTS.values():
            assert (await hook.deliver(Message.of_one(one), now())).startswith("HTTP 20")
    bodies = [body for _headers, body in receiver.requests if body]  # beside what only asks
    assert len(bodies) == len(ALERTS) + (name == "opsgenie")  # which is told a new priority by itself
    for body in bodies:
        assert TOKEN.encode() not in body
        assert TOKEN.removeprefix(PUBLIC_ID).encode() not in body


@those_with_digests
@pytest.mark.parametrize("count", [1, 4, 60, 700])
async def test_service_takes_digests_of_any_size_and_what_is_left_out_is_counted(name: str, count: int) -> None:
    alerts = [
        alert(key=f"prod/{number}/DT-EXP-01", owner=f"o{number % 9}", message="m" * 80) for number in range(count)
    ]
    async with connected(name) as (hook, _service, receiver):
        await hook.deliver(digest(*alerts, more=37), now())
    body = receiver.requests[0][1].decode()
    shown = len(re.findall(r"prod/\d+/DT-EXP-01", body))
    assert shown == count if count < 5 else 15 < shown <= count
    assert f"{count + 37} alerts" in body
    assert f"and {count + 37 - shown} more: " in body


@those_with_digests
async def test_digest_of_hostile_alerts_is_taken(name: str) -> None:
    async with connected(name) as (hook, _service, _receiver):
        assert (await hook.deliver(digest(*[hostile(number) for number in range(1, 40)]), now())).startswith("HTTP 20")


@those_with_digests
async def test_sample_digest_is_taken(name: str) -> None:
    async with connected(name) as (hook, _service, _receiver):
        assert (await hook.deliver(sample_digest(NOW), now())).startswith("HTTP 20")


@every_service
async def test_every_attempt_sends_the_same_body_with_the_message_id(name: str) -> None:
    message = Message.of_one(ALERTS["finding.escalated"])
    async with connected(name) as (hook, _service, receiver):
        await hook.deliver(message, NOW)
        await hook.deliver(message, NOW + timedelta(hours=5))
    bodies = [body for _headers, body in receiver.requests if body]
    assert bodies[: len(bodies) // 2] == bodies[len(bodies) // 2 :]
    assert message.id.encode() in bodies[0]


@every_service
async def test_failure_names_the_host_and_no_more_of_where_it_sends(name: str) -> None:
    async with (
        receiving(answering(503, "capability", Retry_After="77")) as receiver,
        hook_to(CASES[name], receiver.url) as hook,
    ):
        with pytest.raises(DeliveryFailed, match=r"^hooks\.team: 127\.0\.0\.1: HTTP 503") as raised:
            await hook.deliver(Message.of_one(alert()), now())
    assert raised.value.retry_after_seconds == 77
    assert "capability" not in str(raised.value) or name == "slack"  # which says why in plain text
    assert CASES[name].path == "" or CASES[name].path not in str(raised.value)
    assert CASES[name].secret not in repr(vars(hook))


@every_service
async def test_answer_of_another_form_is_no_defect(name: str) -> None:
    for body in ("[1]", "null", '{"error": 7, "message": 7, "errors": 7}', "\x00", '"text"'):
        async with receiving(answering(400, body)) as receiver, hook_to(CASES[name], receiver.url) as hook:
            with pytest.raises(DeliveryFailed, match="HTTP 400"):
                await hook.deliver(Message.of_one(alert()), now())


@every_service
async def test_redirect_is_not_followed(name: str) -> None:
    async with receiving(answering(200)) as elsewhere:

        async def lead_away(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=308, headers={"Location": elsewhere.url})

        async with receiving(lead_away) as receiver, hook_to(CASES[name], receiver.url) as hook:
            with pytest.raises(DeliveryFailed, match="HTTP 308: redirects are not followed"):
                await hook.deliver(Message.of_one(alert()), now())
    assert elsewhere.requests == []
