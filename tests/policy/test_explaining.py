"""What a rule makes of a token, and why."""

from typing import Any

import msgspec
import pytest

from auditor.model.history import NO_HISTORY
from auditor.model.lookup import Observation, Outcome
from auditor.policy.base import Feeds
from auditor.policy.engine import Policy
from auditor.policy.explaining import Answer, Explanation, explain
from auditor.policy.registry import rules
from tests.policy.policy_samples import DAY, NOW, document, observed, token

FOREVER = observed(token(expiration_date=None))


def explained(rule_id: str, observation: Observation = FOREVER, **table: Any) -> Explanation:
    return explain(
        document(rule_id, **table),
        rules()[rule_id],
        observation,
        NO_HISTORY,
        NOW,
        feeds=Feeds(),
        environment_kind=None,
    )


@pytest.mark.parametrize(
    ("table", "answer", "selector"),
    [
        ({}, Answer.FIRED, None),
        ({"enabled": False}, Answer.DISABLED, None),
        ({"only": [{"owner": "nobody"}]}, Answer.NOT_SELECTED, None),
        ({"only": [{"owner": "nobody"}, {"environment": "prod"}]}, Answer.FIRED, None),
        ({"exempt": [{"owner": "nobody"}]}, Answer.FIRED, None),
        ({"exempt": [{"owner": "nobody"}, {"owner": "svc-*"}]}, Answer.EXEMPT, 1),
    ],
)
def test_selectors_and_switches_decide_before_the_test(
    table: dict[str, Any], answer: Answer, selector: int | None
) -> None:
    found = explained("DT-EXP-01", **table)
    assert (found.answer, found.selector) == (answer, selector)
    assert bool(found.violations) is (answer is Answer.FIRED)


def test_rule_that_passes_tells_its_test_and_one_that_fires_its_message() -> None:
    assert explained("DT-EXP-01").reason == "never expires"
    passed = explained("DT-EXP-01", observed())
    assert (passed.answer, passed.reason) == (Answer.PASSED, f"does not hold: {rules()['DT-EXP-01'].test}")


def test_rule_that_cannot_be_assessed_tells_why() -> None:
    found = explained("DT-OWN-02")
    assert (found.answer, 'no feed "leavers"' in found.reason) == (Answer.NOT_ASSESSED, True)


def test_rules_of_missing_tokens_and_of_several_are_not_this_observations() -> None:
    missing = msgspec.structs.replace(FOREVER, outcome=Outcome.MISSING, metadata=None)
    assert explained("DT-STA-03").answer is Answer.NOT_CONCERNED
    assert explained("DT-EXP-01", missing).answer is Answer.NOT_CONCERNED
    assert explained("DT-EXP-06").answer is Answer.AT_SWEEPS_END


@pytest.mark.parametrize("rule_id", rules())
def test_explanation_fires_exactly_where_the_policy_does(rule_id: str) -> None:
    for observation in (FOREVER, observed(), observed(token(owner=None, enabled=False), disabled_since=NOW - 90 * DAY)):
        policy = Policy(document(), list(rules().values()), feeds=Feeds(), environment_kind=None)
        said = [each for each in policy.evaluate(observation, NO_HISTORY, NOW) if each.rule_id == rule_id]
        assert list(explained(rule_id, observation).violations) == said
