"""How a draft differs from the present policy: before any token is seen, and token by token."""

from typing import Any

import pytest

from auditor.model.finding import Severity, Violation
from auditor.model.sweep import RuleState
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.drafts import Comparison, Difference, compared, differences
from auditor.policy.engine import Assessment, Policy
from auditor.policy.registry import rules_of


def comparison(present: dict[str, Any], draft: dict[str, Any], feeds: Feeds | None = None) -> Comparison:
    documents = [PolicyDocument.model_validate({"name": "p", **said}) for said in (present, draft)]
    catalogue = {rule_id: rule for document in documents for rule_id, rule in rules_of(document).items()}
    before, after = (
        Policy(document, list(rules_of(document).values()), feeds=each, environment_kind=None)
        for document, each in zip(documents, (Feeds(), feeds or Feeds()), strict=True)
    )
    return compared(before, after, list(catalogue.values()))


def test_only_rules_that_are_set_up_otherwise_are_disputed() -> None:
    found = comparison(
        {"rules": {"DT-SCP-02": {"scopes": 5}, "DT-EXP-02": {"severity": "low"}}},
        {"rules": {"DT-SCP-02": {"scopes": 6}, "DT-EXP-02": {"severity": "low"}, "DT-USE-01": {"severity": "info"}}},
    )
    assert found.disputed == ("DT-USE-01", "DT-SCP-02")
    assert (found.changes, found.not_replayed) == ((), ())


@pytest.mark.parametrize(
    "draft",
    [
        {"scopes": 12},
        {"scopes": 12, "families": 5, "enabled": True, "only": [], "exempt": []},
        {},
    ],
)
def test_default_that_is_written_out_is_no_difference(draft: dict[str, Any]) -> None:
    assert comparison({}, {"rules": {"DT-SCP-02": draft}}) == Comparison((), (), ())


def test_other_grading_of_scopes_disputes_every_rule_that_is_assessed() -> None:
    found = comparison({}, {"risk": {"scopes": {"logs.read": "low"}}})
    assert {"DT-EXP-01", "DT-EXP-02", "DT-SCP-01", "DT-STA-02"} <= set(found.disputed)
    assert "DT-NET-05" not in found.disputed  # not assessed in either


def test_rule_that_is_switched_off_is_replayed_and_one_that_cannot_be_assessed_is_not() -> None:
    off = comparison({}, {"rules": {"DT-EXP-01": {"enabled": False}}})
    assert off.disputed == ("DT-EXP-01",)
    assert [change[:3] for change in off.changes] == [("DT-EXP-01", RuleState.ASSESSED, RuleState.DISABLED)]
    networks = {"rules": {"DT-NET-05": {"human_cidrs": ["10.0.0.0/8"]}}}
    lost = comparison(networks, {})
    assert lost.disputed == ()
    assert [change[:3] for change in lost.changes] == [("DT-NET-05", RuleState.ASSESSED, RuleState.NOT_ASSESSED)]
    assert "human_cidrs" in lost.changes[0].reason
    gained = comparison({}, networks)
    assert gained.disputed == ("DT-NET-05",)
    assert [change[:3] for change in gained.changes] == [("DT-NET-05", RuleState.NOT_ASSESSED, RuleState.ASSESSED)]


def test_rule_that_needs_more_than_a_token_is_not_replayed() -> None:
    found = comparison({}, {"rules": {"DT-EXP-06": {"severity": "info"}}})
    assert (found.disputed, found.not_replayed) == ((), ("DT-EXP-06",))


def test_written_rule_that_comes_or_goes_is_disputed() -> None:
    table = {
        "id": "OWN-1",
        "title": "t",
        "when": "token.name == 'a'",
        "message": "m",
        "severity": "low",
        "rationale": "r",
        "remediation": "r",
    }
    for present, draft in (({}, {"rule": [table]}), ({"rule": [table]}, {})):
        found = comparison(present, draft)
        assert found.disputed == ("OWN-1",)
        assert {found.changes[0].before, found.changes[0].after} == {RuleState.ASSESSED, None}
    altered = comparison({"rule": [table]}, {"rule": [table | {"severity": "high"}]})
    assert (altered.disputed, altered.changes) == (("OWN-1",), ())


def violation(rule: str, severity: Severity = Severity.LOW, discriminator: str = "") -> Violation:
    return Violation(rule, severity, "m", {}, discriminator)


def test_differences_of_one_token() -> None:
    before = [violation("A"), violation("B"), violation("C", Severity.HIGH), violation("D", discriminator="1")]
    after = [violation("B"), violation("C"), violation("D", discriminator="2"), violation("E")]
    found = [
        (one and one.rule_id, other and other.rule_id) for one, other in differences(*map(assessed, (before, after)))
    ]
    assert found == [("A", None), ("C", "C"), ("D", None), (None, "D"), (None, "E")]
    assert list(differences(assessed(before), assessed(before))) == []


def test_what_the_draft_cannot_tell_of_a_token_is_not_dropped() -> None:
    assert list(differences(assessed([violation("A")]), Assessment([], {"A": "no feed"}))) == []


def assessed(violations: list[Violation]) -> Assessment:
    return Assessment(violations, {})


@pytest.mark.parametrize(
    ("before", "after", "change", "rank"),
    [
        (None, Severity.HIGH, "added", 3),
        (Severity.LOW, None, "dropped", 1),
        (Severity.CRITICAL, Severity.INFO, "re-graded", 4),
    ],
)
def test_difference_has_the_rank_of_its_worse_side(
    before: Severity | None, after: Severity | None, change: str, rank: int
) -> None:
    difference = Difference("prod", "t", "A", "", before, after, "m")
    assert (difference.change, difference.rank) == (change, rank)
