"""Evaluates a batch of lookups and writes it whole: observations, findings, alerts and the account, or nothing."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

from auditor.model.finding import Alert, Resolution, Severity, Transition
from auditor.model.history import History
from auditor.model.lookup import Lookup, Outcome
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.policy.lifecycle import Change, KnownFinding, changes, ended
from auditor.policy.observing import FINGERPRINT_PREFIX, is_changed, is_used, label_of, observe
from auditor.policy.registry import rules
from auditor.store import findings, outbox, sweeps, tokens
from auditor.store.connection import Connection
from auditor.store.tokens import Enrolment, KnownToken, Recorded
from auditor.sweep.subject import Subject

MISSES_THAT_END_FINDINGS = 2
"""A token's findings end when so many evident lookups running say that it does not exist."""

_ALERTED = frozenset({Transition.OPENED, Transition.ESCALATED, Transition.RESOLVED, Transition.REOPENED})

log = structlog.get_logger(__name__)


class Looked(msgspec.Struct, frozen=True, gc=False):
    """A token whose lookup ended."""

    enrolment: Enrolment
    known: KnownToken | None
    lookup: Lookup
    seconds: float
    """From the start of the first attempt to the end of the last."""


class Recorder:
    """Records the batches of one sweep, one transaction each."""

    def __init__(self, subject: Subject, environment: int, sweep: int) -> None:
        self._subject = subject
        self._environment = environment
        self._sweep = sweep
        self._reasons: Counter[str] = Counter()
        self._log = log.bind(environment=subject.name)
        self.transitions: Counter[Transition] = Counter()

    async def record(self, connection: Connection, batch: Sequence[Looked]) -> Counter[Outcome]:
        """Write a batch in one transaction, then log its transitions; return how its lookups ended."""
        now = self._subject.clock()
        recorded = [self._recorded(looked) for looked in batch]
        known = await findings.known(connection, [looked.known.id for looked in batch if looked.known])
        outcomes = Counter(looked.lookup.outcome for looked in batch)
        reasons = self._reasons + Counter(
            looked.lookup.reason
            for looked in batch
            if looked.lookup.metadata is None and not looked.lookup.outcome.is_evidence
        )
        async with connection.transaction():
            identities = await tokens.record(connection, self._sweep, self._environment, recorded)
            happened = [
                (number, label, entry, change)
                for (number, label), entry in zip(identities, recorded, strict=True)
                for change in self._changes(entry, known.get(number, ()), now)
            ]
            await findings.apply(
                connection, self._sweep, [(number, change) for number, _label, _entry, change in happened], now
            )
            await self._put_into_outbox(connection, happened, now)
            await sweeps.count(connection, self._sweep, outcomes, reasons)
        # Only what was committed is counted and told.
        self._reasons = reasons
        for _number, label, entry, change in happened:
            self._tell(label, entry, change)
        return outcomes

    def _recorded(self, looked: Looked) -> Recorded:
        enrolment, known, lookup = looked.enrolment, looked.known, looked.lookup
        previous = known.previous if known else None
        label = known.label if known else ""
        if not label or label.startswith(FINGERPRINT_PREFIX):
            label = label_of(enrolment.public_id, enrolment.fingerprint, lookup)
        observation = observe(
            lookup,
            previous,
            environment=self._subject.name,
            label=label,
            public_id=enrolment.public_id,
            locations=enrolment.locations,
            tags=enrolment.tags,
            first_seen_at=known.first_seen_at if known else lookup.at,
        )
        if observation is None:
            return Recorded(enrolment, known, label, lookup, None, False, False)
        return Recorded(
            enrolment,
            known,
            label,
            lookup,
            observation,
            is_changed(observation, previous),
            is_used(observation, previous),
        )

    def _changes(self, entry: Recorded, known: Sequence[KnownFinding], now: datetime) -> Sequence[Change]:
        """Decide what becomes of a token's findings; a lookup without evidence changes none."""
        observation = entry.observation
        if observation is None:
            return ()
        if observation.outcome is Outcome.MISSING:
            misses = (entry.known.misses if entry.known else 0) + 1
            return ended(known, Resolution.MISSING) if misses >= MISSES_THAT_END_FINDINGS else ()
        policy = self._subject.policy
        previous = entry.known.previous if entry.known else None
        return changes(
            known,
            policy.evaluate(observation, History(previous), now),
            lambda rule_id: policy.verdict(rule_id, observation),
        )

    async def _put_into_outbox(
        self, connection: Connection, happened: Sequence[tuple[int, str, Recorded, Change]], now: datetime
    ) -> None:
        wanted: dict[str, list[Alert]] = {}
        for _number, label, entry, change in happened:
            if change.transition not in _ALERTED:
                continue
            hooks = [
                hook for hook, least in self._subject.hooks.items() if change.violation.severity.rank >= least.rank
            ]
            if hooks:
                alert = self._alert(label, entry, change, change.transition, now)
                for hook in hooks:
                    wanted.setdefault(hook, []).append(alert)
        await outbox.add(connection, wanted)

    def _alert(self, label: str, entry: Recorded, change: Change, transition: Transition, now: datetime) -> Alert:
        violation = change.violation
        rule = rules().get(violation.rule_id)
        token = entry.observation.metadata if entry.observation else None
        data: dict[str, Any] = {
            "key": findings.key_of(self._subject.name, label, violation.rule_id, violation.discriminator),
            "environment": self._subject.name,
            "token": label,
            "token_name": token.name if token else None,
            "owner": token.owner if token else None,
            "rule": violation.rule_id,
            "title": rule.title if rule else violation.rule_id,
            "severity": violation.severity.value,
            "transition": transition.value,
            "message": violation.message,
            "evidence": violation.evidence,
            "locations": [
                {"source": location.source, "place": location.place} for location in entry.enrolment.locations
            ],
            "rationale": rule.rationale if rule else "",
            "remediation": rule.remediation if rule else "",
            "resolution": change.resolution.value if change.resolution else None,
        }
        return Alert(
            id=outbox.new_id(),
            event=f"finding.{transition.value}",
            severity=violation.severity,
            environment=self._subject.name,
            at=now,
            data=data,
        )

    async def announce_end(self, connection: Connection, summary: SweepSummary, stopped: str | None) -> None:
        """Put word of a sweep that failed into the outbox, in the transaction that closes it."""
        if summary.status is not SweepStatus.FAILED:
            return
        alert = Alert(
            id=outbox.new_id(),
            event="sweep.failed",
            severity=Severity.HIGH,
            environment=summary.environment,
            at=summary.finished_at or summary.started_at,
            data={
                "environment": summary.environment,
                "sweep": summary.id,
                "message": stopped or "",
                "enrolled": summary.enrolled,
                "found": summary.found,
                "missing": summary.missing,
                "refused": summary.refused,
                "failed": summary.failed,
                "reasons": summary.reasons,
                "source_problems": summary.source_problems,
            },
        )
        await outbox.add(connection, {hook: [alert] for hook in self._subject.hooks})

    def _tell(self, label: str, entry: Recorded, change: Change) -> None:
        if change.transition is None:
            return
        self.transitions[change.transition] += 1
        violation = change.violation
        is_bad_news = change.transition not in {Transition.RESOLVED, Transition.EASED}
        tell = self._log.warning if is_bad_news and violation.severity.rank >= Severity.HIGH.rank else self._log.info
        tell(
            f"finding_{change.transition.value}",
            token=label,
            rule=violation.rule_id,
            severity=violation.severity.value,
            message=violation.message,
            owner=entry.observation.metadata.owner if entry.observation and entry.observation.metadata else None,
            **({"resolution": change.resolution.value} if change.resolution else {}),
        )
