"""DT-SCP-04: a token that holds more than its kind of token should."""

from collections.abc import Callable
from functools import cached_property

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.selectors import Predicate, ScopeGrant, remembering
from auditor.policy.wording import listed


class Profile(ScopeGrant):
    """What one kind of token may hold."""

    profile: str = Field(min_length=1)
    """What the profile is called in messages."""


class Profiles(Params):
    """The approved profiles."""

    profiles: tuple[Profile, ...] = ()
    """Profiles in order: the first that selects a token is its profile. One without conditions, put last, judges every
    token that no other selects."""

    @cached_property
    def compiled(self) -> tuple[tuple[str, Predicate, Callable[[str], bool]], ...]:
        """``profiles`` as name, selector and test of a scope."""
        return tuple((profile.profile, profile.compile(), remembering(profile.scopes)) for profile in self.profiles)


def check(observation: Observation, token: TokenMetadata, params: Profiles, context: Context) -> Violation | None:
    """Fire where the token holds a scope outside of its profile; silent for a token that no profile selects."""
    for profile, selects, allows in params.compiled:
        if not selects(observation, token, context.tier):
            continue
        outside = [scope for scope in token.scopes if not allows(scope)]
        if not outside:
            return None
        return Violation(
            RULE.id,
            Severity.HIGH,
            f'holds scopes outside of the profile "{profile}": {listed(outside)}',
            {"profile": profile, "scopes": outside},
        )
    return None


def unassessable(params: Profiles, _setting: Setting) -> str | None:
    """Return a reason where there are no profiles."""
    return None if params.profiles else "no profiles are configured; set profiles"


RULE = Rule(
    id="DT-SCP-04",
    title="Outside approved scope profile",
    kind=Kind.SNAPSHOT,
    severity="high",
    test="scopes are not a subset of the profile that the token's name, owner, source or environment chooses",
    rationale="What a kind of token needs is known; anything beyond it was added by mistake, in haste or on purpose.",
    remediation="Remove the scope, or have the profile extended by whoever approves it.",
    controls={
        Framework.OWASP_NHI: ("NHI5:2025",),
        Framework.NIST_800_53: ("AC-6(7)", "CM-6"),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("7.2.2",),
        Framework.CIS: ("6.8",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.2.2.a",),
        Framework.DORA: ("Art9",),
    },
    params=Profiles,
    check=check,
    unassessable=unassessable,
    example=(
        "profiles = [\n"
        '  { profile = "ingest", name = "ingest-*", scopes = ["*.ingest", "DataImport"] },\n'
        '  { profile = "read only", owner = ["svc-dashboards", "svc-reports"], scopes = ["*.read"] },\n'
        "]"
    ),
    sample=Sample(
        metadata={"scopes": ("logs.ingest", "logs.read")},
        params={"profiles": [{"profile": "ingest", "name": "ingest-*", "scopes": ["*.ingest"]}]},
    ),
)
