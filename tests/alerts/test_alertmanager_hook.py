"""Alertmanager: a finding fires until it ends, under one severity at a time."""

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
from tests.alerts.receivers import PUBLIC_ID, TOKEN, alert, answering, now, receiving
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


def of(event: str, days: float = 0, severity: Severity = Severity.HIGH, key: str = "k") -> Message:
    made = replace(alert(key=key, opened_at="2026-11-20T08:00:00Z"), event=event, severity=severity)
    return Message.of_one(replace(made, at=AT + timedelta(days=days)))


async def test_finding_fires_until_it_is_resolved() -> None:
    async with connected("alertmanager") as (hook, alertmanager, _receiver):
        await hook.deliver(of("finding.opened"), now())
        assert alertmanager.firing(AT + timedelta(days=29)) != []
        assert alertmanager.firing(AT + timedelta(days=31)) == []
        alertmanager.now = AT + timedelta(days=3)
        await hook.deliver(of("finding.resolved", 3), now())
    (sent,) = alertmanager.alerts.values()
    assert (sent["startsAt"], sent["endsAt"]) == ("2026-11-20T08:00:00Z", "2026-11-27T08:30:00Z")
    assert sent["annotations"]["summary"].startswith("RESOLVED prod")
    assert alertmanager.firing(AT + timedelta(days=3)) == []


async def test_finding_that_got_worse_fires_under_its_new_severity_alone() -> None:
    async with connected("alertmanager") as (hook, alertmanager, _receiver):
        await hook.deliver(of("finding.opened", severity=Severity.MEDIUM), now())
        await hook.deliver(of("finding.opened", severity=Severity.MEDIUM, key="other"), now())
        alertmanager.now = AT + timedelta(days=1)
        await hook.deliver(of("finding.escalated", 1), now())
        firing = [(labels["key"], labels["severity"]) for labels in alertmanager.firing(alertmanager.now + MINUTE)]
        assert sorted(firing) == [("auditor/k", "high"), ("auditor/other", "medium")]


async def test_finding_that_eased_ends_under_the_severity_that_it_fires_with() -> None:
    async with connected("alertmanager") as (hook, alertmanager, _receiver):
        await hook.deliver(of("finding.opened", severity=Severity.CRITICAL), now())
        alertmanager.now = AT + timedelta(days=2)
        await hook.deliver(of("finding.resolved", 2, Severity.LOW), now())
        assert alertmanager.firing(alertmanager.now) == []
        assert len(alertmanager.alerts) == 1
        assert await hook.deliver(of("finding.resolved", 2, Severity.LOW), now()) == "nothing fires"


async def test_what_another_hook_sent_goes_on_firing() -> None:
    async with connected("alertmanager", labels={"team": "one"}) as (hook, alertmanager, receiver):
        await hook.deliver(of("finding.opened"), now())
        async with hook_to(CASES["alertmanager"], receiver.url, labels={"team": "other"}) as other:
            await other.deliver(of("finding.opened"), now())
            alertmanager.now = AT + timedelta(days=1)
            await other.deliver(of("finding.resolved", 1), now())
    assert [labels["team"] for labels in alertmanager.firing(AT + timedelta(days=2))] == ["one"]


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\\", "ü {x=~'y'}, z", TOKEN])
async def test_finding_is_found_again_whatever_its_key_holds(key: str) -> None:
    async with connected("alertmanager") as (hook, alertmanager, _receiver):
        await hook.deliver(of("finding.opened", key=key), now())
        alertmanager.now = AT + timedelta(days=1)
        await hook.deliver(of("finding.resolved", 1, key=key), now())
    assert alertmanager.firing(alertmanager.now) == []


async def test_list_that_cannot_be_read_is_a_failure() -> None:
    async with receiving(answering(200, "<html>")) as receiver, hook_to(CASES["alertmanager"], receiver.url) as hook:
        with pytest.raises(DeliveryFailed, match="HTTP 200: its list of alerts cannot be read"):
            await hook.deliver(of("finding.resolved"), now())


async def test_refusal_says_what_alertmanager_said() -> None:
    answer = answering(400, '"start time must be before end time"\n')
    async with receiving(answer) as receiver, hook_to(CASES["alertmanager"], receiver.url) as hook:
        with pytest.raises(DeliveryFailed, match=r"HTTP 400: start time must be before end time$"):
            await hook.deliver(of("finding.opened"), now())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"severity": "page"}, "labels must not set severity: auditor does"),
        ({"bad-name": "x"}, "must be of letters without accents, digits and _"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AlertmanagerSettings.model_validate(
            {"type": "alertmanager", "url": "https://alertmanager.example.com", "labels": labels}
        )
