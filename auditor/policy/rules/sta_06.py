"""DT-STA-06: an answer about another token than the one that was asked about."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, NoParams, Rule, Sample
from auditor.policy.wording import shortened


def check(observation: Observation, token: TokenMetadata, _params: NoParams, _context: Context) -> Violation | None:
    """Fire where the answer's ``id`` is not the public id of the stored value.

    Silent for a value of the old format, whose public id nobody knows.
    """
    if observation.public_id is None or token.id == observation.public_id:
        return None
    return Violation(
        RULE.id,
        Severity.CRITICAL,
        f"the environment answered for {shortened(token.id)}, not for the stored token",
        {"id": token.id, "public_id": observation.public_id},
    )


RULE = Rule(
    id="DT-STA-06",
    title="Returned id is not the stored id",
    kind=Kind.SNAPSHOT,
    severity="critical",
    test="the answer's id is not the public id of the stored value",
    rationale=(
        "Every other finding about this token speaks of a different one: a proxy or a cache mixes answers up, or "
        "somebody answers in the environment's place."
    ),
    remediation=(
        "Ask the environment directly, without the proxy. Until that is clear, trust no finding and no silence about "
        "this token."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI9:2025",),
        Framework.NIST_800_53: ("IA-4", "SI-4"),
        Framework.ISO_27001: ("A.5.16",),
        Framework.PCI_DSS: ("8.2.1",),
        Framework.SOC_2: ("CC6.1",),
    },
    params=NoParams,
    check=check,
    sample=Sample(metadata={"id": "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA"}),
)
