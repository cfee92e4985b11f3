"""DT-OWN-02: a token whose owner has left."""

from datetime import timedelta
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Feeds, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import Hours
from auditor.policy.wording import day, iso, shortened


class Leavers(Params):
    """How long a leaver's tokens may stay."""

    grace_hours: Hours = 24
    """Hours after the owner left in which the rule stays silent."""

    @cached_property
    def grace(self) -> timedelta:
        """``grace_hours`` as a span."""
        return timedelta(hours=self.grace_hours)


def check(_observation: Observation, token: TokenMetadata, params: Leavers, context: Context) -> Violation | None:
    """Fire where ``owner`` left at least the grace ago; silent where the owner is absent, which is DT-OWN-01's."""
    if token.owner is None or not context.feeds.leavers:
        return None
    left_at = context.feeds.leavers.get(token.owner.strip().casefold())
    if left_at is None:
        return None
    if context.now - left_at < params.grace:
        return None
    return Violation(
        RULE.id,
        Severity.CRITICAL,
        f'its owner "{shortened(token.owner)}" left on {day(left_at)}',
        {"owner": token.owner, "left_at": iso(left_at)},
    )


def unassessable(_params: Leavers, setting: Setting) -> str | None:
    """Return a reason where the feed of leavers is missing."""
    return setting.feeds.why_missing("leavers") if setting.feeds.leavers is None else None


RULE = Rule(
    id="DT-OWN-02",
    title="Owner has left",
    kind=Kind.SNAPSHOT,
    severity="critical",
    test="owner is in the feed of leavers since N hours",
    rationale="Who has left may still hold the secret, and answers to nobody for what is done with it.",
    remediation="Disable the token now, give its work to a token of a present owner, then delete it.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("PS-4", "AC-2(3)"),
        Framework.ISO_27001: ("A.6.5", "A.5.18"),
        Framework.PCI_DSS: ("8.2.5",),
        Framework.CIS: ("6.2",),
        Framework.SOC_2: ("CC6.2", "CC6.3"),
        Framework.NIS2: ("11.5.4",),
        Framework.DORA: ("Art9",),
    },
    params=Leavers,
    check=check,
    unassessable=unassessable,
    sample=Sample(metadata={"owner": "mara.lindqvist"}, feeds=Feeds(leavers={"mara.lindqvist": days_ago(3)})),
)
