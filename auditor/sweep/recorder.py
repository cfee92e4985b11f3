"""Evaluates a batch of lookups and writes it whole: observations, findings, alerts and the account, or nothing."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

import msgspec
import structlog

from auditor.model.finding import Alert, Resolution, Severity
from auditor.model.history import History
from auditor.model.lookup import Lookup, Outcome, TokenMetadata
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.policy.lateness import Deadlines
from auditor.policy.lifecycle import Change, KnownFinding, changes
from auditor.policy.observing import (
    FINGERPRINT_PREFIX,
    is_changed,
    is_notable_use,
    is_the_same,
    is_use_withdrawn,
    is_used,
    label_of,
    observe,
)
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.wording import shortened
from auditor.store import findings, outbox, sweeps, tokens
from auditor.store.chain import linked
from auditor.store.connection import Connection
from auditor.store.outgoing import Outgoing
from auditor.store.tokens import Enrolment, KnownToken, Recorded
from auditor.sweep.alerting import About
from auditor.sweep.lookback import histories
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller

MISSES_THAT_END_FINDINGS = 2
"""A token's findings end when so many evident lookups running say that it does not exist."""

NONE_FOUND_AMONG = 10
"""A sweep that finds none of so many tokens has met another environment, or something that answers 404 to all; what it
says of missing tokens ends nothing."""
SCOPES_KEPT = 1000
"""Names of unknown scopes that a sweep counts at most."""
SCOPES_TOLD = 20
"""Of these, how many it names in the log."""

log = structlog.get_logger(__name__)


class Looked(msgspec.Struct, frozen=True, gc=False):
    """A token whose lookup ended."""

    enrolment: Enrolment
    known: KnownToken | None
    lookup: Lookup
    seconds: float
    """From the start of the first attempt to the end of the last."""


class Judged(msgspec.Struct, frozen=True):
    """A batch with what becomes of its tokens' findings, to be written."""

    looked: Sequence[Looked]
    recorded: Sequence[Recorded]
    """In the order of ``looked``, as is what follows."""
    changes: Sequence[Sequence[Change]]
    outcomes: Counter[Outcome]
    """How the lookups ended."""
    undecided: Sequence[Mapping[str, str]]
    """Of each token that rules could not tell of, which rules and why."""
    now: datetime
    """By which it was judged, and which what happened is dated with."""


