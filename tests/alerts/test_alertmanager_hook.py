"""Alertmanager: a finding fires until it ends, under whatever severities it had."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from auditor.alerts.alertmanager import AlertmanagerSettings
from auditor.alerts.samples import sample_alerts
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.alerts.receivers import PUBLIC_ID, alert, answering, now, receiving
from tests.alerts.services import CASES, connected, hook_to

SAMPLES = sample_alerts(SAMPLED_AT)
AT = alert().at
MINUTE = timedelta(minutes=1)


async def test_alert_has_labels_for_routes_and_annotations_for_people() -> None:
    async with connected("alertmanager", labels={"team": "platform"}) as (hook, alertmanager, _receiver):
        await hook.deliver(Message.of_one(SAMPLES["finding.opened"]), now())
    (sent,) = alertmanager.alerts.values()
    assert sent["labels"] == {
        "alertname": "Auditor DT-EXP-01",
        "severity": "critical",
        "environment": "prod",
        "rule": "DT-EXP-01",
        "token": PUBLIC_ID,
        "key": f"auditor/prod/{PUBLIC_ID}/DT-EXP-01",
        "team": "platform",
    }
    annotations = sent["annotations"]
    assert annotations["summary"] == f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    assert "What to do: " in annotations["description"]
    assert (annotations["owner"], annotations["token_name"]) == ("svc-ingest", "ingest-frankfurt")
    assert (sent["startsAt"], sent["endsAt"]) == ("2026-11-01T06:00:00Z", "2026-12-01T06:00:00Z")


async def test_finding_fires_until_it_is_resolved() -> None:
    opened = alert(key="k", opened_at="2026-11-20T08:00:00Z")
    resolved = replace(opened, event="finding.resolved", at=AT + timedelta(days=3))
    async with connected("alertmanager") as (hook, alertmanager, _receiver):
        await hook.deliver(Message.of_one(opened), now())
        assert alertmanager.firing(AT + timedelta(days=29)) != []
        assert alertmanager.firing(AT + timedelta(days=31)) == []
        await hook.deliver(Message.of_one(resolved), now())
    (sent,) = alertmanager.alerts.values()
    assert (sent["startsAt"], sent["endsAt"]) == ("2026-11-20T08:00:00Z", "2026-11-27T08:30:00Z")
    assert alertmanager.firing(resolved.at) == []


async def test_finding_that_got_worse_fires_under_its_new_severity_alone() -> None:
    opened = replace(alert(key="k"), severity=Severity.MEDIUM)
    escalated = replace(
        alert(key="k", severities=["medium", "high"]), event="finding.escalated", at=AT + timedelta(days=1)
    )
    async with connected("alertmanager") as (hook, alertmanager, _receiver):
        await hook.deliver(Message.of_one(opened), now())
        await hook.deliver(Message.of_one(escalated), now())
        assert [labels["severity"] for labels in alertmanager.firing(escalated.at + MINUTE)] == ["high"]
        ended = replace(escalated, event="finding.resolved", severity=Severity.LOW, at=AT + timedelta(days=2))
        await hook.deliver(Message.of_one(ended), now())
    assert alertmanager.firing(ended.at + MINUTE) == []


async def test_refusal_says_what_alertmanager_said() -> None:
    answer = answering(400, '"start time must be before end time"\n')
    async with receiving(answer) as receiver, hook_to(CASES["alertmanager"], receiver.url) as hook:
        with pytest.raises(DeliveryFailed, match=r"HTTP 400: start time must be before end time$"):
            await hook.deliver(Message.of_one(alert()), now())


@pytest.mark.parametrize(
    ("labels", "message"),
    [({"severity": "page"}, "labels must not set severity: auditor does"), ({"bad-name": "x"}, "should match pattern")],
)
def test_labels_that_cannot_be_are_refused(labels: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AlertmanagerSettings.model_validate(
            {"type": "alertmanager", "url": "https://alertmanager.example.com", "labels": labels}
        )
