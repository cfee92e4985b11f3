"""OSCAL assessment results, read by compliance-trestle's models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditor.model.finding import Finding
from auditor.reports.base import ReportData
from auditor.reports.oscal import Oscal
from tests.reports.report_samples import (
    NOW,
    WAIVER,
    environment,
    estate,
    estate_findings,
    every_kind,
    finding,
    report,
    written,
)


async def result(data: ReportData, findings: Sequence[Finding]) -> dict[str, Any]:
    document = json.loads(await written(Oscal(), data, findings))["assessment-results"]
    (only,) = document["results"]
    assert isinstance(only, dict)
    return only


def props(thing: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in thing["props"]}


@pytest.mark.parametrize("kind", ["every kind", "an estate", "nothing"])
async def test_trestle_reads_it(tmp_path: Path, kind: str) -> None:
    from trestle.oscal.assessment_results import AssessmentResults

    data, findings = {
        "every kind": (report(environment(), findings=every_kind()), every_kind()),
        "an estate": (estate(), estate_findings()),
        "nothing": (report(), []),
    }[kind]
    path = tmp_path / "results.json"
    path.write_text(await written(Oscal(), data, findings), encoding="utf-8")
    read = AssessmentResults.oscal_read(path)
    assert isinstance(read, AssessmentResults)
    assert read.metadata.oscal_version.root.root == "1.1.3"
    (only,) = read.results
    assert len(only.risks or []) == len(findings)


async def test_trestle_refuses_a_state_that_is_none(tmp_path: Path) -> None:
    from trestle.common.err import TrestleError
    from trestle.oscal.assessment_results import AssessmentResults

    path = tmp_path / "results.json"
    text = await written(Oscal(), report(environment()), [])
    path.write_text(text.replace('"state":"satisfied"', '"state":"fine"', 1), encoding="utf-8")
    with pytest.raises(TrestleError):
        AssessmentResults.oscal_read(path)


async def test_two_reports_agree_on_ids() -> None:
    def ids(only: dict[str, Any]) -> list[str]:
        return [one["uuid"] for kind in ("observations", "risks", "findings") for one in only[kind]]

    data = report(environment(), findings=every_kind())
    later = msgspec.structs.replace(data, made_at=NOW.replace(day=3))
    first, second = await result(data, every_kind()), await result(later, every_kind())
    assert ids(first) == ids(second)
    assert len(set(ids(first))) == len(ids(first))
    assert first["uuid"] != second["uuid"]


async def test_every_id_that_is_named_is_there() -> None:
    only = await result(estate(), estate_findings())
    observations = {one["uuid"] for one in only["observations"]}
    for thing in (*only["risks"], *only["findings"]):
        assert {one["observation-uuid"] for one in thing["related-observations"]} <= observations
    (tool,) = only["local-definitions"]["assessment-assets"]["components"]
    assert {actor["actor-uuid"] for one in only["observations"] for actor in one["origins"][0]["actors"]} == {
        tool["uuid"]
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, "open"), ({"waiver": WAIVER}, "deviation-approved"), ({"status": "resolved", "resolved_at": NOW}, "closed")],
)
async def test_finding_is_an_observation_and_a_risk(changes: dict[str, Any], status: str) -> None:
    one = finding(**changes)
    only = await result(report(environment(), findings=[one]), [one])
    observation, risk = only["observations"][-1], only["risks"][0]
    assert observation["methods"] == ["TEST"]
    assert (props(observation)["token"], props(observation)["rule"]) == (one.label, "DT-EXP-01")
    assert risk["status"] == status
    assert risk["related-observations"] == [{"observation-uuid": observation["uuid"]}]
    assert risk["remediations"][0]["lifecycle"] == "recommendation"
    assert ("mitigating-factors" in risk) == (status == "deviation-approved")


async def test_controls_are_satisfied_only_where_they_pass() -> None:
    here, elsewhere = environment(), environment("lab", unknown_tokens=1)
    found = [finding(rule_id="DT-OWN-02"), finding(1, rule_id="DT-SCP-03", waiver=WAIVER)]
    states = {
        props(one)["control"]: (one["target"]["status"]["state"], one["target"]["status"]["reason"])
        for one in (await result(report(here, findings=found), found))["findings"]
    }
    assert states["A.6.5"] == ("not-satisfied", "fail")
    assert states["A.5.3"] == ("satisfied", "pass")
    unknown = (await result(report(here, elsewhere), []))["findings"]
    assert {one["target"]["status"]["state"] for one in unknown} == {"not-satisfied"}
    assert {one["target"]["status"]["reason"] for one in unknown} == {"other"}


async def test_control_ids_are_those_of_nist_and_others_carry_their_framework() -> None:
    only = await result(report(environment()), [])
    reviewed = {
        one["control-id"]
        for selection in only["reviewed-controls"]["control-selections"]
        for one in selection["include-controls"]
    }
    assert {"ac-2.3", "ia-5", "iso-27001_a.5.17", "pci-dss_8.6.3", "cis_5.3", "owasp-nhi_nhi7.2025"} <= reviewed
    targets = {one["target"]["target-id"].removesuffix("_obj") for one in only["findings"]}
    assert targets == reviewed
