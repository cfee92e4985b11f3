"""What a draft of a policy would change: which rules it has otherwise, and which violations."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.model.sweep import RuleState
from auditor.policy.base import Kind, Rule
from auditor.policy.document import PolicyDocument, RuleSettings
from auditor.policy.engine import Assessment, Policy

REPLAYED: Final = frozenset({Kind.SNAPSHOT, Kind.HISTORY})
"""Kinds of rules that judge one token by itself, so that its stored observations are all they need."""


class Difference(msgspec.Struct, frozen=True, gc=False):
    """A finding that a draft would add, drop or re-grade."""

    environment: str
    label: str
    rule_id: str
    discriminator: str
    before: Severity | None
    """None: the draft adds it."""
    after: Severity | None
    """None: the draft drops it."""
    message: str

    @property
    def change(self) -> str:
        """``added``, ``dropped`` or ``re-graded``."""
        return "added" if self.before is None else "dropped" if self.after is None else "re-graded"

    @property
    def rank(self) -> int:
        """The rank of the worse of its severities."""
        return max(severity.rank for severity in (self.before, self.after) if severity is not None)


class Change(NamedTuple):
    """Where a rule stands with the present policy and with a draft."""

    rule_id: str
    before: RuleState | None
    after: RuleState | None
    """None: that policy has no such rule."""
    reason: str
    """Why it is not assessed, where it is not."""


class Comparison(NamedTuple):
    """How two policies differ in one environment, before any token is seen."""

    disputed: tuple[str, ...]
    """Rules whose findings may differ, in the catalogue's order: what the policies agree on needs no replay."""
    changes: tuple[Change, ...]
    """Rules that the draft brings, drops, switches on or off, or that become or cease to be assessable."""
    not_replayed: tuple[str, ...]
    """Rules on which the policies differ, but that need more than one token's stored observations."""


def compared(present: Policy, draft: Policy, rules: Sequence[Rule]) -> Comparison:
    """Compare two policies of one environment; ``rules`` are those of either.

    A rule that the draft can no longer assess drops nothing: its findings would stay as they are. So it is among the
    changes only.
    """
    shares_setting = present.document.risk == draft.document.risk and present.feeds == draft.feeds
    differing = [rule for rule in rules if not (shares_setting and _is_alike(present, draft, rule))]
    replayed = [rule for rule in differing if rule.kind in REPLAYED]
    before, after = set(present.assessed), set(draft.assessed)
    return Comparison(
        tuple(
            rule.id for rule in replayed if rule.id in after or (rule.id in before and rule.id not in draft.unassessed)
        ),
        tuple(change for rule in differing if (change := _change(present, draft, rule)) is not None),
        tuple(rule.id for rule in differing if rule.kind not in REPLAYED),
    )


def _is_alike(present: Policy, draft: Policy, rule: Rule) -> bool:
    return _terms(present.document, rule) == _terms(draft.document, rule)


def _terms(document: PolicyDocument, rule: Rule) -> tuple[object, ...]:
    """Return all that a document says of a rule, defaults put in."""
    settings = document.rules.get(rule.id, RuleSettings())
    written = next((table for table in document.rule if table.id == rule.id), None)
    return (
        settings.enabled,
        settings.severity,
        settings.only,
        settings.exempt,
        written,
        None if written else document.params_of(rule),
    )


def _change(present: Policy, draft: Policy, rule: Rule) -> Change | None:
    before, after = present.standings.get(rule.id), draft.standings.get(rule.id)
    states = before.state if before else None, after.state if after else None
    if states[0] is states[1]:
        return None
    return Change(rule.id, *states, (after.reason if after else "") or (before.reason if before else ""))


def differences(before: Assessment, after: Assessment) -> Iterator[tuple[Violation | None, Violation | None]]:
    """Yield what two policies say differently of one token, each with the other's word on the same, if any.

    What the draft cannot tell of this token is no difference: the finding would stay as it is.
    """
    if not before.violations and not after.violations:
        return
    now = {(violation.rule_id, violation.discriminator): violation for violation in after.violations}
    for violation in before.violations:
        other = now.pop((violation.rule_id, violation.discriminator), None)
        if other is None:
            if violation.rule_id not in after.unassessed:
                yield violation, None
        elif other.severity is not violation.severity:
            yield violation, other
    for violation in now.values():
        yield None, violation
