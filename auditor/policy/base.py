"""What a rule is: metadata for people, parameters for policies, and one pure check."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from auditor.model.finding import Violation
from auditor.model.history import NO_HISTORY, History
from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.spelling import meant
from auditor.model.table import Table
from auditor.policy.scopes import RiskSettings, RiskTier


class Kind(StrEnum):
    """What a rule needs to see."""

    SNAPSHOT = "snapshot"
    """One observation."""
    HISTORY = "history"
    """Earlier observations too."""
    FLEET = "fleet"
    """Other tokens."""
    AUDITOR = "auditor"
    """The auditor itself."""


class Framework(StrEnum):
    """Catalogues of controls that rules are mapped to; which rule serves which control is the project's judgement."""

    OWASP_NHI = "OWASP NHI Top 10 2025"
    NIST_800_53 = "NIST SP 800-53 r5"
    ISO_27001 = "ISO/IEC 27001:2022"
    PCI_DSS = "PCI DSS v4"
    CIS = "CIS v8.1"
    SOC_2 = "SOC 2"
    NIS2 = "NIS2"
    DORA = "DORA"

    @property
    def slug(self) -> str:
        """Its name on the command line: ``nist-800-53``."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def named(cls, name: str) -> "Framework":
        """Return the framework of that name, the long one or the short one; raises ``ValueError`` with those known."""
        for framework in cls:
            if name.casefold() in (framework.slug, framework.value.casefold()):
                return framework
        raise ValueError(f'unknown framework "{name}"; {meant(name, [one.slug for one in cls])}')


Controls = Mapping[Framework, tuple[str, ...]]
"""Framework → ids of its controls, as that framework writes them."""


class Params(Table):
    """Parameters of a rule as a policy file writes them; unknown keys are errors."""


class NoParams(Params):
    """For a rule without parameters."""


class Feeds(msgspec.Struct, frozen=True):
    """What the organisation knows beside the API. None: no such feed is configured or it could not be read."""

    owners: frozenset[str] | None = None
    """Names of people and services that may own tokens, casefolded."""
    leavers: Mapping[str, datetime] | None = None
    """Owner, casefolded → when they left."""
    attestations: Mapping[str, datetime] | None = None
    """Token's public id → when its owner last confirmed that it is needed."""
    unread: Mapping[str, str] = {}
    """Feeds that are configured but could not be read, by field name, with the reason; each such feed is None."""

    def why_missing(self, name: str) -> str:
        """Return why the feed of that field name is None, for the answer of a rule that needs it."""
        reason = self.unread.get(name)
        if reason is not None:
            return f'feed "{name}" could not be read: {reason}'
        return f'no feed "{name}" is configured; name its file under [feeds] of the policy'


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a check may know beside the observation."""

    now: datetime
    risk: RiskSettings
    tier: RiskTier
    """The highest tier among the token's scopes."""
    feeds: Feeds
    environment_kind: str | None
    """``production``, ``test`` or whatever else the configuration says of the environment."""
    history: History = NO_HISTORY
    """What earlier sweeps saw of the token."""


class NotAssessable(Exception):
    """Raised by a check that cannot tell of one token: neither a pass nor a violation, and it ends no finding."""

    rule_id: str = ""
    """Of the rule that cannot tell; who raises it past the rule sets it."""


class Setting(NamedTuple):
    """Where a rule would be applied, before any token is seen."""

    feeds: Feeds
    environment_kind: str | None


class Sight(NamedTuple):
    """What there is to see of a token, in so far as rules have nothing to speak of without it."""

    ends: bool
    """Whether it has an expiration date."""
    is_used: bool
    """Whether it has a date of a last use."""
    is_changed: bool
    """Whether rules are shown earlier states of it."""
    is_watched: bool
    """Whether rules are shown uses of it that sweeps saw come in."""


def sight_of(token: TokenMetadata, history: History) -> tuple[bool, bool, bool, bool]:
    """Return what there is to see of a token: a ``Sight``, as a plain tuple since that is made faster."""
    ends, is_used, found = token.expiration_date is not None, token.last_used_date is not None, history.last_found
    is_first_use = is_used and found is not None and found.last_used_date is None
    return ends, is_used, bool(history.states), bool(history.uses) or is_first_use


Check = Callable[[Observation, TokenMetadata, Any, Context], Violation | None]
"""``check(observation, metadata, params, context)``: pure; ``metadata`` is the observation's or, for a rule that speaks
of missing tokens, what was last found, or only the id of one that never was; never None."""


FleetCheck = Callable[[Any, Any, datetime], Iterable[Violation]]
"""``check(candidate, params, now)``: pure; what is said of whom or what the candidate stands for."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A token that a rule speaks of, for the example finding that its documentation shows.

    Only what differs from an ordinary token, which no rule speaks of, is said here; ``auditor.policy.sampling`` has
    that token, the instant that it is judged at, and the evaluation.
    """

    metadata: Mapping[str, Any] | None = {}
    """Fields of ``TokenMetadata`` in place of the ordinary token's; None: the token is missing."""
    observation: Mapping[str, Any] = {}
    """Fields of ``Observation`` in place of the ordinary one's."""
    history: History = NO_HISTORY
    candidate: msgspec.Struct | None = None
    """For a fleet rule: what it looks at, in place of a token."""
    says: Callable[[Any], Iterable[Violation]] | None = None
    """For a rule whose check takes things of its own: that check of a sample, given the rule's parameters."""
    params: Mapping[str, Any] = {}
    """The rule's parameters as a policy file writes them, where the defaults do not make it speak."""
    feeds: Feeds = Feeds()


def _always(_params: Any, _setting: Setting) -> str | None:
    return None


def _of_any(_sight: Sight) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the catalogue.

    ``unassessable`` answers why the rule cannot be applied with these parameters in this setting (an empty list of
    networks, a feed that is not there), or None when it can. A rule that is not assessed is never passed.
    """

    id: str
    title: str
    kind: Kind
    severity: str
    """The default severity in words, as the catalogue prints it: ``high (critical with a high-risk scope)``."""
    test: str
    """What it tests, in words: ``expirationDate is null and the token is enabled``."""
    rationale: str
    """Why it matters."""
    remediation: str
    """What to do about it."""
    controls: Controls
    params: type[Params]
    check: Callable[..., Violation | Iterable[Violation] | None]
    """By kind: a ``Check`` where it is snapshot or history, a ``FleetCheck`` where it has ``candidates``, and else what
    the stage that runs it says."""
    candidates: type[msgspec.Struct] | None = None
    """What a fleet rule looks at: a type of ``auditor.policy.fleet``, of which the store reads all there are."""
    ends_with_storage: bool = False
    """Whether a finding ends when no source holds its token any more; other findings wait for a lookup."""
    needs_every_source: bool = False
    """Whether it speaks because something is in no store, so that it needs every source read to its end."""
    unassessable: Callable[[Any, Setting], str | None] = _always
    can_speak: Callable[[Sight], bool] = _of_any
    """Whether it can speak of a token of which there is so much to see; where it cannot, it is not asked. For snapshot
    and history rules, but not those that speak of missing tokens."""
    speaks_of_missing: bool = False
    """Whether it looks at observations that are missing, and at no others."""
    example: str = ""
    """Body of a ``[rules."DT-…"]`` table in TOML that shows how to set it up; empty: the defaults say enough."""
    sample: Sample | None = None
    """A token that it speaks of; None: its documentation shows no example finding."""
