"""DT-OWN-04: an owner with a large part of all tokens."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.fleet import OwnerHoldings
from auditor.policy.wording import counted, shortened

Count = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
Percent = Annotated[float, Field(gt=0, le=100)]


class Holdings(Params):
    """How many tokens one owner may hold."""

    n: Count = 25
    """More live tokens than so many are too many."""
    pct: Percent = 20
    """More than so many percent of the live tokens are too many."""
    pct_min_count: Count = 5
    """The share counts only from so many tokens of the owner on."""


def check(holdings: OwnerHoldings, params: Holdings, _now: datetime) -> Iterator[Violation]:
    """Fire for an owner of more than ``n`` live tokens or of more than ``pct`` percent of them."""
    is_large_share = holdings.tokens >= params.pct_min_count and holdings.tokens * 100 > params.pct * holdings.active
    if holdings.tokens <= params.n and not is_large_share:
        return
    yield Violation(
        RULE.id,
        Severity.LOW,
        f'"{shortened(holdings.owner)}" owns {counted(holdings.tokens, "live token")} of {holdings.active}',
        {
            "owner": holdings.owner,
            "tokens": holdings.tokens,
            "active_tokens": holdings.active,
            "percent": round(100 * holdings.tokens / holdings.active, 1),
        },
        # Keys go where names should not; the digest tells owners apart and stays the same.
        discriminator=hashlib.sha256(holdings.owner.encode()).hexdigest()[:16],
    )


RULE = Rule(
    id="DT-OWN-04",
    title="One owner holds too many tokens",
    kind=Kind.FLEET,
    severity="low",
    test="live tokens of one owner > N, or > P percent of all live tokens",
    rationale=(
        "Tokens made under one account share its fate: when it is taken over, all of them may be, and when it is "
        "closed nobody knows what each was for."
    ),
    remediation=(
        "Give each team or service an account that owns its tokens, and let successors be created under it at the "
        "next rotation."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI9:2025",),
        Framework.NIST_800_53: ("AC-6",),
        Framework.ISO_27001: ("A.5.3",),
        Framework.PCI_DSS: ("7.2.5",),
        Framework.CIS: ("5.5",),
        Framework.SOC_2: ("CC6.3",),
    },
    params=Holdings,
    check=check,
    candidates=OwnerHoldings,
    sample=Sample(candidate=OwnerHoldings("svc-ingest", 31, 400)),
)
