"""Dynatrace: events and security events in an environment, so that findings show where the tokens live."""

from dataclasses import replace as with_changes
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from auditor.alerts.base import Refreshed
from auditor.alerts.samples import sample_alerts, trial_alert
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.alerts.receivers import PUBLIC_ID, now, receiving
from tests.alerts.services import CASES, connected, hook_to

SAMPLES = sample_alerts(SAMPLED_AT)
BOTH = pytest.mark.parametrize("name", ["dynatrace-events", "dynatrace-security"])


async def events_of(name: str, *alerts: str, **settings: Any) -> list[dict[str, Any]]:
    async with connected(name, **settings) as (hook, environment, _receiver):
        for event in alerts:
            await hook.deliver(Message.of_one(SAMPLES[event]), now())
    events: list[dict[str, Any]] = environment.events
    return events


async def test_bad_finding_opens_a_problem_and_its_end_informs() -> None:
    opened, ended = await events_of("dynatrace-events", "finding.opened", "finding.resolved", open_minutes=90)
    assert (opened["eventType"], opened["timeout"]) == ("CUSTOM_ALERT", 90)
    assert (ended["eventType"], "timeout" in ended) == ("CUSTOM_INFO", False)


async def test_problem_is_kept_open_by_what_opened_it_until_that_is_sent_no_more() -> None:
    standing = [SAMPLES["finding.opened"], replace(SAMPLES["finding.opened"], severity=Severity.LOW)]
    async with connected("dynatrace-events", open_minutes=90) as (hook, environment, _receiver):
        for alert in standing:
            await hook.deliver(Message.of_one(alert), now())
        assert isinstance(hook, Refreshed)
        await hook.refresh(standing, now() + timedelta(hours=1))
    first, _low, again = environment.events
    assert first == again
    assert environment.problems() == 1
    assert hook.refresh_every == timedelta(minutes=30)
    assert hook.stands_for == timedelta(days=30)


async def test_problem_is_left_to_close_where_nobody_wants_it_kept_open() -> None:
    async with connected("dynatrace-events", keep_open_days=0) as (hook, _environment, _receiver):
        assert isinstance(hook, Refreshed)
        assert not hook.refresh_every


async def test_severity_decides_what_opens_a_problem() -> None:
    settings = {"problems_from": Severity.CRITICAL, "entity_selector": "type(HOST)"}
    critical, high = await events_of("dynatrace-events", "finding.opened", "sweep.failed", **settings)
    assert (critical["eventType"], high["eventType"]) == ("CUSTOM_ALERT", "CUSTOM_INFO")
    assert critical["entitySelector"] == "type(HOST)"


async def test_event_has_a_property_for_each_thing_to_search_by() -> None:
    (event,) = await events_of("dynatrace-events", "finding.opened")
    assert event["title"] == f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    assert "What to do: " in event["properties"].pop("dt.event.description")
    assert event["properties"] == {
        "auditor.alert_id": SAMPLES["finding.opened"].id,
        "auditor.at": SAMPLED_AT.isoformat(),
        "auditor.environment": "prod",
        "auditor.event": "finding.opened",
        "auditor.key": f"prod/{PUBLIC_ID}/DT-EXP-01",
        "auditor.owner": "svc-ingest",
        "auditor.rule": "DT-EXP-01",
        "auditor.severity": "critical",
        "auditor.title": "No expiration date",
        "auditor.token": PUBLIC_ID,
        "auditor.token_name": "ingest-frankfurt",
    }


async def test_event_that_is_taken_and_refused_is_not_delivered() -> None:
    async with connected("dynatrace-events") as (hook, environment, _receiver):
        environment.status = "INVALID_ENTITY_TYPE"
        with pytest.raises(DeliveryFailed, match="HTTP 201: the event was refused: 'INVALID_ENTITY_TYPE'"):
            await hook.deliver(Message.of_one(SAMPLES["finding.opened"]), now())


async def test_security_event_is_a_detection_finding_about_the_token() -> None:
    opened, resolved = await events_of("dynatrace-security", "finding.opened", "finding.resolved")
    assert opened["finding.id"] == resolved["finding.id"] == f"auditor/prod/{PUBLIC_ID}/DT-EXP-01"
    assert (opened["object.type"], opened["object.id"]) == ("DYNATRACE_TOKEN", PUBLIC_ID)
    assert (opened["finding.severity"], opened["dt.security.risk.level"]) == ("critical", "CRITICAL")
    assert (opened["finding.status"], resolved["finding.status"]) == ("OPEN", "RESOLVED")
    assert (opened["rule.id"], opened["rule.name"]) == ("DT-EXP-01", "No expiration date")
    (back,) = await events_of("dynatrace-security", "finding.reopened")
    assert back["auditor.since"] < back["finding.time.created"] == back["timestamp"]


async def test_test_is_no_risk() -> None:
    async with connected("dynatrace-security") as (hook, environment, _receiver):
        await hook.deliver(Message.of_one(trial_alert("1", "team", SAMPLED_AT)), now())
    assert [event["dt.security.risk.level"] for event in environment.events] == ["NONE"]


@BOTH
async def test_refusal_says_what_dynatrace_said_and_which_scope_is_needed(name: str) -> None:
    case = with_changes(CASES[name], secret="other")
    async with receiving(case.service().answer) as receiver, hook_to(case, receiver.url) as hook:
        with pytest.raises(
            DeliveryFailed, match="HTTP 403: Token is missing required scope; does token have the scope "
        ):
            await hook.deliver(Message.of_one(SAMPLES["finding.opened"]), now())
