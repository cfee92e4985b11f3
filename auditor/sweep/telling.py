"""Tells of what happened to findings: alerts into the outbox, and a log line for each transition."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from auditor.model.finding import Alert, Severity, Transition, Violation, Waived
from auditor.model.waiver import Waiver
from auditor.policy.lifecycle import Change
from auditor.policy.registry import rules_of
from auditor.policy.routing.route import TOPICS, Topic
from auditor.policy.routing.routing import Routing
from auditor.policy.waivers import NO_WAIVERS, FindingId, View, Waivers, end_of, is_muted, waived_after
from auditor.policy.wording import counted
from auditor.store import attention, told
from auditor.store.connection import Connection
from auditor.store.findings import key_of
from auditor.store.outgoing import Outgoing
from auditor.store.told import Heard
from auditor.sweep.alerting import About, finding_alert, matter_of
from auditor.sweep.subject import Subject

_GOOD_NEWS: Final = frozenset({Transition.RESOLVED, Transition.EASED, Transition.WAIVED})

_HOUR: Final = 3600.0

log = structlog.get_logger(__name__)


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of findings that something happened to, by their ids."""

    acknowledged: Collection[int]
    escalated: Mapping[int, Sequence[str]]
    """Hooks that were told that nobody attended to them."""
    flapping: Mapping[int, int]
    """Those that have just begun to flap, with how often they came back."""
    damped: Collection[int]
    ended: Mapping[int, Heard]
    """Of those that were resolved, what was heard of them."""


class Teller:
    """Tells of the findings of one sweep, and counts what it told.

    Of what a waiver covers no alert is made, but where ``is_muted`` says otherwise; the log has it all. While an
    environment's findings are told for the first time (``is_first``), most hooks wait for the summary of them.
    """

    def __init__(self, subject: Subject, waivers: Waivers = NO_WAIVERS, *, is_first: bool = False) -> None:
        self._environment = subject.name
        self._rules = rules_of(subject.policy.document)
        self._risk = subject.policy.document.risk
        self._waivers = waivers
        self._routing = subject.routing.for_each_first_finding() if is_first else subject.routing
        self._log = log.bind(environment=subject.name)
        self.transitions: Counter[Transition] = Counter()
        """What was told, by transition."""

    async def put_into_outbox(
        self, connection: Connection, happened: Iterable[tuple[About, Change]], now: datetime
    ) -> None:
        """Put the alerts that hooks want into the outbox, in the transaction that has written what happened."""
        if not self._routing.destinations:
            return
        heard = [
            (about, change, topic)
            for about, change in happened
            if (topic := _topic_of(change)) is not None and not self._is_muted(about, change, now)
        ]
        if not heard:
            return
        known = await _known_of(connection, self._routing, heard, now)
        outgoing = Outgoing(self._routing, now)
        for about, change, topic in heard:
            number = change.known.id if change.known else None
            if number in known.damped or (topic is Topic.REMINDER and number in known.acknowledged):
                continue
            times = known.flapping.get(number) if number else None
            if times is not None:
                topic = Topic.FLAPPING
            matter = matter_of(topic, self._environment, about, change.violation)
            escalated = known.escalated.get(number, ()) if number else ()
            heard_before = known.ended.get(number) if number and topic is Topic.RESOLVED else None
            if heard_before is None:
                hooks: Sequence[str] = [*self._routing.hooks(matter), *escalated]
            else:
                hooks = self._routing.hearers(matter, heard_before.worst, {*heard_before.hooks, *escalated})
            if hooks:
                outgoing.put(self._alert(about, change, topic, now, times), matter, hooks)
        await outgoing.write(connection)

    def _is_muted(self, about: About, change: Change, now: datetime) -> bool:
        waived = self._waived(about, change, now)
        if change.transition is None:
            return waived is not None
        return is_muted(change.transition, change.violation.severity, waived)

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

    def _alert(self, about: About, change: Change, topic: Topic, now: datetime, times: int | None) -> Alert:
        is_lapse = change.transition is Transition.LAPSED
        message = change.violation.message
        if is_lapse and change.waiver:
            message = f"{message}; {end_of(change.waiver, now)}"
        elif times is not None:
            message = f"{message}; {flapping_words(times, self._routing.flapping_within)}"
        return finding_alert(
            # Who listens for findings that are back must not have to know of waivers.
            f"finding.{topic.value}",
            self._environment,
            about,
            change.violation,
            self._rules,
            now,
            transition=topic.value if times is not None or change.transition is None else change.transition.value,
            opened_at=(change.known.opened_at if change.known else None) or now,
            message=message,
            resolution=change.resolution,
            waiver=change.waiver,
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
                finding=key_of(self._environment, about.label, violation.rule_id, violation.discriminator),
                **({"token": about.label} if about.is_token else {}),
                rule=violation.rule_id,
                severity=violation.severity.value,
                message=violation.message,
                owner=about.owner,
                **({"resolution": change.resolution.value} if change.resolution else {}),
                **({"waiver": waiver.id} if waiver else {}),
            )


def _topic_of(change: Change) -> Topic | None:
    """Return what an alert of a change is about; None where it makes none."""
    if change.transition is None:
        return Topic.REMINDER if change.nears else None
    return TOPICS.get(change.transition)


def flapping_words(times: int, within: timedelta) -> str:
    """Say how often a finding came back, and what follows from it."""
    hours = round(within.total_seconds() / _HOUR)
    return f"back {times} times within {counted(hours, 'hour')}; told again once it has settled"


async def _known_of(
    connection: Connection, routing: Routing, heard: Sequence[tuple[About, Change, Topic]], now: datetime
) -> _Known:
    """Ask for what most batches need not know, where something happened that takes it."""
    nearer: list[int] = []
    moved: dict[int, Severity] = {}
    back: list[int] = []
    resolved: list[int] = []
    for _about, change, topic in heard:
        if change.known is None:
            continue
        if topic is Topic.REMINDER:
            nearer.append(change.known.id)
        elif change.transition is Transition.RESOLVED:
            resolved.append(change.known.id)
            moved[change.known.id] = change.violation.severity
        elif change.transition is Transition.REOPENED:
            back.append(change.known.id)
            moved[change.known.id] = change.violation.severity
    damping = await attention.damp(connection, moved, back, routing.flapping_within, now)
    escalated: Mapping[int, Sequence[str]] = {}
    if routing.escalations:
        of = [change.known.id for _about, change, _topic in heard if change.known is not None]
        escalated = await attention.escalated_to(connection, of)
        await attention.end_escalations(connection, [number for number in resolved if number in escalated])
    return _Known(
        acknowledged=await attention.acknowledged(connection, nearer, now),
        escalated=escalated,
        flapping=damping.begin,
        damped=damping.damped,
        ended=await told.heard(connection, resolved),
    )
