"""Applies waivers at a sweep's end: to every finding of the environment, looked up or not; warns of those that end."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

import structlog
from msgspec.structs import replace

from auditor.model.finding import Alert, Resolution
from auditor.policy.lateness import Deadlines
from auditor.policy.lifecycle import Change
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.rules import aud_03
from auditor.policy.waivers import Waivers, said_of, waiver_change
from auditor.store import comparing, findings, outbox, waivers
from auditor.store.chain import linked
from auditor.store.connection import Connection
from auditor.store.findings import Bearer
from auditor.store.outgoing import Outgoing
from auditor.store.waivers import Muted, Sight
from auditor.sweep.alerting import About
from auditor.sweep.comparing import Said, about_of, compare
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller

log = structlog.get_logger(__name__)


async def load(connection: Connection, subject: Subject) -> Waivers:
    """Return every waiver: those of files and those in the database; where two have one id, the file's."""
    entries = {stored.waiver.id: stored.entry for stored in await waivers.stored(connection)}
    return Waivers((entries | {entry.id: entry for entry in subject.waivers}).values())


async def settle(
    connection: Connection, teller: Teller, known: Waivers, *, environment: int, sweep: int, now: datetime
) -> None:
    """Let the waivers of an environment's open findings begin, change and end; tell of those that end.

    A finding needs no lookup for that: its token is taken as it was last seen. Each batch is one transaction.
    """
    ids = await waivers.concerned(connection, environment, known.selecting, known.findings)
    async for batch in comparing.by_ids(connection, ids):
        happened: list[tuple[Bearer, About, Change]] = []
        for one in batch:
            before = one.finding.waived.waiver if one.finding.waived else None
            said = said_of(one.finding)
            about = about_of(one.bearer, one.token, said)
            change = waiver_change(one.finding, teller.covering(about, said, before, now))
            if change is not None:
                happened.append((one.bearer, about, change))
        if happened:
            told = [(about, change) for _bearer, about, change in happened]
            async with linked(connection, environment, now):
                await findings.apply(
                    connection, sweep, environment, [(bearer, change) for bearer, _about, change in happened], now
                )
                await teller.put_into_outbox(connection, told, now)
            teller.tell(told, now)


async def review(
    connection: Connection, subject: Subject, known: Waivers, *, environment: int, now: datetime
) -> Mapping[str, Sight]:
    """Note which waivers mute something here, and warn, once, of those that are about to end.

    Returns when sweeps met each waiver, by its id. Call it when the findings have settled.
    """
    muting = await waivers.muted(connection, environment)
    settings = subject.policy.document.waivers
    due = {muted.waiver.id: muted for muted in muting if settings.is_due_to_warn(muted.waiver, now)}
    async with connection.transaction():
        sights = await waivers.sight(
            connection, [entry.terms for entry in known.entries], [muted.waiver.id for muted in muting], now
        )
        fresh = await waivers.warn_once(connection, environment, [muted.waiver for muted in due.values()], now)
        outgoing = Outgoing(subject.routing, now)
        for waiver in fresh:
            alert = _lapsing(subject.name, due[waiver], now)
            matter = Matter(Topic.WAIVER_LAPSING, alert.severity, subject.name, owner=due[waiver].waiver.owner)
            outgoing.put(alert, matter, subject.routing.hooks(matter))
        await outgoing.write(connection)
    for waiver in fresh:
        log.warning(
            "waiver_lapsing",
            environment=subject.name,
            waiver=waiver,
            until=due[waiver].waiver.until.isoformat(),
            findings=due[waiver].findings,
            owner=due[waiver].waiver.owner,
            ticket=due[waiver].waiver.ticket,
        )
    return sights


async def judge(
    connection: Connection,
    subject: Subject,
    teller: Teller,
    known: Waivers,
    sights: Mapping[str, Sight],
    *,
    environment: int,
    sweep: int,
    now: datetime,
) -> None:
    """Apply DT-AUD-03, where the policy does, to every waiver that may speak of this environment."""
    policy = subject.policy
    rule_id = aud_03.RULE.id
    if rule_id not in policy.assessed:
        return
    params = policy.params_of(rule_id)
    assert isinstance(params, aud_03.WaiverCare)
    settings = policy.document.settings_of(rule_id)
    severity = settings.severity if settings else None

    async def said() -> AsyncGenerator[Sequence[Said], None]:
        for entry in known.entries:
            if not entry.may_speak_of(subject.name):
                continue
            sight = sights[entry.id]
            standing = aud_03.Standing(entry.terms, sight.first_seen_at, sight.matched_at)
            yield [
                Said(entry.id, violation if severity is None else replace(violation, severity=severity))
                for violation in aud_03.check(standing, params, policy.document.waivers, now)
            ]

    async with aclosing(said()) as speech:
        await compare(
            connection,
            teller,
            environment=environment,
            sweep=sweep,
            rules=(rule_id,),
            said=speech,
            ending=lambda _standing: Resolution.EVIDENCE,
            deadlines=Deadlines(policy, subject.name),
            now=now,
        )


def _lapsing(environment: str, muted: Muted, now: datetime) -> Alert:
    waiver = muted.waiver
    findings_muted = "1 finding" if muted.findings == 1 else f"{muted.findings} findings"
    return Alert(
        id=outbox.new_id(),
        event="waiver.lapsing",
        severity=muted.worst,
        environment=environment,
        at=now,
        data={
            "environment": environment,
            "waiver": waiver,
            "findings": muted.findings,
            "message": f"waiver {waiver.id} of {findings_muted} ends {waiver.until:%Y-%m-%d %H:%M} UTC; "
            f"mend what it covers, or have it renewed ({waiver.ticket})",
        },
    )
