"""Selectors, settings common to all rules, verdicts, and what is said of a wrong policy."""

from typing import Any

import pytest
from pydantic import ValidationError

from auditor.model.finding import Resolution
from auditor.model.history import NO_HISTORY
from auditor.model.lookup import Observation, Outcome
from auditor.model.token import Location
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import SHIPPED, rules
from auditor.policy.scopes import RiskTier
from auditor.policy.selectors import Selector
from auditor.policy.validation import check_document
from tests.policy.policy_samples import NOW, PUBLIC_ID, document, observed, policy_of, severity, token

SEEN = observed(
    token(name="Ingest-7", owner="svc-ingest", scopes=("logs.ingest", "metrics.ingest"), personal_access_token=None),
    tags=frozenset({"lab", "frankfurt"}),
    locations=(Location("vault", "a"), Location("dotenv", "b")),
)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, True),
        ({"environment": "PROD"}, True),
        ({"environment": ["lab", "pro?"]}, True),
        ({"environment": "pro"}, False),
        ({"name": "ingest-*"}, True),
        ({"name": "ingest"}, False),
        ({"name": "ingest-[0-9]"}, True),
        ({"name_regex": r"\d$"}, True),
        ({"name_regex": "^7"}, False),
        ({"owner": "svc-*"}, True),
        ({"owner": "*-other"}, False),
        ({"tag": "lab"}, True),
        ({"tag": ["x", "y"]}, False),
        ({"source": "dot*"}, True),
        ({"source": "file"}, False),
        ({"scope": "metrics.*"}, True),
        ({"scope": "*.write"}, False),
        ({"risk": "low"}, True),
        ({"risk": ["high", "critical"]}, False),
        ({"personal": False}, True),
        ({"personal": True}, False),
        ({"name": "ingest-*", "tag": "lab", "risk": "low"}, True),
        ({"name": "ingest-*", "tag": "lab", "risk": "high"}, False),
    ],
)
def test_selector_selects_where_every_condition_holds(conditions: dict[str, Any], expected: bool) -> None:
    assert SEEN.metadata is not None
    assert Selector.model_validate(conditions).compile()(SEEN, SEEN.metadata, RiskTier.LOW) is expected


def test_selector_takes_a_token_without_a_name_as_named_nothing() -> None:
    nameless = token(name=None, owner=None)
    for conditions, expected in (({"name": "*"}, True), ({"owner": "a*"}, False), ({"name_regex": "."}, False)):
        assert Selector.model_validate(conditions).compile()(observed(nameless), nameless, RiskTier.LOW) is expected


@pytest.mark.parametrize(
    "conditions", [{"nme": "x"}, {"name_regex": "("}, {"name_regex": ""}, {"risk": "huge"}, {"tag": 1}]
)
def test_selector_that_is_wrong_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Selector.model_validate(conditions)


def test_only_and_exempt_narrow_a_rule() -> None:
    endless = token(expiration_date=None, owner="svc-a")
    assert severity(policy_of("DT-EXP-01", only=[{"owner": "svc-a"}, {"owner": "svc-b"}]), observed(endless)) == "high"
    assert severity(policy_of("DT-EXP-01", only=[{"owner": "svc-b"}]), observed(endless)) is None
    assert severity(policy_of("DT-EXP-01", exempt=[{"owner": "svc-a"}]), observed(endless)) is None
    both = policy_of("DT-EXP-01", only=[{"owner": "svc-*"}], exempt=[{"owner": "svc-a"}])
    assert severity(both, observed(endless)) is None


def test_severity_replaces_the_rules_own() -> None:
    policy = policy_of("DT-EXP-01", severity="info")
    assert severity(policy, observed(token(expiration_date=None, scopes=("apiTokens.write",)))) == "info"


