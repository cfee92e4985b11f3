"""DT-USE-03: a token that lay idle and was used again."""

from datetime import datetime, timedelta
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.history import Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import EventParams, advances
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.thresholds import Days
from auditor.policy.wording import counted, day, iso, iso_or_none, minute


class WokeUp(EventParams):
    """After how long a use is unexpected, and how long it is spoken of."""

    idle_days: Days = 45
    """Days between two uses, or from creation to the first one. Uses between two lookups are hidden by the last of
    them, so time without sweeps counts as idle."""

    @cached_property
    def idle(self) -> timedelta:
        """``idle_days`` as a span."""
        return timedelta(days=self.idle_days)


def check(observation: Observation, token: TokenMetadata, params: WokeUp, context: Context) -> Violation | None:
    """Fire where ``lastUsedDate`` advanced by at least ``idle_days``, from the creation date for a first use."""
    history = context.history
    woken: tuple[datetime, bool, Use] | None = None
    for before, use in advances(history, observation):
        since = token.creation_date if before is None else before.used_at
        if since is None or use.used_at - since < params.idle or context.now - use.observed_at >= params.kept:
            continue
        woken = since, before is None, use
    if woken is None:
        return None
    since, is_first, use = woken
    rested = f"created on {day(since)} and not used" if is_first else f"idle from {day(since)}"
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"{rested} until {minute(use.used_at)}, {counted((use.used_at - since).days, 'day')} later"
        + (f", then used from {use.ip_address}" if use.ip_address else ""),
        {
            "last_used_date_before": None if is_first else iso(since),
            "creation_date": iso_or_none(token.creation_date),
            "used_at": iso(use.used_at),
            "ip_address": use.ip_address,
            "seen_at": iso(use.observed_at),
        },
    )


RULE = Rule(
    id="DT-USE-03",
    title="Dormant token woke up",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "lastUsedDate advanced by N days or more from one lookup to the next, or from creationDate to the first use; "
        "uses that a later one hid before the next lookup cannot be seen"
    ),
    rationale=(
        "Nobody misses a token that nobody uses: whoever finds a copy can try it unnoticed. A sudden use after "
        "months is how that looks from here."
    ),
    remediation=(
        "Ask the owner whether a known consumer used it. Unless one did, disable the token and read the "
        "environment's audit log from that use on."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025", "NHI2:2025"),
        Framework.NIST_800_53: ("AC-2(12)", "SI-4"),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("10.4.1.1",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
        Framework.DORA: ("Art10",),
    },
    params=WokeUp,
    check=check,
    can_speak=lambda seen: seen.is_watched,
    sample=Sample(
        metadata={"creation_date": days_ago(120)},
        history=history_of(last_used_date=days_ago(83), uses=(Use(days_ago(82.5), days_ago(83), "203.0.113.7"),)),
    ),
)
