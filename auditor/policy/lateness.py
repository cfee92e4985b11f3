"""DT-AUD-04 as a policy applies it in one environment: which findings are late, and how bad that makes them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.engine import Policy
from auditor.policy.lifecycle import LATE, Deadline, KnownFinding, on_time
from auditor.policy.rules import aud_04

_RULE_ID: Final = aud_04.RULE.id


class Deadlines:
    """The deadlines of an environment's findings. Without any where the policy does not apply the rule.

    What a waiver mutes is accepted and does not become late; its time begins anew when the waiver lapses.
    """

    def __init__(self, policy: Policy, environment: str) -> None:
        self._policy = policy
        self.environment = environment
        self._params: aud_04.Overdue | None = None
        self._least: Severity | None = None
        if _RULE_ID in policy.assessed:
            params = policy.params_of(_RULE_ID)
            assert isinstance(params, aud_04.Overdue)
            self._params = params
            settings = policy.document.settings_of(_RULE_ID)
            self._least = settings.severity if settings else None

    @property
    def spans(self) -> Mapping[Severity, timedelta]:
        """How long findings may be open, by severity; those without a deadline are left out."""
        if self._params is None:
            return {}
        allowed = {severity: self._params.sla.of(severity) for severity in Severity}
        return {severity: span for severity, span in allowed.items() if span is not None}

    @property
    def is_narrowed(self) -> bool:
        """Whether selectors give some tokens' findings no deadline."""
        return self._params is not None and self._policy.is_narrowed(_RULE_ID)

    def selects(self, observation: Observation, token: TokenMetadata) -> bool:
        """Whether a token's findings have deadlines."""
        return self._params is not None and self._policy.selects(_RULE_ID, observation, token)

    def of(self, observation: Observation, token: TokenMetadata, now: datetime) -> Deadline:
        """Return the deadline of a token's findings at an instant."""
        params = self._params
        if params is None or (self.is_narrowed and not self._policy.selects(_RULE_ID, observation, token)):
            return on_time
        least = self._least

        def deadline(finding: KnownFinding, violation: Violation) -> tuple[Violation, bool]:
            was_late = LATE in finding.evidence
            if finding.severity_since is None or (finding.waived is not None and not was_late):
                return violation, False
            if violation.severity.rank > finding.own_severity.rank:
                return violation, False
            late = aud_04.check(violation, finding.severity_since, params, now)
            if late is violation:
                return violation, False
            if least is not None and late.severity.rank < least.rank:
                late = msgspec.structs.replace(late, severity=least)
            return late, not was_late

        return deadline

    def of_subject(self, subject: str, now: datetime) -> Deadline:
        """Return the deadline of findings of no stored token; of selectors only those on the environment can match."""
        token = TokenMetadata(subject)
        return self.of(Observation(self.environment, subject, now, Outcome.FOUND, token), token, now)
