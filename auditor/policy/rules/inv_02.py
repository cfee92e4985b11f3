"""DT-INV-02: a token whose owner has not confirmed lately that it is needed."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Feeds, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import DaysByTier
from auditor.policy.wording import day, iso_or_none


class Attestation(Params):
    """How often owners confirm their tokens."""

    days: DaysByTier = DaysByTier(critical=90, default=180)
    """Days from the last confirmation, by the token's risk tier."""


def check(observation: Observation, token: TokenMetadata, params: Attestation, context: Context) -> Violation | None:
    """Fire where the last confirmation lies ``days`` back; a token never confirmed counts from its creation.

    Confirmations are looked up by the stored token's public id, or by the answer's id where it has none. Silent where
    neither a confirmation nor ``creationDate`` is there.
    """
    attestations = context.feeds.attestations
    if attestations is None:
        return None
    confirmed_at = attestations.get(observation.public_id or token.id)
    since = confirmed_at or token.creation_date
    if since is None:
        return None
    elapsed = context.now - since
    allowed = params.days.of(context.tier)
    if elapsed < allowed:
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f"last confirmed by its owner on {day(confirmed_at)}"
        if confirmed_at
        else f"never confirmed by its owner since it was created on {day(since)}",
        {
            "confirmed_at": iso_or_none(confirmed_at),
            "creation_date": iso_or_none(token.creation_date),
            "max_days": allowed.days,
            "risk_tier": context.tier,
        },
    )


def unassessable(_params: Attestation, setting: Setting) -> str | None:
    """Return a reason where the feed of attestations is missing."""
    return setting.feeds.why_missing("attestations") if setting.feeds.attestations is None else None


RULE = Rule(
    id="DT-INV-02",
    title="Attestation overdue",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="the owner's last confirmation lies N days back, by risk tier",
    rationale="Needs end quietly. Only asking the owner now and then tells a needed token from a forgotten one.",
    remediation="Have the owner confirm the token and enter the date in the feed, or delete the token.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-6(7)", "AC-2"),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("7.2.5.1",),
        Framework.CIS: ("5.5",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.5.4",),
        Framework.DORA: ("Art9",),
    },
    params=Attestation,
    check=check,
    unassessable=unassessable,
    sample=Sample(metadata={"creation_date": days_ago(200)}, feeds=Feeds(attestations={})),
)
