"""PagerDuty: one alert for each finding, open as long as the finding is."""

from dataclasses import replace as with_changes

import pytest
from msgspec.structs import replace

from auditor.alerts.samples import sample_alerts, trial_alert
from auditor.alerts.standing import key_of
from auditor.model.errors import ConfigError, DeliveryFailed
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.alerts.receivers import PUBLIC_ID, alert, answering, now, receiving
from tests.alerts.services import CASES, connected, hook_to

SAMPLES = sample_alerts(SAMPLED_AT)
KEY = f"auditor/prod/{PUBLIC_ID}/DT-EXP-01"


async def test_finding_is_one_alert_from_its_opening_to_its_end() -> None:
    async with connected("pagerduty") as (hook, pagerduty, _receiver):
        for event in ("opened", "escalated", "reopened"):
            assert await hook.deliver(Message.of_one(SAMPLES[f"finding.{event}"]), now()) == "HTTP 202, trigger"
        assert list(pagerduty.open) == [KEY]
        assert await hook.deliver(Message.of_one(SAMPLES["finding.resolved"]), now()) == "HTTP 202, resolve"
    assert pagerduty.open == {}
    assert pagerduty.opened == {KEY: 1}


async def test_repetition_opens_no_second_alert() -> None:
    message = Message.of_one(SAMPLES["finding.opened"])
    async with connected("pagerduty") as (hook, pagerduty, _receiver):
        await hook.deliver(message, now())
        await hook.deliver(message, now())
    assert pagerduty.opened == {KEY: 1}


async def test_alert_says_what_where_and_how_bad() -> None:
    async with connected("pagerduty") as (hook, pagerduty, _receiver):
        await hook.deliver(Message.of_one(SAMPLES["finding.opened"]), now())
    payload = dict(pagerduty.open[KEY])
    details = payload.pop("custom_details")
    assert payload == {
        "summary": f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})",
        "source": "prod",
        "severity": "critical",
        "timestamp": "2026-11-01T06:00:00Z",
        "component": PUBLIC_ID,
        "group": "prod",
        "class": "DT-EXP-01",
    }
    assert details["owner"] == "svc-ingest"
    assert f"auditor waive prod/{PUBLIC_ID}/DT-EXP-01 " in details["text"]


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [("critical", "critical"), ("high", "error"), ("medium", "warning"), ("low", "info"), ("info", "info")],
)
async def test_severities_are_theirs(severity: str, theirs: str) -> None:
    async with connected("pagerduty") as (hook, pagerduty, _receiver):
        await hook.deliver(Message.of_one(replace(alert(key="k"), severity=Severity(severity))), now())
    assert pagerduty.open["auditor/k"]["severity"] == theirs


async def test_two_findings_with_long_keys_that_begin_alike_are_two_alerts() -> None:
    def one(end: str, event: str = "finding.opened") -> Message:
        return Message.of_one(replace(alert(key=f"prod/{'x' * 400}/{end}"), event=event))

    async with connected("pagerduty") as (hook, pagerduty, _receiver):
        await hook.deliver(one("a"), now())
        await hook.deliver(one("b"), now())
        assert {len(key) for key in pagerduty.open} == {255}
        await hook.deliver(one("a", "finding.resolved"), now())
    assert len(pagerduty.open) == 1


async def test_test_pages_and_takes_it_back() -> None:
    async with connected("pagerduty") as (hook, pagerduty, _receiver):
        await hook.deliver(Message.of_one(trial_alert("1", "team", now())), now())
        assert "this is a test" in pagerduty.open["auditor/test/test/team"]["custom_details"]["message"]
        await hook.deliver(Message.of_one(trial_alert("2", "team", now(), ends=True)), now())
    assert pagerduty.open == {}


def event(name: str, **data: object) -> Alert:
    return replace(SAMPLES["sweep.failed"], event=name, data=data)


def test_what_is_no_finding_has_a_key_of_its_own() -> None:
    assert key_of(event("sweep.failed"), 255) == "auditor/prod/sweep.failed"
    assert key_of(event("waiver.lapsing", waiver={"id": "SEC-1"}), 255) == "auditor/prod/waiver.lapsing/SEC-1"
    assert key_of(event("finding.opened"), 255) == f"auditor/{SAMPLES['sweep.failed'].id}"


async def test_refusal_says_what_pagerduty_said() -> None:
    said = '{"status": "invalid event", "message": "Event object is invalid", "errors": ["no such key"]}'
    async with receiving(answering(400, said)) as receiver, hook_to(CASES["pagerduty"], receiver.url) as hook:
        with pytest.raises(
            DeliveryFailed,
            match="HTTP 400: Event object is invalid; no such key; is routing_key ",
        ):
            await hook.deliver(Message.of_one(SAMPLES["finding.opened"]), now())


async def test_key_of_another_length_is_refused_and_not_shown() -> None:
    case = with_changes(CASES["pagerduty"], secret="tooshort")
    with pytest.raises(ConfigError, match=r"^hooks\.team\.routing_key: .* 32 characters") as raised:
        async with hook_to(case, "https://127.0.0.1"):
            pass
    assert "tooshort" not in str(raised.value)
