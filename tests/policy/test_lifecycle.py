"""What becomes of findings: any history of observations, replayed."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.finding import Resolution, Severity, Transition, Violation
from auditor.policy.lifecycle import Change, KnownFinding, changes

RULE = "DT-EXP-01"
OPEN = KnownFinding(7, RULE, "", Severity.MEDIUM, True, "never expires", {"days": 1})
RESOLVED = msgspec.structs.replace(OPEN, is_open=False)


def violation(
    severity: Severity = Severity.MEDIUM, message: str = "never expires", days: int = 1, discriminator: str = ""
) -> Violation:
    return Violation(RULE, severity, message, {"days": days}, discriminator)


def by_evidence(_rule_id: str) -> Resolution:
    return Resolution.EVIDENCE


def no_verdict(_rule_id: str) -> None:
    return None


@pytest.mark.parametrize(
    ("known", "violations", "happened"),
    [
        ([], [violation()], [Transition.OPENED]),
        ([OPEN], [violation()], []),
        ([OPEN], [violation(Severity.HIGH)], [Transition.ESCALATED]),
        ([OPEN], [violation(Severity.LOW)], [Transition.EASED]),
        ([OPEN], [violation(days=2)], [None]),
        ([OPEN], [violation(message="never ends")], [None]),
        ([OPEN], [], [Transition.RESOLVED]),
        ([RESOLVED], [violation()], [Transition.REOPENED]),
        ([RESOLVED], [violation(Severity.LOW)], [Transition.REOPENED]),
        ([RESOLVED], [], []),
        ([OPEN], [violation(discriminator="b")], [Transition.OPENED, Transition.RESOLVED]),
    ],
)
def test_observation_moves_a_finding(
    known: Sequence[KnownFinding], violations: Sequence[Violation], happened: Sequence[Transition | None]
) -> None:
    assert [change.transition for change in changes(known, violations, by_evidence)] == happened


def test_change_carries_the_newest_words_and_the_finding_that_it_is_about() -> None:
    (change,) = changes([OPEN], [violation(Severity.HIGH, "never ends", 2)], by_evidence)
    assert change == Change(Transition.ESCALATED, OPEN, violation(Severity.HIGH, "never ends", 2), rises=True)


def test_resolved_finding_keeps_its_last_words_and_says_why() -> None:
    (change,) = changes([OPEN], [], lambda _rule_id: Resolution.POLICY)
    assert change == Change(Transition.RESOLVED, OPEN, violation(), Resolution.POLICY)


def test_finding_stays_open_where_silence_is_no_evidence() -> None:
    assert changes([OPEN], [], no_verdict) == []


def test_verdict_is_asked_about_the_rule_of_the_finding() -> None:
    other = msgspec.structs.replace(OPEN, id=8, rule_id="DT-USE-01")
    verdicts = {RULE: Resolution.EVIDENCE, "DT-USE-01": None}
    (change,) = changes([OPEN, other], [], verdicts.get)
    assert change.known == OPEN


KEYS = st.tuples(st.sampled_from(["DT-EXP-01", "DT-USE-01", "DT-SCP-01"]), st.sampled_from(["", "a"]))
VERDICTS = st.sampled_from([Resolution.EVIDENCE, Resolution.EVIDENCE, Resolution.POLICY, None])
OBSERVATIONS = st.tuples(
    st.dictionaries(KEYS, st.sampled_from(Severity)), st.dictionaries(st.sampled_from(["DT-EXP-01"]), VERDICTS)
)
Key = tuple[str, str]


class Ledger:
    """Findings and their transitions as the store keeps them."""

    def __init__(self) -> None:
        self.findings: dict[Key, KnownFinding] = {}
        self.history: dict[Key, list[Transition]] = {}

    def apply(self, happened: Sequence[Change]) -> None:
        touched = [(change.violation.rule_id, change.violation.discriminator) for change in happened]
        assert len(set(touched)) == len(touched), "one observation changes a finding once"
        for key, change in zip(touched, happened, strict=True):
            said = change.violation
            before = self.findings.get(key)
            assert change.known == before
            is_open = (
                before.is_open if before and change.transition is None else change.transition is not Transition.RESOLVED
            )
            self.findings[key] = KnownFinding(
                before.id if before else len(self.findings), *key, said.severity, is_open, said.message, said.evidence
            )
            if change.transition is not None:
                self.history.setdefault(key, []).append(change.transition)


@given(st.lists(OBSERVATIONS, max_size=8))
def test_finding_is_open_exactly_when_the_last_conclusive_observation_violated(
    observations: Sequence[tuple[Mapping[Key, Severity], Mapping[str, Resolution | None]]],
) -> None:
    ledger = Ledger()
    last: dict[Key, Severity | None] = {}
    for violations, verdicts in observations:

        def verdict(rule_id: str, verdicts: Mapping[str, Resolution | None] = verdicts) -> Resolution | None:
            return verdicts.get(rule_id, Resolution.EVIDENCE)

        said = [Violation(rule, severity, "said", {}, part) for (rule, part), severity in violations.items()]
        ledger.apply(changes(list(ledger.findings.values()), said, verdict))
        last |= {key: None for key in last if key not in violations and verdict(key[0]) is not None}
        last |= violations
        assert {key: finding.is_open for key, finding in ledger.findings.items()} == {
            key: severity is not None for key, severity in last.items()
        }
        assert all(ledger.findings[key].severity is severity for key, severity in last.items() if severity is not None)


WHILE_OPEN = {Transition.ESCALATED, Transition.EASED, Transition.RESOLVED}
AFTER = {
    None: {Transition.OPENED},
    Transition.OPENED: WHILE_OPEN,
    Transition.ESCALATED: WHILE_OPEN,
    Transition.EASED: WHILE_OPEN,
    Transition.RESOLVED: {Transition.REOPENED},
    Transition.REOPENED: WHILE_OPEN,
}


@given(st.lists(OBSERVATIONS, max_size=10))
def test_transitions_alternate_as_a_life_does(
    observations: Sequence[tuple[Mapping[Key, Severity], Mapping[str, Resolution | None]]],
) -> None:
    ledger = Ledger()
    for violations, verdicts in observations:
        said = [Violation(rule, severity, "said", {}, part) for (rule, part), severity in violations.items()]
        ledger.apply(changes(list(ledger.findings.values()), said, verdicts.get))
    for history in ledger.history.values():
        for before, after in zip([None, *history], history, strict=False):
            assert after in AFTER[before]


@given(st.dictionaries(KEYS, st.sampled_from(Severity)))
def test_same_observation_again_changes_nothing(violations: Mapping[Key, Severity]) -> None:
    ledger = Ledger()
    said = [Violation(rule, severity, "said", {}, part) for (rule, part), severity in violations.items()]
    ledger.apply(changes([], said, by_evidence))
    assert changes(list(ledger.findings.values()), said, by_evidence) == []


def late(_finding: KnownFinding, said: Violation) -> tuple[Violation, bool]:
    """A deadline that has passed: one step worse, and critical as it is."""
    raised = {Severity.MEDIUM: Severity.HIGH, Severity.CRITICAL: Severity.CRITICAL}[said.severity]
    return msgspec.structs.replace(said, severity=raised, message="late"), _finding.message != "late"


def test_open_finding_that_is_late_escalates_once_and_is_not_eased_by_the_next_observation() -> None:
    (change,) = changes([OPEN], [violation()], by_evidence, late)
    assert (change.transition, change.violation.severity) == (Transition.ESCALATED, Severity.HIGH)
    raised = msgspec.structs.replace(OPEN, severity=Severity.HIGH, message="late")
    assert changes([raised], [violation()], by_evidence, late) == []


def test_critical_finding_that_is_late_escalates_once_though_nothing_is_worse() -> None:
    critical = msgspec.structs.replace(OPEN, severity=Severity.CRITICAL)
    (change,) = changes([critical], [violation(Severity.CRITICAL)], by_evidence, late)
    assert (change.transition, change.violation.severity) == (Transition.ESCALATED, Severity.CRITICAL)
    told = msgspec.structs.replace(critical, message="late")
    assert changes([told], [violation(Severity.CRITICAL)], by_evidence, late) == []


def test_finding_that_opens_or_reopens_is_not_late() -> None:
    for known in ([], [RESOLVED]):
        (change,) = changes(known, [violation()], by_evidence, late)
        assert change.violation == violation()


def test_late_finding_ends_as_any_other() -> None:
    raised = msgspec.structs.replace(OPEN, severity=Severity.HIGH, message="late")
    (change,) = changes([raised], [], by_evidence, late)
    assert (change.transition, change.violation.severity) == (Transition.RESOLVED, Severity.HIGH)


def test_rule_that_makes_a_finding_worse_begins_its_time_anew() -> None:
    (change,) = changes([OPEN], [violation(Severity.HIGH)], by_evidence)
    assert change.rises
    (change,) = changes([OPEN], [violation(Severity.LOW)], by_evidence)
    assert not change.rises


def test_lateness_is_no_severity_of_the_rules_own() -> None:
    raised = msgspec.structs.replace(OPEN, severity=Severity.HIGH, evidence={"overdue": {"severity": "medium"}})
    assert raised.own_severity is Severity.MEDIUM
    (change,) = changes([raised], [violation()], by_evidence)
    assert not change.rises
    (change,) = changes([raised], [violation(Severity.HIGH)], by_evidence)
    assert change.rises
