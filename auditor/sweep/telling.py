"""Tells of what happened to findings: alerts into the outbox, and a log line for each transition."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from auditor.model.finding import Alert, Severity, Transition
from auditor.model.token import Location
from auditor.policy.lifecycle import Change
from auditor.policy.registry import rules
from auditor.store import findings, outbox
from auditor.store.connection import Connection
from auditor.sweep.subject import Subject

_ALERTED: Final = frozenset({Transition.OPENED, Transition.ESCALATED, Transition.RESOLVED, Transition.REOPENED})

log = structlog.get_logger(__name__)


class About(msgspec.Struct, frozen=True, gc=False):
    """Of whom a finding is, as far as alerts and log lines tell."""

    label: str
    """Of the stored token, or the finding's subject."""
    name: str | None
    owner: str | None
    locations: tuple[Location, ...]


class Teller:
    """Tells of the findings of one sweep, and counts what it told."""

    def __init__(self, subject: Subject) -> None:
        self._environment = subject.name
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
            if change.transition not in _ALERTED:
                continue
            hooks = [hook for hook, least in self._hooks.items() if change.violation.severity.rank >= least.rank]
            if hooks:
                alert = self._alert(about, change, change.transition, now)
                for hook in hooks:
                    wanted.setdefault(hook, []).append(alert)
        await outbox.add(connection, wanted)

    def _alert(self, about: About, change: Change, transition: Transition, now: datetime) -> Alert:
        violation = change.violation
        rule = rules().get(violation.rule_id)
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
            "message": violation.message,
            "evidence": violation.evidence,
            "locations": [{"source": location.source, "place": location.place} for location in about.locations],
            "rationale": rule.rationale if rule else "",
            "remediation": rule.remediation if rule else "",
            "resolution": change.resolution.value if change.resolution else None,
        }
        return Alert(
            id=outbox.new_id(),
            event=f"finding.{transition.value}",
            severity=violation.severity,
            environment=self._environment,
            at=now,
            data=data,
        )

    def tell(self, happened: Iterable[tuple[About, Change]]) -> None:
        """Log and count the transitions; once they are committed, for what was rolled back did not happen."""
        for about, change in happened:
            if change.transition is None:
                continue
            self.transitions[change.transition] += 1
            violation = change.violation
            is_bad_news = change.transition not in {Transition.RESOLVED, Transition.EASED}
            is_loud = is_bad_news and violation.severity.rank >= Severity.HIGH.rank
            (self._log.warning if is_loud else self._log.info)(
                f"finding_{change.transition.value}",
                token=about.label,
                rule=violation.rule_id,
                severity=violation.severity.value,
                message=violation.message,
                owner=about.owner,
                **({"resolution": change.resolution.value} if change.resolution else {}),
            )
