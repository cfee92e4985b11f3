"""DT-AUD-03: a waiver that ended and still stands, is longer than allowed, approved by nobody else, or unused."""

import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.model.waiver import Waiver
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import SAMPLED_AT, days_ago
from auditor.policy.thresholds import Days
from auditor.policy.waivers import WaiverSettings
from auditor.policy.wording import counted, day, iso, iso_or_none, minute, shortened


class WaiverCare(Params):
    """How long a waiver may be there for nothing."""

    idle_days: Days = 30
    """Days without a finding that it mutes from which on it is unused."""


class Standing(msgspec.Struct, frozen=True):
    """A waiver that stands in a file or was made by ``auditor waive`` and not withdrawn, and how it is used."""

    waiver: Waiver
    first_seen_at: datetime
    """When a sweep of any environment met it first."""
    matched_at: datetime | None
    """When a sweep last ended with a finding that it mutes; None: none ever did."""


def check(standing: Standing, params: WaiverCare, settings: WaiverSettings, now: datetime) -> Iterator[Violation]:
    """Yield everything that is wrong with a waiver, each by itself; ``settings`` are those of the policy here."""
    waiver = standing.waiver
    if now >= waiver.until:
        yield _violation(
            waiver, "ended", f"waiver {waiver.id} ended {minute(waiver.until)} and still stands; renew or remove it"
        )
    if settings.is_too_long(waiver):
        yield _violation(
            waiver,
            "too-long",
            f"waiver {waiver.id} is in force from {day(waiver.since)} to {day(waiver.until)}, longer than the "
            f"{counted(settings.max_days, 'day')} that the policy allows",
            max_days=settings.max_days,
        )
    if _name(waiver.approver) in {"", _name(waiver.owner)}:
        yield _violation(
            waiver,
            "unapproved",
            f"waiver {waiver.id} was approved by nobody but its owner, {shortened(waiver.owner)}",
            approver=waiver.approver,
        )
    last_needed = standing.matched_at or max(standing.first_seen_at, waiver.since)
    if waiver.is_in_force(now) and now - last_needed >= timedelta(days=params.idle_days):
        since = f"since {day(last_needed)}" if standing.matched_at else "ever"
        yield _violation(
            waiver,
            "unused",
            f"waiver {waiver.id} has muted no finding {since}; remove it",
            first_seen_at=iso(standing.first_seen_at),
            matched_at=iso_or_none(standing.matched_at),
        )


def _name(text: str) -> str:
    """Return a name as it compares: full-width letters are letters."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _violation(waiver: Waiver, what: str, message: str, **evidence: object) -> Violation:
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        message,
        {
            "owner": waiver.owner,
            "ticket": waiver.ticket,
            "since": iso(waiver.since),
            "until": iso(waiver.until),
            **evidence,
        },
        what,
    )


def _example(params: WaiverCare) -> Iterator[Violation]:
    waiver = Waiver(
        id="legacy-ingest",
        owner="svc-ingest",
        approver="jane.doe",
        reason="the vendor's agent cannot rotate yet",
        ticket="SEC-1042",
        since=days_ago(60),
        until=days_ago(1),
    )
    return check(Standing(waiver, days_ago(60), days_ago(1)), params, WaiverSettings(), SAMPLED_AT)


RULE = Rule(
    id="DT-AUD-03",
    title="Waiver ended, too long, unapproved or unused",
    kind=Kind.AUDITOR,
    severity="medium",
    test=(
        "a waiver is past until, longer than max_days of the policy's [waivers], approved by its own owner, or has "
        "muted no finding for N days"
    ),
    rationale=(
        "A waiver is a risk that somebody accepted for a time. One that outlives its time, its reason or its rules "
        "mutes what nobody looks at any more, and a list full of dead ones hides the live."
    ),
    remediation=(
        "Mend what the waiver covers and remove it from its file, or withdraw it with auditor waivers remove; where it "
        "is still needed, have somebody else than its owner approve a new one with a new end."
    ),
    controls={
        Framework.NIST_800_53: ("CA-5", "RA-7"),
        Framework.ISO_27001: ("A.5.36",),
        Framework.SOC_2: ("CC4.2",),
        Framework.NIS2: ("2.1.2.j",),
    },
    params=WaiverCare,
    check=check,
    sample=Sample(says=_example),
)