class Recorder:
    """Records the batches of one sweep, one transaction each.

    A batch may be judged while the one before is written, and written while that is sealed and committed.
    """

    def __init__(self, subject: Subject, environment: int, sweep: int, teller: Teller) -> None:
        self._subject = subject
        self._teller = teller
        self._environment = environment
        self._sweep = sweep
        self._lookback = subject.policy.lookback
        self._deadlines = Deadlines(subject.policy, subject.name)
        self._reasons: Counter[str] = Counter()
        self._outcomes: Counter[Outcome] = Counter()
        """How lookups ended so far, those of a batch that is not written yet among them."""
        self._undecided: Counter[str] = Counter()
        """Rules that could not tell of a token, with how many tokens."""
        self._undecided_because: Mapping[str, str] = {}
        """Of each, why it could not tell of the first."""
        self._writing = asyncio.Lock()
        self._committing = asyncio.Lock()
        self._unknown_scopes: Counter[str] = Counter()

    def go_on(self, account: SweepSummary) -> None:
        """Count on from what an earlier process recorded of this sweep; call it before the first batch."""
        self._reasons = Counter(account.reasons)
        self._outcomes = Counter({Outcome.FOUND: account.found, Outcome.MISSING: account.missing})

    async def judge(self, connection: Connection, batch: Sequence[Looked]) -> Judged:
        """Say what becomes of a batch's findings; writes nothing."""
        now = self._subject.clock()
        recorded = [self._recorded(looked) for looked in batch]
        known = await findings.known(
            connection,
            [looked.known.id for looked in batch if looked.known],
            except_rules=self._subject.policy.comparing,
        )
        past = await histories(connection, recorded, now, self._lookback)
        outcomes = Counter([looked.lookup.outcome for looked in batch])
        self._outcomes.update(outcomes)
        undecided: list[Mapping[str, str]] = []
        decided = [
            self._changes(entry, history, known.get(entry.known.id, ()) if entry.known else (), now, undecided)
            for entry, history in zip(recorded, past, strict=True)
        ]
        return Judged(batch, recorded, decided, outcomes, undecided, now)

    async def write(self, connection: Connection, judged: Judged) -> Counter[Outcome]:
        """Write a batch in one transaction, then log its transitions; return how its lookups ended."""
        batch, outcomes, now = judged.looked, judged.outcomes, judged.now
        reasons = Counter(
            looked.lookup.reason
            for looked in batch
            if looked.lookup.metadata is None and not looked.lookup.outcome.is_evidence
        )
        async with AsyncExitStack() as turn:
            async with linked(connection, self._environment, now):
                async with self._writing:
                    told = await self._write(connection, judged)
                    # Before the next one is written: that may come to wait for this one in the database.
                    await turn.enter_async_context(self._committing)
                await sweeps.count(connection, self._sweep, outcomes, self._reasons + reasons, now)
            # Only what was committed is counted and told.
            self._reasons += reasons
            for unassessed in judged.undecided:
                self._undecided.update(unassessed.keys())
                self._undecided_because = {**unassessed, **self._undecided_because}
            self._count_unknown_scopes(batch)
            self._teller.tell(told, now)
        return outcomes

    async def _write(self, connection: Connection, judged: Judged) -> Sequence[tuple[About, Change]]:
        """Write what a batch's account is not, and return what happened to findings."""
        identities = await tokens.record(connection, self._sweep, self._environment, judged.recorded)
        happened = [
            (number, _about(label, entry), change)
            for (number, label), entry, decided in zip(identities, judged.recorded, judged.changes, strict=True)
            for change in decided
        ]
        await findings.apply(
            connection,
            self._sweep,
            self._environment,
            [(number, change) for number, _about, change in happened],
            judged.now,
        )
        told = [(about, change) for _number, about, change in happened]
        await self._teller.put_into_outbox(connection, told, judged.now)
        return told

    @property
    def _is_known_here(self) -> bool:
        """Whether the environment seems to be the one that the tokens are of."""
        return self._outcomes[Outcome.FOUND] > 0 or self._outcomes[Outcome.MISSING] < NONE_FOUND_AMONG

    def tell_none_found(self) -> None:
        """Log that the environment knew none of its tokens, which is the wrong url more often than the truth."""
        if not self._is_known_here:
            log.warning(
                "no_token_found",
                environment=self._subject.name,
                missing=self._outcomes[Outcome.MISSING],
                hint="every stored token is unknown there; is url right? Findings of missing tokens stay open",
            )

    def tell_undecided(self) -> None:
        """Log once for each rule that could not tell of some tokens, which it thereby neither passed nor accused."""
        for rule_id, count in sorted(self._undecided.items()):
            log.warning(
                "rule_undecided",
                environment=self._subject.name,
                rule=rule_id,
                tokens=count,
                reason=self._undecided_because[rule_id],
            )

    def _count_unknown_scopes(self, batch: Sequence[Looked]) -> None:
        is_known = self._subject.policy.document.risk.is_known
        held = Counter(looked.lookup.metadata.scopes for looked in batch if looked.lookup.metadata is not None)
        for scopes, count in held.items():
            for scope in scopes:
                # Answers come from outside: what they may make this process keep has an end.
                if not is_known(scope) and (scope in self._unknown_scopes or len(self._unknown_scopes) < SCOPES_KEPT):
                    self._unknown_scopes[scope] += count

    def tell_unknown_scopes(self) -> None:
        """Log once what scopes tokens hold that neither ship nor stand in the policy, the most frequent first."""
        if not self._unknown_scopes:
            return
        log.warning(
            "unknown_scopes_met",
            environment=self._subject.name,
            scopes={shortened(scope): count for scope, count in self._unknown_scopes.most_common(SCOPES_TOLD)},
            more=max(len(self._unknown_scopes) - SCOPES_TOLD, 0),
            graded=self._subject.policy.document.risk.unknown.value,
            mend="say under [risk.scopes] of the policy what they are",
        )

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
        if is_the_same(observation, previous):
            return Recorded(enrolment, known, label, lookup, observation, False, False)
        last_found = known.last_found if known else None
        return Recorded(
            enrolment,
            known,
            label,
            lookup,
            observation,
            is_changed(observation, previous),
            is_used(observation, previous),
            is_notable_use(observation, previous, last_found),
            is_use_withdrawn(observation, last_found),
        )

    def _changes(
        self,
        entry: Recorded,
        history: History,
        known: Sequence[KnownFinding],
        now: datetime,
        undecided: list[Mapping[str, str]],
    ) -> Sequence[Change]:
        """Decide what becomes of a token's findings; a lookup without evidence changes none.

        Adds to ``undecided`` the rules that could not tell, with their reasons.
        """
        observation = entry.observation
        if observation is None:
            return ()
        policy = self._subject.policy
        violations, unassessed = policy.assess(observation, history, now)
        if unassessed:
            undecided.append(unassessed)
        if not known:
            return changes((), violations, lambda _rule_id: None)
        token = observation.metadata or history.last_found or TokenMetadata(observation.public_id or observation.label)
        deadline = self._deadlines.of(observation, token, now)
        if observation.outcome is Outcome.FOUND:
            return changes(
                known, violations, lambda rule_id: policy.verdict(rule_id, observation, unassessed), deadline
            )
        is_gone = self._is_known_here and history.misses + 1 >= MISSES_THAT_END_FINDINGS
        return changes(known, violations, lambda _rule_id: Resolution.MISSING if is_gone else None, deadline)

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
        matter = Matter(Topic.SWEEP_FAILED, alert.severity, alert.environment)
        outgoing = Outgoing(self._subject.routing, alert.at)
        outgoing.put(alert, matter, self._subject.routing.hooks(matter))
        await outgoing.write(connection)


def _about(label: str, entry: Recorded) -> About:
    token = entry.observation.metadata if entry.observation else None
    last_found = token or (entry.known.last_found if entry.known else None)
    return About(
        label,
        token.name if token else None,
        token.owner if token else None,
        entry.enrolment.locations,
        (entry.observation, last_found) if entry.observation and last_found else None,
        entry.enrolment.tags,
    )
