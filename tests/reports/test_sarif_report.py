"""SARIF logs, read by models that were generated from the standard's own schema."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.policy.registry import rules
from auditor.reports.sarif import Sarif
from tests.reports.report_samples import (
    HOSTILE,
    WAIVER,
    environment,
    estate,
    estate_findings,
    every_kind,
    finding,
    report,
    written,
)


async def run(*findings: Any) -> dict[str, Any]:
    log = json.loads(await written(Sarif(), report(environment(), findings=findings), findings))
    (only,) = log["runs"]
    assert isinstance(only, dict)
    return only


async def test_schema_accepts_findings_of_every_kind() -> None:
    from fluidattacks_core.sarif import SarifLog

    for data, found in ((report(environment(), findings=every_kind()), every_kind()), (estate(), estate_findings())):
        log = SarifLog.model_validate_json(await written(Sarif(), data, found))
        (only,) = log.runs
        assert len(only.results or []) == sum(one.status == "open" for one in found)


async def test_schema_refuses_what_it_does_not_know() -> None:
    from fluidattacks_core.sarif import SarifLog

    text = await written(Sarif(), report(environment()), [finding()])
    with pytest.raises(ValidationError, match="level"):
        SarifLog.model_validate_json(text.replace('"level":"error","message"', '"level":"severe","message"'))


async def test_rules_carry_their_words_and_controls() -> None:
    only = await run(finding())
    driver = only["tool"]["driver"]
    assert [one["id"] for one in driver["rules"]] == list(rules())
    first = driver["rules"][0]
    assert (first["id"], first["name"], first["properties"]["security-severity"]) == (
        "DT-EXP-01",
        "NoExpirationDate",
        "8.0",
    )
    assert {"target": {"id": "IA-5", "toolComponent": {"name": "NIST SP 800-53 r5"}}, "kinds": ["relevant"]} in first[
        "relationships"
    ]
    taxa = {(one["name"], taxon["id"]) for one in only["taxonomies"] for taxon in one["taxa"]}
    for rule in driver["rules"]:
        assert {(one["target"]["toolComponent"]["name"], one["target"]["id"]) for one in rule["relationships"]} <= taxa


async def test_result_names_its_token_and_its_key() -> None:
    (result,) = (await run(finding()))["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"], result["kind"]) == ("DT-EXP-01", 0, "error", "fail")
    assert result["partialFingerprints"] == {"findingKey/v1": finding().key}
    (location,) = result["locations"][0]["logicalLocations"]
    assert (location["name"], location["fullyQualifiedName"]) == ("service-0", f"production/{finding().label}")
    assert result["suppressions"] == []


async def test_waiver_is_a_suppression() -> None:
    (result,) = (await run(finding(waiver=WAIVER)))["results"]
    (suppression,) = result["suppressions"]
    assert (suppression["kind"], suppression["justification"]) == ("external", "moves to OAuth clients in April")
    assert suppression["properties"]["until"] == "2026-04-21T06:30:00Z"


async def test_sweep_that_could_not_look_everything_up_is_no_success() -> None:
    (only,) = json.loads(await written(Sarif(), estate(), []))["runs"]
    production, staging, lab, acquired = only["invocations"]
    assert (production["executionSuccessful"], production["toolExecutionNotifications"]) == (True, [])
    assert not any(one["executionSuccessful"] for one in (staging, lab, acquired))
    assert [one["message"]["text"] for one in staging["toolExecutionNotifications"]][:1] == [
        "429 until the retries ended: 5"
    ]
    assert acquired["toolExecutionNotifications"][0]["message"]["text"] == "never swept"


async def test_message_holds_no_link_and_no_placeholder() -> None:
    """SARIF 3.11.5 and 3.11.6: ``{0}`` is an argument, ``[text](target)`` a link; doubled and escaped they are text."""
    results = (await run(*every_kind()))["results"]
    texts = [result["message"]["text"] for result in results]
    assert any(r"\[click\](javascript:alert(1))" in text for text in texts)
    assert any("{{{{ 7*7 }}}} ${{7*7}}" in text for text in texts)
    assert all(text.isprintable() for text in texts)
    assert len(results) == 4 + len(HOSTILE) * 2 + 1