def test_missing_token_breaks_no_rule() -> None:
    policy = Policy(document(), SHIPPED, feeds=Feeds(), environment_kind=None)
    gone = Observation("prod", PUBLIC_ID, NOW, Outcome.MISSING, None)
    assert policy.evaluate(gone, NO_HISTORY, NOW) == []
    assert policy.verdict("DT-EXP-01", gone) is None


@pytest.mark.parametrize(
    ("table", "rule_id", "expected"),
    [
        ({}, "DT-EXP-01", Resolution.EVIDENCE),
        ({"enabled": False}, "DT-EXP-01", Resolution.POLICY),
        ({"exempt": [{"owner": "svc-ingest"}]}, "DT-EXP-01", Resolution.POLICY),
        ({"only": [{"owner": "other"}]}, "DT-EXP-01", Resolution.POLICY),
        ({"only": [{"owner": "svc-ingest"}]}, "DT-EXP-01", Resolution.EVIDENCE),
        ({}, "DT-NET-01", None),
        ({}, "DT-OLD-99", Resolution.POLICY),
    ],
)
def test_verdict_tells_evidence_from_policy(table: dict[str, Any], rule_id: str, expected: Resolution | None) -> None:
    policy = Policy(document("DT-EXP-01", **table), SHIPPED, feeds=Feeds(), environment_kind=None)
    assert policy.verdict(rule_id, observed()) is expected


def test_disabled_rule_is_neither_assessed_nor_unassessed() -> None:
    policy = policy_of("DT-NET-01", enabled=False)
    assert policy.disabled == {"DT-NET-01"}
    assert (policy.assessed, policy.unassessed) == ((), {})


