"""ASFF, checked by botocore's own validator against Security Hub's service model."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from auditor.model.errors import ConfigError
from auditor.reports.asff import Asff
from auditor.reports.base import Aws
from tests.reports.report_samples import (
    NOW,
    WAIVER,
    environment,
    every_kind,
    finding,
    report,
    written,
)


@pytest.fixture(scope="module")
def wrong_with() -> Callable[[list[dict[str, Any]]], str]:
    """What botocore finds wrong with findings as input of Security Hub's ``BatchImportFindings``; empty: nothing."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("securityhub")
    shape = model.operation_model("BatchImportFindings").input_shape
    return lambda findings: str(ParamValidator().validate({"Findings": findings}, shape).generate_report())


async def findings(*found: Any, **changes: Any) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(await written(Asff(), report(environment(), **changes), found))
    return read


async def test_security_hub_takes_findings_of_every_kind(wrong_with: Callable[[list[dict[str, Any]]], str]) -> None:
    every = await findings(*every_kind())
    assert len(every) == len(every_kind())
    for start in range(0, len(every), 100):
        assert wrong_with(every[start : start + 100]) == ""


async def test_security_hub_refuses_what_it_does_not_know(wrong_with: Callable[[list[dict[str, Any]]], str]) -> None:
    (one,) = await findings(finding())
    for wrong in ({"Title": 7}, {"Severity": "HIGH"}, {"Owner": "nobody"}):
        assert wrong_with([one | wrong])


async def test_texts_are_as_long_as_the_format_allows() -> None:
    """The API reference's limits, which the service model does not hold."""
    for one in await findings(*every_kind()):
        assert 1 <= len(one["Title"]) <= 256
        assert 1 <= len(one["Description"]) <= 1024
        assert len(one["Id"]) <= 512
        assert all(1 <= len(value) <= 1024 for value in one["Resources"][0]["Details"]["Other"].values())
        assert all(1 <= len(value) <= 2048 for value in one["ProductFields"].values())
        assert all(len(requirement) <= 64 for requirement in one["Compliance"]["RelatedRequirements"])
        assert len(one["Compliance"]["RelatedRequirements"]) <= 32
        assert 1 <= len(one.get("Note", {"Text": "-"})["Text"]) <= 512


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("NEW", "ACTIVE", "FAILED")),
        ({"waiver": WAIVER}, ("SUPPRESSED", "ACTIVE", "FAILED")),
        ({"status": "resolved", "resolved_at": NOW}, ("RESOLVED", "ARCHIVED", "PASSED")),
    ],
)
async def test_standing_of_a_finding(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    (one,) = await findings(finding(**changes))
    assert (one["Workflow"]["Status"], one["RecordState"], one["Compliance"]["Status"]) == expected


async def test_finding_says_what_was_found_where_and_what_to_do() -> None:
    (one,) = await findings(finding(waiver=WAIVER))
    assert one["Id"] == f"auditor/{finding().key}"
    assert one["Severity"] == {"Label": "HIGH", "Original": "high"}
    assert one["Resources"][0]["Details"]["Other"]["owner"] == "observability"
    assert one["Remediation"]["Recommendation"]["Text"]
    assert {"StandardsId": "NIST SP 800-53 r5"} in one["Compliance"]["AssociatedStandards"]
    assert one["Note"]["UpdatedBy"] == "jane.doe@example.com"


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
async def test_product_belongs_to_the_account_and_region(region: str, partition: str) -> None:
    (one,) = await findings(finding(), aws=Aws("210987654321", region))
    assert one["ProductArn"] == f"arn:{partition}:securityhub:{region}:210987654321:product/210987654321/default"
    assert (one["AwsAccountId"], one["Region"]) == ("210987654321", region)


async def test_without_an_account_there_is_no_report() -> None:
    with pytest.raises(ConfigError, match="--aws-account"):
        await findings(finding(), aws=None)


async def test_no_findings_are_an_empty_array() -> None:
    assert await findings() == []
