"""DT-STA-05: a token that goes by another name than before."""

from functools import cached_property
from operator import attrgetter
from typing import Final

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import ReversibleParams, standing, steps
from auditor.policy.rules.scp_04 import Profile
from auditor.policy.sampling import history_of
from auditor.policy.selectors import Predicate
from auditor.policy.wording import iso, iso_or_none, shortened

_name: Final = attrgetter("name")


class Renamed(ReversibleParams):
    """When a new name matters more, and how long it is spoken of."""

    profiles: tuple[Profile, ...] = ()
    """The approved profiles, as in DT-SCP-04: a name that chooses another one than before makes the finding medium."""

    @cached_property
    def compiled(self) -> tuple[tuple[str, Predicate], ...]:
        """``profiles`` as name and selector."""
        return tuple((profile.profile, profile.compile()) for profile in self.profiles)


def check(observation: Observation, token: TokenMetadata, params: Renamed, context: Context) -> Violation | None:
    """Fire where ``name`` differs from what it was, until it is put back; medium with another profile."""
    step = standing(steps(context.history, observation), params, context.now, _name)
    if step is None:
        return None
    before = _profile(observation, token, step.before.name, params, context)
    after = _profile(observation, token, step.after.name, params, context)
    changes_profile = before != after
    return Violation(
        RULE.id,
        Severity.MEDIUM if changes_profile else Severity.LOW,
        f"renamed from {_quoted(step.before.name)} to {_quoted(step.after.name)} {step.between}"
        + (f", which makes its profile {_quoted(after)} in place of {_quoted(before)}" if changes_profile else ""),
        {
            "name_before": step.before.name,
            "name": step.after.name,
            "profile_before": before,
            "profile": after,
            "changed_after": iso_or_none(step.since),
            "seen_at": iso(step.at),
        },
    )


def _profile(
    observation: Observation, token: TokenMetadata, name: str | None, params: Renamed, context: Context
) -> str | None:
    named = msgspec.structs.replace(token, name=name)
    return next((profile for profile, selects in params.compiled if selects(observation, named, context.tier)), None)


def _quoted(text: str | None) -> str:
    return "none" if text is None else f'"{shortened(text)}"'


RULE = Rule(
    id="DT-STA-05",
    title="Renamed",
    kind=Kind.HISTORY,
    severity="low (medium if another scope profile applies by the new name)",
    test=(
        "name differs from that of an earlier lookup and was not put back; a name that came and went between two "
        "lookups cannot be seen"
    ),
    rationale=(
        "People, dashboards and policies know a token by its name. A new one can take it out of a selector or a "
        "profile that it was judged by."
    ),
    remediation="Ask the owner why; see that inventories and the selectors of the policy still find the token.",
    controls={
        Framework.OWASP_NHI: ("NHI9:2025",),
        Framework.NIST_800_53: ("AC-2(4)", "CM-3"),
        Framework.ISO_27001: ("A.5.9",),
        Framework.PCI_DSS: ("8.2.4",),
        Framework.CIS: ("5.5",),
        Framework.SOC_2: ("CC8.1",),
    },
    params=Renamed,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    example=(
        "keep_days = 14\n"
        "profiles = [\n"
        '  { profile = "ingest", name = "ingest-*", scopes = ["*.ingest"] },\n'
        '  { profile = "read only", name = "read-*", scopes = ["*.read"] },\n'
        "]"
    ),
    sample=Sample(history=history_of(name="read-frankfurt")),
)
