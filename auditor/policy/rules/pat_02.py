"""DT-PAT-02: a person's token where policy allows none."""

from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.selectors import Predicate, Selector


class PersonalTokens(Params):
    """Where personal tokens are not allowed."""

    env_selector: Selector | None = None
    """A selector, by environment, scope, risk or anything else; no personal token that it selects is allowed."""

    @cached_property
    def forbids(self) -> Predicate:
        """``env_selector``, compiled."""
        return (self.env_selector or Selector()).compile()


def check(observation: Observation, token: TokenMetadata, params: PersonalTokens, context: Context) -> Violation | None:
    """Fire for a personal token that ``env_selector`` selects; silent where ``personalAccessToken`` is absent."""
    if token.personal_access_token is not True or not params.forbids(observation, token, context.tier):
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        "a personal token, which policy does not allow here",
        {"personal_access_token": True, "environment": observation.environment, "risk_tier": context.tier},
    )


def unassessable(params: PersonalTokens, _setting: Setting) -> str | None:
    """Return a reason where nothing says where personal tokens are forbidden."""
    if params.env_selector is not None:
        return None
    return "nothing says where personal tokens are forbidden; set env_selector"


RULE = Rule(
    id="DT-PAT-02",
    title="Personal token not allowed here",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="personalAccessToken, and env_selector selects the token",
    rationale="Where every access should be a service's with an approved profile, a person's token passes by all that.",
    remediation="Replace it by an API token with a known owner and an approved profile, then delete it.",
    controls={
        Framework.OWASP_NHI: ("NHI4:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.15",),
        Framework.PCI_DSS: ("7.2.1",),
        Framework.CIS: ("5.4",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.1.1",),
    },
    params=PersonalTokens,
    check=check,
    unassessable=unassessable,
    example='env_selector = { environment = "prod*" }',
    sample=Sample(
        metadata={"owner": "mara.lindqvist", "personal_access_token": True},
        params={"env_selector": {"environment": "prod*"}},
    ),
)
