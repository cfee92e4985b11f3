"""What is said of a control: never more than the sweeps found out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.finding import Severity
from auditor.model.sweep import RuleState, SweepStatus, SweepSummary
from auditor.policy.assessment import (
    ControlAssessment,
    ControlState,
    Evidence,
    RuleResult,
    assess,
)
from auditor.policy.base import Framework, Rule
from auditor.policy.registry import rules
from auditor.policy.written.document import WrittenRule
from auditor.policy.written.rules import made_of

AT = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
SERVING = ("DT-USE-03", "DT-USE-04", "DT-STA-04")
"""Some of the rules that serve CIS 8.11."""
RULES: Mapping[str, Rule] = {rule_id: rules()[rule_id] for rule_id in SERVING}


def result(rule_id: str = "DT-USE-03", **changes: Any) -> RuleResult:
    return RuleResult(**{"rule_id": rule_id, "state": RuleState.ASSESSED} | changes)


def sweep(status: SweepStatus = SweepStatus.COMPLETE) -> SweepSummary:
    return SweepSummary(id=1, environment="prod", started_at=AT, finished_at=AT, status=status, enrolled=10, found=10)


def evidence(*results: RuleResult, **changes: Any) -> Evidence:
    """An environment in which everything was looked at; rules that are not named were assessed."""
    fields: dict[str, Any] = {
        "environment": "prod",
        "last_sweep": sweep(),
        "last_complete_at": AT,
        "stored_tokens": 10,
        "unknown_tokens": 0,
        "rules": {rule_id: result(rule_id) for rule_id in SERVING} | {one.rule_id: one for one in results},
    }
    return Evidence(**fields | changes)


def control(*environments: Evidence) -> ControlAssessment:
    (found,) = [one for one in assess(Framework.CIS, RULES, environments).controls if one.id == "8.11"]
    return found


OPEN = result(open_by_severity={Severity.HIGH: 2, Severity.LOW: 1})
WAIVED = result("DT-USE-04", waived_by_severity={Severity.HIGH: 1})
UNASSESSED = result(state=RuleState.NOT_ASSESSED, reason="no history yet")
DISABLED = result(state=RuleState.DISABLED)
NONE_ASSESSED = [msgspec.structs.replace(UNASSESSED, rule_id=rule_id) for rule_id in SERVING]
ALL_DISABLED = [msgspec.structs.replace(DISABLED, rule_id=rule_id) for rule_id in SERVING]


@pytest.mark.parametrize(
    ("found", "state", "reason"),
    [
        (evidence(), "pass", "nothing open on 10 tokens"),
        (evidence(DISABLED), "pass", "nothing open on 10 tokens"),
        (evidence(WAIVED), "pass with exceptions", "1 waived finding"),
        (evidence(OPEN), "fail", "3 open findings"),
        (evidence(OPEN, WAIVED, unknown_tokens=4), "fail", "3 open findings"),
        (evidence(msgspec.structs.replace(OPEN, state=RuleState.NOT_ASSESSED)), "fail", "3 open findings"),
        (evidence(msgspec.structs.replace(OPEN, state=RuleState.DISABLED)), "fail", "3 open findings"),
        (evidence(UNASSESSED), "partly assessed", "nothing open, but not assessed: DT-USE-03"),
        (evidence(unknown_tokens=4), "unknown", "4 of 10 tokens could not be looked up"),
        (evidence(WAIVED, UNASSESSED, unknown_tokens=10), "unknown", "10 of 10 tokens could not be looked up"),
        (
            evidence(unknown_tokens=9, outdated_tokens=9),
            "unknown",
            "the last evidence on 9 of 10 tokens is older than 14 days",
        ),
        (
            evidence(unknown_tokens=4, outdated_tokens=3),
            "unknown",
            "1 of 10 tokens could not be looked up, and the last evidence on 3 of 10 tokens is older than 14 days",
        ),
        (evidence(last_sweep=sweep(SweepStatus.INCOMPLETE)), "unknown", "the last sweep is incomplete"),
        (evidence(last_sweep=sweep(SweepStatus.FAILED)), "unknown", "the last sweep is failed"),
        (evidence(last_sweep=sweep(SweepStatus.RUNNING)), "unknown", "the first sweep has not ended"),
        (evidence(last_complete_at=None), "unknown", "no sweep was complete"),
        (evidence(last_sweep=None, last_complete_at=None, rules={}), "unknown", "never swept"),
        (evidence(*NONE_ASSESSED), "not assessed", "none of its rules could be applied: no history yet"),
        (evidence(*ALL_DISABLED), "not assessed", "the policy applies none of its rules"),
        (evidence(rules={}), "not assessed", "the policy applies none of its rules"),
        (evidence(stored_tokens=0), "not assessed", "no token is stored for it"),
    ],
)
def test_one_environment(found: Evidence, state: str, reason: str) -> None:
    said = control(found)
    assert (said.state, said.reason) == (state, reason)
    (here,) = said.environments
    assert (here.state, here.assessed_tokens) == (state, found.stored_tokens - found.unknown_tokens)


LAB = {"environment": "lab"}


@pytest.mark.parametrize(
    ("others", "state", "reason"),
    [
        ([evidence(**LAB)], "pass", "prod, lab: nothing open on 10 tokens"),
        ([evidence(WAIVED, **LAB)], "pass with exceptions", "lab: 1 waived finding"),
        ([evidence(OPEN, **LAB), evidence(environment="x", unknown_tokens=1)], "fail", "lab: 3 open findings"),
        ([evidence(unknown_tokens=1, **LAB)], "unknown", "lab: 1 of 10 tokens could not be looked up"),
        ([evidence(last_sweep=None, stored_tokens=0, **LAB)], "unknown", "lab: never swept"),
        ([evidence(rules={}, **LAB)], "partly assessed", "lab: the policy applies none of its rules"),
        ([evidence(stored_tokens=0, **LAB)], "pass", "nothing open on 10 tokens"),
    ],
)
def test_the_worst_environment_speaks_for_all(others: list[Evidence], state: str, reason: str) -> None:
    said = control(evidence(), *others)
    assert (said.state, said.reason) == (state, reason)


def test_findings_are_summed_by_severity_and_waived_ones_apart() -> None:
    said = control(
        evidence(OPEN, WAIVED, result("DT-STA-04", open_by_severity={Severity.CRITICAL: 1, Severity.LOW: 0}))
    )
    (here,) = said.environments
    assert list(here.open_by_severity.items()) == [(Severity.CRITICAL, 1), (Severity.HIGH, 2), (Severity.LOW, 1)]
    assert here.waived_by_severity == {Severity.HIGH: 1}
    assert (said.open_findings, said.waived_findings) == (4, 1)
    assert (said.rules, [one.rule_id for one in here.rules]) == (SERVING, list(SERVING))


def test_control_that_no_rule_serves_is_not_assessed() -> None:
    found = assess(Framework.OWASP_NHI, rules(), [evidence()])
    assert [(one.id, one.title, one.state, one.reason) for one in found.unserved] == [
        ("NHI3:2025", "Vulnerable Third-Party NHI", "not assessed", "no rule serves it"),
        ("NHI6:2025", "Insecure Cloud Deployment Configurations", "not assessed", "no rule serves it"),
    ]
    assert [one.id for one in found.served] == [f"NHI{number}:2025" for number in (1, 2, 4, 5, 7, 8, 9, 10)]
    assert sum(found.counts.values()) == 8


def test_nothing_is_said_where_nothing_was_ever_swept() -> None:
    assert {one.state for one in assess(Framework.DORA, rules(), []).controls} == {ControlState.NOT_ASSESSED}


def test_rule_that_a_policy_writes_serves_the_controls_that_it_names() -> None:
    written = made_of(
        [
            WrittenRule.model_validate(
                {
                    "id": "ACME-01",
                    "title": "House rule",
                    "severity": "low",
                    "when": "token.enabled == false",
                    "message": "is disabled",
                    "rationale": "It should be gone.",
                    "remediation": "Delete it.",
                    "controls": {"CIS v8.1": ["1.1", "99.9"]},
                }
            )
        ]
    )
    found = {one.id: one for one in assess(Framework.CIS, written, [evidence(result("ACME-01"))]).served}
    assert {(one.id, one.title, one.state) for one in found.values()} == {
        ("1.1", "Establish and Maintain Detailed Enterprise Asset Inventory", ControlState.PASS),
        ("99.9", "", ControlState.PASS),
    }


COUNTS = st.dictionaries(st.sampled_from(Severity), st.integers(0, 3), max_size=2)


@st.composite
def environments(draw: st.DrawFn) -> Evidence:
    stored = draw(st.integers(0, 4))
    return Evidence(
        environment=draw(st.sampled_from(("a", "b", "c"))),
        last_sweep=draw(st.none() | st.sampled_from(SweepStatus).map(sweep)),
        last_complete_at=draw(st.sampled_from((None, AT))),
        stored_tokens=stored,
        unknown_tokens=draw(st.integers(0, stored)),
        rules={
            rule_id: RuleResult(
                rule_id=rule_id,
                state=draw(st.sampled_from(RuleState)),
                open_by_severity=draw(COUNTS),
                waived_by_severity=draw(COUNTS),
            )
            for rule_id in draw(st.lists(st.sampled_from(SERVING), unique=True))
        },
    )


PASSES = {ControlState.PASS, ControlState.EXCEPTIONS}


@given(st.lists(environments(), max_size=3))
def test_a_pass_needs_everything_to_be_looked_at_and_nothing_open(seen: list[Evidence]) -> None:
    said = control(*seen)
    assert said.reason
    if said.state not in PASSES:
        return
    bearing = [one for one in seen if one.stored_tokens]
    assert bearing
    for one in bearing:
        assert one.unknown_tokens == 0
        assert one.last_sweep is not None
        assert (one.last_sweep.status, one.last_complete_at) == (SweepStatus.COMPLETE, AT)
        states = {each.state for each in one.rules.values()}
        assert RuleState.ASSESSED in states
        assert RuleState.NOT_ASSESSED not in states
    assert said.open_findings == 0
    assert (said.waived_findings > 0) == (said.state is ControlState.EXCEPTIONS)


@given(st.lists(environments(), max_size=3))
def test_an_open_finding_that_no_waiver_covers_fails_and_nothing_else_does(seen: list[Evidence]) -> None:
    is_open = any(sum(rule.open_by_severity.values()) for one in seen for rule in one.rules.values())
    assert (control(*seen).state is ControlState.FAIL) == is_open


@given(st.lists(environments(), min_size=1, max_size=3), environments())
def test_a_further_environment_never_makes_it_better(seen: list[Evidence], further: Evidence) -> None:
    worst_first = ["fail", "unknown", "partly assessed", "pass with exceptions", "pass"]
    before, after = control(*seen).state, control(*seen, further).state
    if {before, after} & {ControlState.NOT_ASSESSED}:
        assert after is not ControlState.NOT_ASSESSED or before is ControlState.NOT_ASSESSED
        return
    assert worst_first.index(after) <= worst_first.index(before)
