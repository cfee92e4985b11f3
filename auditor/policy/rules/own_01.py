"""DT-OWN-01: a token that belongs to nobody known."""

from collections.abc import Callable
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Feeds, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.selectors import Globs, remembering
from auditor.policy.wording import shortened


class KnownOwners(Params):
    """Who may own tokens, beside the names in the feed ``owners``."""

    patterns: Globs = ()
    """Globs over the owner's name, matched without regard to case; an owner that matches one is known."""

    @cached_property
    def matches(self) -> Callable[[str], bool]:
        """The test of ``patterns``."""
        return remembering(self.patterns)


def check(_observation: Observation, token: TokenMetadata, params: KnownOwners, context: Context) -> Violation | None:
    """Fire where ``owner`` is absent or empty, or is neither in the feed nor matched by a pattern."""
    owner = (token.owner or "").strip()
    if not owner:
        return Violation(RULE.id, Severity.HIGH, "has no owner", {"owner": token.owner})
    if context.feeds.owners is not None and owner.casefold() in context.feeds.owners:
        return None
    if params.patterns and params.matches(owner):
        return None
    return Violation(
        RULE.id, Severity.HIGH, f'its owner "{shortened(owner)}" is not among the known ones', {"owner": token.owner}
    )


def unassessable(params: KnownOwners, setting: Setting) -> str | None:
    """Return a reason where nothing says who is known, or the feed that should cannot be read."""
    feeds = setting.feeds
    if feeds.owners is not None or (params.patterns and "owners" not in feeds.unread):
        return None
    return feeds.why_missing("owners") + ("" if params.patterns else ", or set patterns")


RULE = Rule(
    id="DT-OWN-01",
    title="Owner missing or not recognised",
    kind=Kind.SNAPSHOT,
    severity="high",
    test="owner is absent, or neither in the feed of owners nor matched by a pattern",
    rationale="Nobody rotates, narrows or misses a token without an owner, and nobody answers when it is found abroad.",
    remediation=(
        "Find who depends on the token; have them create a successor under a known owner, then delete this one. If the "
        "owner is right, add it to the feed or the patterns."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2", "IA-4"),
        Framework.ISO_27001: ("A.5.9", "A.5.16"),
        Framework.PCI_DSS: ("8.2.1",),
        Framework.CIS: ("5.5",),
        Framework.SOC_2: ("CC6.2",),
        Framework.NIS2: ("11.5.4",),
        Framework.DORA: ("Art8",),
    },
    params=KnownOwners,
    check=check,
    unassessable=unassessable,
    example='patterns = ["svc-*", "*@example.com"]',
    sample=Sample(
        metadata={"owner": "jdoe"}, params={"patterns": ["svc-*"]}, feeds=Feeds(owners=frozenset({"mara.lindqvist"}))
    ),
)
