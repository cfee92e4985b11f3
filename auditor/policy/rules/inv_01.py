"""DT-INV-01: a token that the environment has and no store holds."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import ordinary_observation, ordinary_token
from auditor.policy.scopes import RiskTier
from auditor.policy.selectors import Predicate, Selection
from auditor.policy.wording import counted, day, iso_or_none, listed


class Unstored(Params):
    """Which tokens may be in no store."""

    ignore_selectors: tuple[Selection, ...] = ()
    """Tokens that one of these selects need no store. Conditions on tags and sources select none: what is in no store
    has neither."""

    @cached_property
    def ignored(self) -> tuple[Predicate, ...]:
        """``ignore_selectors``, compiled."""
        return tuple(selector.compile() for selector in self.ignore_selectors)


def check(
    observation: Observation, token: TokenMetadata, params: Unstored, tier: RiskTier, stored_for: Sequence[str] = ()
) -> Violation | None:
    """Fire for a token of the environment's list that none of its stores holds, unless it is ignored.

    ``stored_for`` names the environments, others than its own, for which a store does hold it.
    """
    if any(selects(observation, token, tier) for selects in params.ignored):
        return None
    place = (
        f"stored for {counted(len(stored_for), 'other environment')} ({listed(stored_for)}) and not for this one"
        if stored_for
        else "exists in the environment and in no store"
    )
    return Violation(
        RULE.id,
        Severity.HIGH if tier.is_high_risk else Severity.MEDIUM,
        place,
        {
            "name": token.name,
            "owner": token.owner,
            "enabled": token.enabled,
            "personal_access_token": token.personal_access_token,
            "creation_date": iso_or_none(token.creation_date),
            "expiration_date": iso_or_none(token.expiration_date),
            "last_used_day": day(token.last_used_date) if token.last_used_date else None,
            "last_used_ip_address": token.last_used_ip_address,
            "scopes": list(token.scopes),
            "risk_tier": tier.value,
            "stored_for": list(stored_for),
        },
    )


def _example(params: Unstored) -> Iterator[Violation]:
    violation = check(ordinary_observation(), ordinary_token(), params, RiskTier.LOW)
    if violation is not None:
        yield violation


RULE = Rule(
    id="DT-INV-01",
    title="Token in environment, not in store",
    kind=Kind.FLEET,
    severity="medium (high with a high-risk scope)",
    test="the environment's own list (GET /api/v2/apiTokens) holds the token, and none of its stores does",
    rationale=(
        "A token that no store holds is renewed by nobody, found by no search and missed by every audit of the stores. "
        "It may be in a script, in a chat or in the hands of somebody who left."
    ),
    remediation=(
        "Find who uses it (owner, address of the last use), then put it into the store, or disable it, wait, and "
        "delete it. What belongs to somebody else's store goes into ignore_selectors. The rule needs the scope "
        "apiTokens.read for auditor's own token, and every source read to its end; else it is not assessed."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("CM-8", "AC-2"),
        Framework.ISO_27001: ("A.5.9",),
        Framework.PCI_DSS: ("7.2.5.1",),
        Framework.CIS: ("5.1", "5.5"),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.2.2.e",),
        Framework.DORA: ("Art8",),
    },
    params=Unstored,
    check=check,
    sample=Sample(says=_example),
    example='ignore_selectors = [{ name = "oneagent-installer-*" }, { personal = true }]',
)
