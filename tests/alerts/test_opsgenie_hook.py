"""Opsgenie: one alert for each finding, closed with it."""

from dataclasses import replace as with_changes

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from auditor.alerts.opsgenie import OpsgenieSettings
from auditor.alerts.samples import sample_alerts
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.alerts.receivers import PUBLIC_ID, alert, now, receiving
from tests.alerts.services import CASES, connected, hook_to

SAMPLES = sample_alerts(SAMPLED_AT)
ALIAS = f"auditor:prod:{PUBLIC_ID}:DT-EXP-01"


async def test_finding_is_one_alert_from_its_opening_to_its_end() -> None:
    async with connected("opsgenie") as (hook, opsgenie, _receiver):
        for event in ("opened", "escalated"):
            assert await hook.deliver(Message.of_one(SAMPLES[f"finding.{event}"]), now()) == "HTTP 202, create"
        assert opsgenie.open == {ALIAS: 2}
        assert await hook.deliver(Message.of_one(SAMPLES["finding.resolved"]), now()) == "HTTP 202, close"
    assert (opsgenie.open, opsgenie.closed) == ({}, [ALIAS])


async def test_alert_of_a_finding_that_got_worse_gets_its_priority() -> None:
    opened = replace(SAMPLES["finding.opened"], severity=Severity.MEDIUM)
    async with connected("opsgenie") as (hook, opsgenie, _receiver):
        await hook.deliver(Message.of_one(opened), now())
        assert list(opsgenie.priorities.values()) == ["P3"]
        await hook.deliver(Message.of_one(replace(opened, event="finding.escalated", severity=Severity.HIGH)), now())
        assert list(opsgenie.priorities.values()) == ["P2"]
    assert list(opsgenie.open.values()) == [2]


async def test_alert_says_what_where_and_how_bad() -> None:
    async with connected("opsgenie", teams=["platform"], tags=["auditor", "t"]) as (hook, opsgenie, _receiver):
        await hook.deliver(Message.of_one(SAMPLES["finding.opened"]), now())
    (created,) = opsgenie.created
    description = created.pop("description")
    assert created == {
        "message": f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})",
        "alias": ALIAS,
        "priority": "P1",
        "source": "auditor",
        "entity": PUBLIC_ID,
        "tags": ["auditor", "t", "environment:prod", "severity:critical", "DT-EXP-01"],
        "details": {
            "alert_id": SAMPLES["finding.opened"].id,
            "event": "finding.opened",
            "key": f"prod/{PUBLIC_ID}/DT-EXP-01",
            "token": PUBLIC_ID,
            "token_name": "ingest-frankfurt",
            "owner": "svc-ingest",
            "rule": "DT-EXP-01",
        },
        "responders": [{"name": "platform", "type": "team"}],
    }
    assert "Why it matters: " in description


@pytest.mark.parametrize("key", ["prod/fp:12/DT-X/a b?c#d%2F", "prod/x/DT-X/ü☂", "prod/x/../..", "prod/" + "x" * 600])
async def test_alert_is_closed_whatever_its_key_holds(key: str) -> None:
    opened = alert(key=key)
    async with connected("opsgenie") as (hook, opsgenie, _receiver):
        await hook.deliver(Message.of_one(opened), now())
        assert len(opsgenie.open) == 1
        await hook.deliver(Message.of_one(replace(opened, event="finding.resolved")), now())
    assert opsgenie.open == {}


async def test_refusal_says_what_opsgenie_said() -> None:
    case = with_changes(CASES["opsgenie"], secret="other")
    service = case.service()
    async with receiving(service.answer) as receiver, hook_to(case, receiver.url) as hook:
        with pytest.raises(DeliveryFailed, match="HTTP 401: Could not authenticate; is key that of an API integration"):
            await hook.deliver(Message.of_one(alert()), now())


@pytest.mark.parametrize("url", ["https://api.opsgenie.com", "https://api.atlassian.com/jsm/ops/integration"])
def test_url_is_that_of_the_api(url: str) -> None:
    assert OpsgenieSettings.model_validate({"type": "opsgenie", "key": {"env": "K"}, "url": url}).url == url


def test_tags_leave_room_for_those_of_the_finding() -> None:
    with pytest.raises(ValidationError, match="at most 17"):
        OpsgenieSettings.model_validate({"type": "opsgenie", "key": {"env": "K"}, "tags": ["t"] * 18})
