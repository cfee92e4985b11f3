"""DT-OWN-03: a token that came to belong to somebody else."""

from operator import attrgetter
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import ReversibleParams, standing, steps
from auditor.policy.sampling import history_of
from auditor.policy.wording import iso, iso_or_none, shortened

_owner: Final = attrgetter("owner")


class OwnerChanged(ReversibleParams):
    """How long a change of owner is spoken of."""


def check(observation: Observation, _token: TokenMetadata, params: OwnerChanged, context: Context) -> Violation | None:
    """Fire where ``owner`` differs from what it was, until it is put back; an absent owner is one that differs."""
    step = standing(steps(context.history, observation), params, context.now, _owner)
    if step is None:
        return None
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"its owner changed from {_named(step.before)} to {_named(step.after)} {step.between}",
        {
            "owner_before": step.before.owner,
            "owner": step.after.owner,
            "changed_after": iso_or_none(step.since),
            "seen_at": iso(step.at),
        },
    )


def _named(token: TokenMetadata) -> str:
    return "none" if token.owner is None else f'"{shortened(token.owner)}"'


RULE = Rule(
    id="DT-OWN-03",
    title="Owner changed",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "owner differs from that of an earlier lookup and was not put back; what happens between two lookups and is "
        "undone before the second cannot be seen"
    ),
    rationale=(
        "Whoever answers for a token decides about it. An owner that changes without a handover means that nobody "
        "does, or that somebody took the token over."
    ),
    remediation=(
        "Ask both owners whether the handover was meant. If it was not, put the owner back, rotate the token and "
        "read the environment's audit log for who changed it."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025", "NHI9:2025"),
        Framework.NIST_800_53: ("AC-2(4)", "IA-4"),
        Framework.ISO_27001: ("A.5.16",),
        Framework.PCI_DSS: ("8.2.4",),
        Framework.SOC_2: ("CC6.2",),
        Framework.NIS2: ("11.5.2.d",),
    },
    params=OwnerChanged,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    sample=Sample(history=history_of(owner="svc-migration")),
)
