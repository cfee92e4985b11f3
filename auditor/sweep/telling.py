"""Tells of what happened to findings: alerts into the outbox, and a log line for each transition."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from auditor.model.finding import Alert, Severity, Transition, Violation, Waived
from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.token import Location
from auditor.model.waiver import Waiver
from auditor.policy.lifecycle import Change
from auditor.policy.registry import rules_of
from auditor.policy.waivers import NO_WAIVERS, FindingId, View, Waivers, end_of, is_muted, waived_after
from auditor.policy.wording import iso
from auditor.store import findings, outbox
from auditor.store.connection import Connection
from auditor.sweep.subject import Subject

_ALERTED: Final = frozenset(
    {Transition.OPENED, Transition.ESCALATED, Transition.RESOLVED, Transition.REOPENED, Transition.LAPSED}
)
_GOOD_NEWS: Final = frozenset({Transition.RESOLVED, Transition.EASED, Transition.WAIVED})

log = structlog.get_logger(__name__)


class About(msgspec.Struct, frozen=True, gc=False):
    """Of whom a finding is, as far as alerts and log lines tell."""

    label: str
    """Of the stored token, or the finding's subject."""
    name: str | None
    owner: str | None
    locations: tuple[Location, ...]
    seen: tuple[Observation, TokenMetadata] | None = None
    """What waivers select by; None where it is no stored token, or nothing was ever seen of it."""


class Teller:
    """Tells of the findings of one sweep, and counts what it told.

    Of what a waiver covers no alert is made, but where ``is_muted`` says otherwise; the log has it all.
    """

    def __init__(self, subject: Subject, waivers: Waivers = NO_WAIVERS) -> None:
        self._environment = subject.name
        self._rules = rules_of(subject.policy.document)
        self._risk = subject.policy.document.risk
        self._waivers = waivers
        self._hooks = subject.hooks
        self._log = log.bind(environment=subject.name)
        self.transitions: Counter[Transition] = Counter()
        """What was told, by transition."""

    async def put_into_outbox(
        self, connection: Connection, happened: Iterable[tuple[About, Change]], now: datetime
    ) -> None:
        """Put the alerts that hooks want into the outbox, in the transaction that writes what happened."""
        wanted: dict[str, list[Alert]] = {}
        for about, change in happened:
            if change.transition is None or change.transition not in _ALERTED:
                continue
            if is_muted(change.transition, change.violation.severity, self._waived(about, change, now)):
                continue
            hooks = [hook for hook, least in self._hooks.items() if change.violation.severity.rank >= least.rank]
            if hooks:
                alert = self._alert(about, change, change.transition, now)
                for hook in hooks:
                    wanted.setdefault(hook, []).append(alert)
        await outbox.add(connection, wanted)

    def _waived(self, about: About, change: Change, now: datetime) -> Waived | None:
        """Return how a finding is waived after a change."""
        before = change.known.waived if change.known else None
        if before is None and not self._waivers.may_cover(change.violation.rule_id):
            return None
        covering = self.covering(about, change.violation, before.waiver if before else None, now)
        return waived_after(before, covering, change.violation.severity)

    def covering(self, about: About, violation: Violation, before: Waiver | None, now: datetime) -> Waiver | None:
        """Return the waiver that covers a finding at an instant; ``before`` is the one that covered it."""
        view = None
        if about.seen is not None and self._waivers.has_selectors_for(violation.rule_id):
            observation, token = about.seen
            if observation.environment != self._environment:  # one from the store does not say
                observation = msgspec.structs.replace(observation, environment=self._environment)
            view = View(observation, token, self._risk.tier_of_all(token.scopes))
        finding = FindingId(self._environment, about.label, violation.rule_id, violation.discriminator)
        return self._waivers.covering(finding, view, before, now)

    def _alert(self, about: About, change: Change, transition: Transition, now: datetime) -> Alert:
        violation = change.violation
        is_lapse = transition is Transition.LAPSED and change.waiver is not None
        rule = self._rules.get(violation.rule_id)
        data: dict[str, Any] = {
            "key": findings.key_of(self._environment, about.label, violation.rule_id, violation.discriminator),
            "environment": self._environment,
            "token": about.label,
            "token_name": about.name,
            "owner": about.owner,
            "rule": violation.rule_id,
            "title": rule.title if rule else violation.rule_id,
            "severity": violation.severity.value,
            "transition": transition.value,
            "opened_at": iso((change.known.opened_at if change.known else None) or now),
            "message": f"{violation.message}; {end_of(change.waiver, now)}"
            if is_lapse and change.waiver
            else violation.message,
            "evidence": violation.evidence,
            "locations": [{"source": location.source, "place": location.place} for location in about.locations],
            "rationale": rule.rationale if rule else "",
            "remediation": rule.remediation if rule else "",
            "resolution": change.resolution.value if change.resolution else None,
            "waiver": change.waiver,
        }
        return Alert(
            id=outbox.new_id(),
            # Who listens for findings that are back must not have to know of waivers.
            event="finding.reopened" if is_lapse else f"finding.{transition.value}",
            severity=violation.severity,
            environment=self._environment,
            at=now,
            data=data,
        )

    def tell(self, happened: Iterable[tuple[About, Change]], now: datetime) -> None:
        """Log and count the transitions; once they are committed, for what was rolled back did not happen."""
        for about, change in happened:
            if change.transition is None:
                continue
            self.transitions[change.transition] += 1
            violation = change.violation
            waived = self._waived(about, change, now)
            is_loud = (
                change.transition not in _GOOD_NEWS
                and violation.severity.rank >= Severity.HIGH.rank
                and not is_muted(change.transition, violation.severity, waived)
            )
            waiver = change.waiver or (waived.waiver if waived else None)
            (self._log.warning if is_loud else self._log.info)(
                f"finding_{change.transition.value}",
                token=about.label,
                rule=violation.rule_id,
                severity=violation.severity.value,
                message=violation.message,
                owner=about.owner,
                **({"resolution": change.resolution.value} if change.resolution else {}),
                **({"waiver": waiver.id} if waiver else {}),
            )
