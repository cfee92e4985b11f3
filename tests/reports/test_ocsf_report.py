"""OCSF events, read by the models of py-ocsf-models."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.model.finding import Resolution
from auditor.reports.ocsf import Ocsf
from tests.reports.report_samples import (
    HOSTILE,
    NOW,
    SECRET_SHAPE,
    WAIVER,
    environment,
    every_kind,
    finding,
    report,
    written,
)


async def events(*findings: Any) -> list[dict[str, Any]]:
    text = await written(Ocsf(), report(environment()), findings)
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def holds(whole: Any, part: Any) -> bool:
    """Whether everything of a part, member for member, is in the whole."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and holds(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


async def test_every_event_is_one_that_the_schema_knows() -> None:
    from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding

    every = await events(*every_kind())
    assert len(every) == len(every_kind())
    for event in every:
        read = ComplianceFinding.model_validate(event)
        assert event["compliance"].pop("status") in {"Pass", "Fail"}  # of the schema, but not of these models
        assert holds(read.model_dump(mode="json"), {key: event[key] for key in event.keys() - {"metadata"}})
        assert event["metadata"]["version"] == "1.5.0"
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]


async def test_schema_refuses_what_is_wrong() -> None:
    from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding

    (event,) = await events(finding())
    with pytest.raises(ValidationError, match="severity_id"):
        ComplianceFinding.model_validate(event | {"severity_id": 7})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1, "Create", 1, "New", 3)),
        ({"reopenings": 1}, (2, "Update", 1, "New", 3)),
        ({"waiver": WAIVER}, (2, "Update", 3, "Suppressed", 3)),
        (
            {"status": "resolved", "resolved_at": NOW, "resolution": Resolution.EVIDENCE},
            (3, "Close", 4, "Resolved", 1),
        ),
    ],
)
async def test_standing_of_a_finding(changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (event,) = await events(finding(**changes))
    activity, name, status, status_name, outcome = expected
    assert (event["activity_id"], event["activity_name"]) == (activity, name)
    assert (event["status_id"], event["status"], event["compliance"]["status_id"]) == (status, status_name, outcome)
    assert event["compliance"]["checks"][0]["status_id"] == outcome


async def test_event_says_what_was_found_where_and_what_to_do() -> None:
    (event,) = await events(finding())
    assert event["finding_info"]["uid"] == finding().key
    assert event["finding_info"]["title"] == "No expiration date"
    assert event["finding_info"]["created_time"] == int(finding().opened_at.timestamp() * 1000)
    assert (event["severity_id"], event["severity"]) == (4, "High")
    assert event["compliance"]["control"] == "DT-EXP-01"
    assert "NIST SP 800-53 r5: IA-5" in event["compliance"]["requirements"]
    assert event["remediation"]["desc"]
    (resource,) = event["resources"]
    assert (resource["uid"], resource["name"], resource["namespace"]) == (finding().label, "service-0", "production")
    assert resource["owner"]["name"] == "observability"
    assert event["unmapped"]["evidence"] == finding().evidence


async def test_finding_about_an_environment_has_the_environment_for_its_resource() -> None:
    (event,) = await events(finding(label="environment", token_name=None, owner=None, locations=()))
    (resource,) = event["resources"]
    assert resource == {
        "uid": "environment",
        "type": "Environment",
        "namespace": "production",
        "data": {"is_stored": True, "locations": []},
    }


async def test_waived_event_says_by_whom_and_why() -> None:
    (event,) = await events(finding(waiver=WAIVER))
    assert event["comment"] == "Waived by jane.doe@example.com (SEC-1042): moves to OAuth clients in April"
    assert event["unmapped"]["waiver"]["until"] == "2026-04-21T06:30:00Z"


async def test_hostile_values_stay_values() -> None:
    for value, event in zip(HOSTILE, (await events(*every_kind()))[4:], strict=False):
        said = event["message"]
        if SECRET_SHAPE in value:
            assert said == "named dt0c01.ST2EY72KQINMH574WMNVI7YN.… by mistake"
        else:
            assert said == value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
