"""Example findings: every rule that gives a sample speaks of it, and of nothing that is ordinary."""

from dataclasses import replace

import pytest

from auditor.model.finding import Severity, Violation
from auditor.model.history import NO_HISTORY, History
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Feeds, Kind, NoParams, Rule, Sample
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import SHIPPED
from auditor.policy.sampling import SAMPLED_AT, days_ago, days_ahead, example_of, ordinary_observation, ordinary_token

SNAPSHOT_RULES = [rule for rule in SHIPPED if rule.kind is Kind.SNAPSHOT]


def test_every_rule_gives_a_sample() -> None:
    assert [rule.id for rule in SHIPPED if rule.sample is None] == []


@pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: rule.id)
def test_rule_speaks_of_its_sample_as_its_severity_says(rule: Rule) -> None:
    example = example_of(rule)
    assert example is not None
    if rule.id == "DT-AUD-04":  # which makes the finding of another rule worse
        assert example.evidence["overdue"]["rule"] == rule.id
    else:
        assert example.rule_id == rule.id
        assert example.severity.value in rule.severity.replace("(", "").split()
    assert example.evidence


@pytest.mark.parametrize("rule", SNAPSHOT_RULES, ids=lambda rule: rule.id)
def test_rule_set_up_as_for_its_sample_says_nothing_of_an_ordinary_token(rule: Rule) -> None:
    assert rule.sample is not None
    document = PolicyDocument.model_validate({"name": "test", "rules": {rule.id: rule.sample.params}})
    policy = Policy(document, [rule], feeds=rule.sample.feeds, environment_kind="production")
    assert policy.assessed == (rule.id,)
    assert policy.evaluate(ordinary_observation(), NO_HISTORY, SAMPLED_AT) == []


def test_sampled_instants_are_counted_from_one_fixed_instant() -> None:
    assert days_ago(2) < days_ago(1) < SAMPLED_AT == days_ahead(0) < days_ahead(0.5)


def test_rule_without_a_sample_has_no_example() -> None:
    assert example_of(replace(SHIPPED[0], sample=None)) is None


@pytest.mark.parametrize("rule_id", ["DT-EXP-01", "DT-NET-01", "DT-OWN-02"])
def test_sample_that_its_rule_does_not_speak_of_is_refused(rule_id: str) -> None:
    rule = next(rule for rule in SHIPPED if rule.id == rule_id)
    with pytest.raises(ValueError, match=f"{rule_id} says 0 things of its sample"):
        example_of(replace(rule, sample=Sample()))


def gone(observation: Observation, token: TokenMetadata, _params: NoParams, context: Context) -> Violation | None:
    if not context.feeds.leavers:
        return None
    return Violation("DT-TST-01", Severity.LOW, f"{token.name} is {observation.outcome}", {"name": token.name})


def test_sample_of_a_missing_token_has_its_history() -> None:
    rule = replace(
        SHIPPED[0],
        id="DT-TST-01",
        kind=Kind.HISTORY,
        params=NoParams,
        check=gone,
        speaks_of_missing=True,
        sample=Sample(
            metadata=None,
            history=History(last_found=ordinary_token(name="lost")),
            feeds=Feeds(leavers={"eve": days_ago(1)}),
        ),
    )
    example = example_of(rule)
    assert example is not None
    assert example.message == "lost is missing"
