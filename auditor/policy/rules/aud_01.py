"""DT-AUD-01: a stored token that sweep after sweep cannot be audited."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from auditor.model.account import Unaudited
from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Lookup, Outcome
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import SAMPLED_AT, days_ago
from auditor.policy.wording import day, iso_or_none, shortened

Sweeps = Annotated[int, Field(ge=1, le=10_000, strict=True)]


class Persistence(Params):
    """How long a token may stay without evidence."""

    sweeps: Sweeps = 3
    """Sweeps running without evidence from which on the finding is open."""
    high_sweeps: Sweeps = 6
    """Sweeps running from which on it is high."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.high_sweeps < self.sweeps:
            raise ValueError(f"high_sweeps ({self.high_sweeps}) must not be less than sweeps ({self.sweeps})")
        return self


def check(unaudited: Unaudited, params: Persistence) -> Violation | None:
    """Fire from ``sweeps`` lookups running without evidence on. The count itself is not told: it moves every sweep."""
    if unaudited.failures < params.sweeps:
        return None
    is_high = unaudited.failures >= params.high_sweeps
    since = f"last audited on {day(unaudited.evident_at)}" if unaudited.evident_at else "never audited"
    return Violation(
        RULE.id,
        Severity.HIGH if is_high else Severity.MEDIUM,
        f"not audited in {params.high_sweeps if is_high else params.sweeps} or more sweeps running, {since}: "
        f"{shortened(unaudited.lookup.reason)}",
        {
            "outcome": unaudited.lookup.outcome.value,
            "reason": unaudited.lookup.reason,
            "last_evidence_at": iso_or_none(unaudited.evident_at),
            "sweeps": params.high_sweeps if is_high else params.sweeps,
        },
    )


def _example(params: Persistence) -> Iterator[Violation]:
    lookup = Lookup(Outcome.UNREACHABLE, SAMPLED_AT, None, "HTTP 503", 503)
    violation = check(Unaudited(lookup, 3, days_ago(3)), params)
    if violation is not None:
        yield violation


RULE = Rule(
    id="DT-AUD-01",
    title="Token not auditable",
    kind=Kind.AUDITOR,
    severity="medium (high after further sweeps)",
    test="the lookup ended without evidence (refused, throttled, unreachable, malformed) in N sweeps running",
    rationale=(
        "A token that nothing is known of is no token in order. Its earlier findings may be mended or worse; until a "
        "lookup answers, nobody can tell."
    ),
    remediation=(
        "Mend what the reason names: the way to the environment, its url, its throttling, or auditor's own token. The "
        "finding ends with the next lookup that finds the token or finds it missing, and with nothing else."
    ),
    controls={
        Framework.NIST_800_53: ("CA-7", "SI-6"),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("10.7.2",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC4.2", "CC7.1"),
        Framework.NIS2: ("2.2.3",),
        Framework.DORA: ("Art10",),
    },
    params=Persistence,
    check=check,
    sample=Sample(says=_example),
)
