"""An environment's first sweep: hooks get one summary of what it found, not an alert for each finding."""

from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from auditor.model.finding import Alert, Severity
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.policy.registry import rules_of
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.waivers import said_of
from auditor.policy.wording import counted
from auditor.store import comparing, digests, findings, outbox, sweeps
from auditor.store.connection import Connection
from auditor.store.digests import SHOWN, Kin
from auditor.sweep.alerting import finding_alert, matter_of
from auditor.sweep.comparing import about_of
from auditor.sweep.subject import Subject

_PATIENCE: Final = timedelta(days=1)
"""An environment whose sweeps fail for so long is introduced with what they found."""

_BATCH: Final = 200

Receivers = tuple[str, tuple[str, ...]]
"""A hook, and the addresses that its summary goes to."""


async def introduce(
    connection: Connection, subject: Subject, *, environment: int, summary: SweepSummary, now: datetime
) -> None:
    """Put the summaries of a first sweep into the outbox, in the transaction that closes it.

    A sweep that failed saw too little: the next one makes the summary, unless that has been so for a day.
    """
    if not subject.routing.destinations:
        return
    if summary.status is SweepStatus.FAILED:
        first = await sweeps.first_started_at(connection, environment)
        if first is None or now - first < _PATIENCE:
            return
    await sweeps.introduce(connection, environment, now)
    await _Summaries(connection, subject, environment, now).write()


class _Summaries:
    """What each hook is told of an environment that it has not heard of."""

    def __init__(self, connection: Connection, subject: Subject, environment: int, now: datetime) -> None:
        self._connection = connection
        self._subject = subject
        self._environment = environment
        self._now = now
        self._routing = subject.routing.for_first_summaries()

    async def write(self) -> None:
        kin: dict[Receivers, list[Kin]] = {}
        for one in await findings.kinds_open(self._connection, self._environment):
            matter = Matter(Topic.OPENED, one.severity, self._subject.name, one.rule_id, one.owner, one.tags)
            alike = Kin(one.severity, self._subject.name, one.owner or "", one.findings)
            for receivers in self._receivers(matter):
                kin.setdefault(receivers, []).append(alike)
        counts = {receivers: digests.counts_of(alike) for receivers, alike in kin.items()}
        shown = await self._worst({receivers: min(number.total(), SHOWN) for receivers, number in counts.items()})
        for (hook, recipients), number in counts.items():
            worst = max(number, key=lambda severity: severity.rank)
            due = self._routing.quiet_until(hook, worst, self._now)
            if self._routing.destinations[hook].takes_digests:
                alerts, all_of_it = shown[hook, recipients], kin[hook, recipients]
                digest = digests.digest_of(alerts, all_of_it, self._now, recipients=recipients)
                await digests.freeze(self._connection, hook, digest, due=due)
            else:
                alert = summary_alert(self._subject.name, "first sweep", number, self._now)
                await outbox.add(self._connection, {hook: [alert]}, due={(hook, alert.id): due} if due else None)

    def _receivers(self, matter: Matter) -> list[Receivers]:
        recipients = self._routing.recipients(matter.owner)
        return [
            (hook, recipients if self._routing.destinations[hook].is_addressed else ())
            for hook in self._routing.hooks(matter)
        ]

    async def _worst(self, wanted: Mapping[Receivers, int]) -> Mapping[Receivers, Sequence[Alert]]:
        """Return the worst findings for each; reads until every one has as many as wanted."""
        shown: dict[Receivers, list[Alert]] = {receivers: [] for receivers in wanted}
        if not wanted:
            return shown
        rules = rules_of(self._subject.policy.document)
        ids = array("q", await findings.ids_open(self._connection, self._environment))
        async for batch in comparing.by_ids(self._connection, ids, batch=_BATCH, in_their_order=True):
            for one in batch:
                said = said_of(one.finding)
                about = about_of(one.bearer, one.token, said)
                taking = [
                    receivers
                    for receivers in self._receivers(matter_of(Topic.OPENED, self._subject.name, about, said))
                    if len(shown[receivers]) < wanted[receivers]
                ]
                if taking:
                    alert = finding_alert(
                        "finding.opened",
                        self._subject.name,
                        about,
                        said,
                        rules,
                        self._now,
                        transition="opened",
                        opened_at=one.finding.opened_at or self._now,
                    )
                    for receivers in taking:
                        shown[receivers].append(alert)
            if all(len(shown[receivers]) == number for receivers, number in wanted.items()):
                break
        return shown


def summary_alert(environment: str, what: str, counts: Mapping[Severity, int], now: datetime) -> Alert:
    """Return one alert in place of many, for a hook that takes no digests; ``what`` says what they have in common."""
    named = ", ".join(f"{counts[severity]} {severity}" for severity in reversed(Severity) if counts.get(severity))
    total = sum(counts.values())
    return Alert(
        id=outbox.new_id(),
        event="findings.summary",
        severity=max((severity for severity in counts if counts[severity]), key=lambda severity: severity.rank),
        environment=environment,
        at=now,
        data={
            "environment": environment,
            "message": f"{what}: {counted(total, 'open finding')} ({named}); "
            f"auditor findings --environment {environment} lists them",
            "counts": {severity.value: number for severity, number in counts.items() if number},
        },
    )
