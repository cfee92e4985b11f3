"""DT-EXP-04: an expired token that is still kept."""

from datetime import timedelta
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import Hours
from auditor.policy.wording import iso, minute


class Expired(Params):
    """How long after its end a token may still be stored."""

    grace_hours: Hours = 0
    """Hours after the expiration in which the rule stays silent."""

    @cached_property
    def grace(self) -> timedelta:
        """``grace_hours`` as a span."""
        return timedelta(hours=self.grace_hours)


def check(_observation: Observation, token: TokenMetadata, params: Expired, context: Context) -> Violation | None:
    """Fire where ``expirationDate`` lies more than the grace back and the environment still knows the token.

    At the very instant of expiration the token is still DT-EXP-03's.
    """
    if token.expiration_date is None:
        return None
    expired_for = context.now - token.expiration_date
    if expired_for <= params.grace:
        return None
    return Violation(
        RULE.id,
        Severity.LOW,
        f"expired on {minute(token.expiration_date)} and is still listed",
        {"expiration_date": iso(token.expiration_date)},
    )


RULE = Rule(
    id="DT-EXP-04",
    title="Expired and still listed",
    kind=Kind.SNAPSHOT,
    severity="low",
    test="expirationDate < now, and the lookup still finds the token",
    rationale=(
        "The environment deletes an expired token after about seven days. Until then it is clutter here, and what "
        "still sends it fails."
    ),
    remediation="Remove the secret from where it is stored, and delete the token unless the environment soon will.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2(3)",),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("8.2.6",),
        Framework.CIS: ("6.2",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.5.4",),
        Framework.DORA: ("Art9",),
    },
    params=Expired,
    check=check,
    can_speak=lambda seen: seen.ends,
    sample=Sample(metadata={"expiration_date": days_ago(2)}),
)
