"""Controls in reports: judged from the report's own data, told with whose judgement it is."""

import msgspec

from auditor.policy.assessment import ControlState
from auditor.policy.base import Framework
from auditor.reports.controls import assessments
from auditor.reports.json_format import Json
from tests.reports.report_samples import WAIVER, environment, estate, estate_findings, finding, report, written


def test_every_framework_of_the_report_is_judged_in_order() -> None:
    assert [one.framework for one in assessments(estate())] == list(Framework)
    assert [one.framework for one in assessments(report(frameworks=[Framework.DORA]))] == [Framework.DORA]


def test_control_fails_by_open_findings_of_its_rules_and_passes_with_waived_ones() -> None:
    waived = finding(rule_id="DT-OWN-02", waiver=WAIVER)
    opened = finding(1, rule_id="DT-SCP-03")
    data = report(environment(), findings=[waived, opened])
    (iso,) = [one for one in assessments(data) if one.framework is Framework.ISO_27001]
    states = {control.id: control.state for control in iso.served}
    assert states["A.6.5"] is ControlState.EXCEPTIONS
    assert states["A.5.3"] is ControlState.FAIL
    assert states["A.8.31"] is ControlState.PASS


async def test_json_tells_each_control_with_its_environments() -> None:
    document = msgspec.json.decode(await written(Json(), estate(), estate_findings()))["controls"]
    assert "judgement" in document["judgement"]
    (owasp, *others) = document["frameworks"]
    assert len(others) == 7
    assert owasp["framework"] == "OWASP NHI Top 10 2025"
    assert owasp["counts"]["fail"] + owasp["counts"]["unknown"] == 8
    first, _, third = owasp["controls"][:3]
    assert (first["id"], first["state"]) == ("NHI1:2025", "fail")
    assert [one["state"] for one in first["environments"]] == ["fail", "fail", "fail", "unknown"]
    assert first["environments"][1] | {"open_by_severity": {}, "waived_by_severity": {}} == {
        "environment": "staging",
        "state": "fail",
        "reason": first["environments"][1]["reason"],
        "stored_tokens": 58,
        "assessed_tokens": 50,
        "last_complete_at": "2026-02-28T06:11:00Z",
        "open_by_severity": {},
        "waived_by_severity": {},
    }
    assert third == {
        "id": "NHI3:2025",
        "title": "Vulnerable Third-Party NHI",
        "state": "not assessed",
        "reason": "no rule serves it",
        "rules": [],
        "environments": [],
    }
