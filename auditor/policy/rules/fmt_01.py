"""DT-FMT-01: a token of the format before ``prefix.public.secret``."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, NoParams, Rule, Sample


def check(observation: Observation, _token: TokenMetadata, _params: NoParams, _context: Context) -> Violation | None:
    """Fire where the stored value has no public id, which is so exactly when it is not of today's format.

    The format is not a parameter: rules never see the value, and the model recognises it when the value is read.
    """
    if observation.public_id is not None:
        return None
    return Violation(RULE.id, Severity.MEDIUM, "has the old format, without a public id", {"public_id": None})


RULE = Rule(
    id="DT-FMT-01",
    title="Old token format",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="the stored value does not match dt0[a-z][0-9]{2}.[A-Z0-9]{24}.[A-Z0-9]{64}",
    rationale=(
        "Nothing of such a token may be shown, so it cannot be named in a log or a ticket, and secret scanners do not "
        "recognise it when it leaks. It is also years old."
    ),
    remediation="Create a successor, which has today's format; move the consumers to it, then delete this one.",
    controls={
        Framework.OWASP_NHI: ("NHI4:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.8.5",),
        Framework.PCI_DSS: ("8.6.3",),
        Framework.SOC_2: ("CC6.1",),
    },
    params=NoParams,
    check=check,
    sample=Sample(observation={"public_id": None}),
)