def test_digest_knows_content_from_layout() -> None:
    one = PolicyDocument.model_validate({"name": "a", "rules": {"DT-EXP-01": {}, "DT-USE-02": {"days": {"low": 9}}}})
    same = PolicyDocument.model_validate({"rules": {"DT-USE-02": {"days": {"low": 9}}, "DT-EXP-01": {}}, "name": "a"})
    other = PolicyDocument.model_validate({"name": "a", "rules": {"DT-EXP-01": {}, "DT-USE-02": {"days": {"low": 8}}}})
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("rule_id", "table", "path", "message"),
    [
        ("DT-FMT-1", {}, (), 'unknown rule; did you mean "DT-FMT-01"?'),
        ("dt-exp-01", {}, (), 'unknown rule; did you mean "DT-EXP-01"?'),
        ("NOTHING", {}, (), "unknown rule"),
        ("DT-EXP-02", {"max_day": {}}, ("max_day",), 'unknown parameter; did you mean "max_days"?'),
        ("DT-EXP-02", {"enable": True}, ("enable",), 'unknown parameter; did you mean "enabled"?'),
        ("DT-FMT-01", {"zzz": 1}, ("zzz",), "unknown parameter; known here: enabled, exempt, only, severity"),
        ("DT-EXP-02", {"max_days": {"default": 0}}, ("max_days", "default"), "greater than or equal to 1 (got 0)"),
        ("DT-EXP-02", {"max_days": {"default": "90"}}, ("max_days", "default"), "must be a whole number (got '90')"),
        ("DT-EXP-02", {"max_days": {"default": True}}, ("max_days", "default"), "must be a whole number (got True)"),
        ("DT-EXP-02", {"max_days": {"default": 10**9}}, ("max_days", "default"), "less than or equal to 36500"),
        ("DT-EXP-02", {"max_days": {"critical": 9}}, ("max_days", "default"), "is missing"),
        ("DT-EXP-02", {"max_days": {"default": 9, "hig": 8}}, ("max_days", "hig"), 'did you mean "high"?'),
        ("DT-EXP-02", {"max_days": {"default": 9, "high": 10}}, ("max_days",), "tier high has more days (10)"),
        ("DT-EXP-03", {"thresholds": {"low": 7, "high": 7}}, ("thresholds",), "high (7 days left) must come nearer"),
        ("DT-EXP-03", {"thresholds": {}}, ("thresholds",), "the ladder has no step"),
        ("DT-USE-02", {"days": {"low": 90, "high": 45}}, ("days",), "high (45 days) must come later than low (90"),
        ("DT-SCP-05", {"stale": {"days": {"lo": 9}}}, ("stale", "days", "lo"), 'did you mean "low"?'),
        ("DT-SCP-01", {"approvals": [{"ownr": "x", "scopes": "*"}]}, ("approvals", 0, "ownr"), 'did you mean "owner"?'),
        ("DT-SCP-01", {"approvals": [{"owner": "x"}]}, ("approvals", 0, "scopes"), "is missing"),
        (
            "DT-EXP-02",
            {"max_days": {"default": 365, "critical": 366}},
            ("max_days",),
            "tier critical has more days (366)",
        ),
        ("DT-EXP-02", {"max_days": {"default": 9, "medium": 8, "high": 9}}, ("max_days",), "than tier medium (8)"),
        ("DT-EXP-02", {"max_days": 90}, ("max_days",), "must be a table (got 90)"),
        ("DT-EXP-04", {"grace_hours": 1.5}, ("grace_hours",), "must be a whole number (got 1.5)"),
        ("DT-SCP-01", {"high_risk": []}, ("high_risk",), "must not be empty"),
        ("DT-SCP-01", {"approvals": [{"scopes": []}]}, ("approvals", 0, "scopes"), "must not be empty"),
        ("DT-SCP-03", {"combos": "*.write"}, ("combos",), "must be a list, […] (got '*.write')"),
        ("DT-SCP-06", {"legacy": "DataExport"}, ("legacy",), "must be a list, […] (got 'DataExport')"),
        ("DT-EXP-01", {"exempt_names": 7}, ("exempt_names",), "must be a list, […] (got 7)"),
        ("DT-PAT-01", {"regex": 7}, ("regex",), "must be text in quotes (got 7)"),
        ("DT-NET-05", {"human_cidrs": ["10.0.0.0/8", "x"]}, ("human_cidrs", 1), "not a network in CIDR notation"),
        ("DT-NET-01", {"treat_private": "yes"}, ("treat_private",), "(got 'yes')"),
        ("DT-ENV-02", {"regex": {"production": "("}}, ("regex", "production"), "not a regular expression"),
        (
            "DT-ENV-02",
            {"regex": {"production": "x[[:alpha:]]"}},
            ("regex", "production"),
            "not clear: possible nested set",
        ),
        ("DT-PAT-02", {"env_selector": {"nam": "x"}}, ("env_selector", "nam"), 'did you mean "name"?'),
    ],
)
def test_a_wrong_policy_is_told_where_and_how_to_mend_it(
    rule_id: str, table: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    [(place, words)] = check_document(document(rule_id, **table), rules().values())
    assert place == ("rules", rule_id, *path)
    assert message in words


def test_every_problem_is_told_at_once() -> None:
    wrong = PolicyDocument.model_validate(
        {
            "name": "wrong",
            "rules": {
                "DT-EXP-02": {"max_days": {"default": 0, "hihg": 1}},
                "DT-NOPE-1": {},
                "DT-EXP-04": {"grace_hours": -1},
                "DT-EXP-01": {"enabled": False},
            },
        }
    )
    assert {path for path, _ in check_document(wrong, SHIPPED)} == {
        ("rules", "DT-EXP-02", "max_days", "default"),
        ("rules", "DT-EXP-02", "max_days", "hihg"),
        ("rules", "DT-NOPE-1"),
        ("rules", "DT-EXP-04", "grace_hours"),
    }


def test_policy_is_read_again_from_what_is_recorded_of_it() -> None:
    selectors = [{"name": "lab-*", "risk": "high"}, {"personal": False}]
    written = document("DT-EXP-01", only=selectors, exempt=selectors)
    again = PolicyDocument.model_validate_json(written.content)
    assert (again, again.content) == (written, written.content)
