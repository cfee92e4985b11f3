"""DT-STA-01: a token that was disabled and never deleted."""

from datetime import timedelta
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import days_ago
from auditor.policy.thresholds import Days
from auditor.policy.wording import day, iso


class Disabled(Params):
    """How long a token may stay disabled."""

    days: Days = 30
    """Days since a sweep first saw the token disabled."""

    @cached_property
    def allowed(self) -> timedelta:
        """``days`` as a span."""
        return timedelta(days=self.days)


def check(observation: Observation, token: TokenMetadata, params: Disabled, context: Context) -> Violation | None:
    """Fire where ``enabled`` is false and sweeps have seen it so for ``days``.

    The API does not say when a token was disabled; silent until a sweep has seen it.
    """
    if token.enabled is not False or observation.disabled_since is None:
        return None
    disabled_for = context.now - observation.disabled_since
    if disabled_for < params.allowed:
        return None
    return Violation(
        RULE.id,
        Severity.LOW,
        f"disabled since {day(observation.disabled_since)} at the latest, and not deleted",
        {"enabled": False, "disabled_since": iso(observation.disabled_since)},
    )


RULE = Rule(
    id="DT-STA-01",
    title="Disabled but not deleted",
    kind=Kind.SNAPSHOT,
    severity="low",
    test="enabled is false since N days, counted from the first sweep that saw it so",
    rationale="Anybody who may edit tokens can enable it again in a moment, and the token's dates would not show it.",
    remediation="Delete it, and remove the secret from where it is stored.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2(3)",),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("8.2.6",),
        Framework.CIS: ("5.3",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.5.4",),
    },
    params=Disabled,
    check=check,
    sample=Sample(metadata={"enabled": False}, observation={"disabled_since": days_ago(41)}),
)
