"""DT-EXP-05: a token that was in use until it expired, with nothing to take its place."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Rule, Sample
from auditor.policy.fleet import ExpiredToken, LineageParams
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import Days
from auditor.policy.wording import iso, minute


class RecentUse(LineageParams):
    """What counts as use until the end."""

    recent_use_days: Days = 14
    """Tokens that were used within so many days before they expired, or later, count as in use."""


def check(expired: ExpiredToken, params: RecentUse, now: datetime) -> Iterator[Violation]:
    """Fire where the last use lies at most ``recent_use_days`` before the end, which has come, without a successor."""
    if (
        expired.successor is not None
        or expired.expiration_date > now
        or expired.last_used_date is None
        or expired.expiration_date - expired.last_used_date > timedelta(days=params.recent_use_days)
    ):
        return
    yield Violation(
        RULE.id,
        Severity.CRITICAL,
        f"expired on {minute(expired.expiration_date)}, last used on {minute(expired.last_used_date)}, and no other "
        "token of its owner and name stem holds its scopes",
        {"expiration_date": iso(expired.expiration_date), "last_used_date": iso(expired.last_used_date)},
    )


RULE = Rule(
    id="DT-EXP-05",
    title="Expired with recent use and no successor",
    kind=Kind.FLEET,
    severity="critical",
    test="expired, used within N days before, and no live token of the same owner and name stem holds its scopes",
    rationale=(
        "What used the token until its last days is refused now: data is not arriving, or a job fails, and nobody may "
        "have noticed yet."
    ),
    remediation=(
        "Find what used it (address of the last use), create a successor with the same scopes and give it that. Where "
        "the consumer is gone, delete the token."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI7:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.PCI_DSS: ("8.6.3",),
        Framework.SOC_2: ("CC7.4", "A1.2"),
        Framework.NIS2: ("11.6.2.c",),
        Framework.DORA: ("Art9",),
    },
    params=RecentUse,
    check=check,
    candidates=ExpiredToken,
    needs_every_source=True,
    sample=Sample(candidate=ExpiredToken(days_ago(2), days_ago(2.5), None)),
)
