"""DT-AUD-05: the auditor's own token can do more than it must, or ends soon."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import TokenMetadata
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.sampling import SAMPLED_AT, days_ahead, ordinary_token
from auditor.policy.scopes import RiskSettings, RiskTier
from auditor.policy.selectors import Alternatives, matcher
from auditor.policy.thresholds import Days
from auditor.policy.wording import iso_or_none, listed, minute


class OwnToken(Params):
    """What auditor's own token may hold, and how long before its end it must be renewed."""

    allowed_scopes: Alternatives = ("apiTokens.read",)
    """Globs over the scopes that it may hold. One that holds none of them may hold one of tier low instead: a lookup
    takes any scope, but it takes one."""
    days: Days = 14
    """Days before its end from which on it must be renewed."""

    @cached_property
    def allows(self) -> Callable[[str], bool]:
        """``allowed_scopes``, compiled."""
        return matcher(self.allowed_scopes)


def check(token: TokenMetadata, params: OwnToken, risk: RiskSettings, now: datetime) -> Sequence[Violation]:
    """Fire for scopes beyond the allowed ones, and for an end that is near, past or not there; each by itself.

    How the token is used is not judged: the audit itself uses it all the time.
    """
    said = []
    surplus = _surplus(token.scopes, params, risk)
    if surplus:
        said.append(
            Violation(
                RULE.id,
                Severity.HIGH,
                f"auditor's own token {token.id} holds scopes beyond its need: {listed(surplus)}",
                {"token": token.id, "name": token.name, "owner": token.owner, "scopes": list(surplus)},
                "scopes",
            )
        )
    end = token.expiration_date
    if end is None or (end - now).total_seconds() <= params.days * 86_400:
        said.append(
            Violation(
                RULE.id,
                Severity.HIGH,
                f"auditor's own token {token.id} never expires"
                if end is None
                else f"auditor's own token {token.id} expires on {minute(end)}, and every sweep fails from then on",
                {
                    "token": token.id,
                    "name": token.name,
                    "owner": token.owner,
                    "expiration_date": iso_or_none(end),
                    "days": params.days,
                },
                "expiration",
            )
        )
    return said


def _surplus(scopes: Sequence[str], params: OwnToken, risk: RiskSettings) -> Sequence[str]:
    surplus = [scope for scope in scopes if not params.allows(scope)]
    if len(surplus) == len(scopes) == 1 and risk.tier_of(surplus[0]) is RiskTier.LOW:
        return ()
    return surplus


def _example(params: OwnToken) -> Sequence[Violation]:
    own = ordinary_token(name="auditor", scopes=("apiTokens.read",), expiration_date=days_ahead(10))
    return check(own, params, RiskSettings(), SAMPLED_AT)


RULE = Rule(
    id="DT-AUD-05",
    title="Auditor token over-privileged or near expiry",
    kind=Kind.AUDITOR,
    severity="high",
    test="auditor's own token holds a scope that is not allowed, has no expirationDate, or at most N days left",
    rationale=(
        "The auditor's token lies on a machine that holds everybody else's tokens, and is sent with every request. "
        "What it can do beyond its need, whoever takes that machine can do, too; when it ends, so does the audit."
    ),
    remediation=(
        "Make a token with apiTokens.read alone (or one harmless scope, for lookups only) that expires within a year; "
        "replace the credential, restart auditor, then delete the old token."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI5:2025", "NHI7:2025"),
        Framework.NIST_800_53: ("AC-6", "IA-5"),
        Framework.ISO_27001: ("A.8.2",),
        Framework.PCI_DSS: ("7.2.5",),
        Framework.CIS: ("6.8",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.3.2.c",),
    },
    params=OwnToken,
    check=check,
    sample=Sample(says=_example),
)
