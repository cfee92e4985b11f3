"""DT-EXP-03: a token whose end is near."""

from datetime import timedelta
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.lifecycle import THRESHOLD
from auditor.policy.sampling import days_ahead
from auditor.policy.thresholds import CountdownLadder, Days
from auditor.policy.wording import iso, iso_or_none, minute

_EXPIRED: Final = timedelta()


class ExpiringSoon(Params):
    """How many days before its end a token is spoken of, and how loudly."""

    thresholds: CountdownLadder = CountdownLadder(info=60, low=30, medium=14, high=7, critical=1)
    """Days left by severity; only the tightest threshold that was crossed speaks."""
    use_weight: bool = True
    """Whether the critical threshold is only for tokens in use; one that is not in use stays at high there."""
    recent_use_days: Days = 7
    """A token is in use when it was used within so many days before the critical threshold, or since."""

    def is_in_use(self, token: TokenMetadata) -> bool:
        """Whether the end of the token would break something now; does not depend on the instant it is asked at."""
        if token.last_used_date is None or token.expiration_date is None:
            return False
        days = self.recent_use_days + (self.thresholds.critical or 0)
        return token.expiration_date - token.last_used_date <= timedelta(days=days)


def check(_observation: Observation, token: TokenMetadata, params: ExpiringSoon, context: Context) -> Violation | None:
    """Fire from the first threshold up to the expiration itself; afterwards the token is DT-EXP-04's.

    Recent use is counted back from the critical threshold, not from now, so that the severity never falls while the
    end comes nearer.
    """
    if token.expiration_date is None:
        return None
    left = token.expiration_date - context.now
    if left < _EXPIRED:
        return None
    severity = params.thresholds.reached(left)
    if severity is None:
        return None
    threshold_days = params.thresholds.days_of(severity)
    if severity is Severity.CRITICAL and params.use_weight and not params.is_in_use(token):
        severity = Severity.HIGH
    return Violation(
        RULE.id,
        severity,
        f"expires on {minute(token.expiration_date)}",
        {
            "expiration_date": iso(token.expiration_date),
            "last_used_date": iso_or_none(token.last_used_date),
            THRESHOLD: threshold_days,
        },
    )


RULE = Rule(
    id="DT-EXP-03",
    title="Expiring soon",
    kind=Kind.SNAPSHOT,
    severity="info from 60 days left, low from 30, medium from 14, high from 7, critical from 1 where in use",
    test="0 <= expirationDate - now <= N days; only the tightest threshold speaks",
    rationale="What still uses the token stops working at its end, usually at night and without saying why.",
    remediation=(
        "Create a successor now, move the consumers to it and watch this one fall silent; or let it end, if nothing "
        "uses it."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI7:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.PCI_DSS: ("8.6.3",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.6.2.c",),
        Framework.DORA: ("Art9",),
    },
    params=ExpiringSoon,
    check=check,
    can_speak=lambda seen: seen.ends,
    sample=Sample(metadata={"expiration_date": days_ahead(5.5)}),
)
