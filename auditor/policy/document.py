"""A policy as people write it: which rules apply, to which tokens, with which parameters and severities."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, ConfigDict

from auditor.model.finding import Severity
from auditor.model.table import Table
from auditor.policy.base import Params, Rule
from auditor.policy.scopes import RiskSettings
from auditor.policy.selectors import Selection
from auditor.policy.waivers import WaiverSettings
from auditor.policy.written.document import WrittenRule


class RuleSettings(Table):
    """What a ``[rules."DT-…"]`` table may say of any rule, beside the rule's own parameters."""

    model_config = ConfigDict(extra="allow")

    enabled: bool = True
    """Whether the rule applies at all."""
    severity: Severity | None = None
    """Replaces the rule's own severity, ladder and all."""
    only: tuple[Selection, ...] = ()
    """Apply the rule to tokens that one of these selects; empty: to all."""
    exempt: tuple[Selection, ...] = ()
    """Never apply it to tokens that one of these selects."""


class FeedPaths(Table):
    """The ``[feeds]`` table: files that say what the API does not know, relative to the policy file."""

    owners: str | None = None
    """One name a line: people and services that may own tokens."""
    leavers: str | None = None
    """CSV ``owner,left_at``; of several rows of one owner the first date counts."""
    attestations: str | None = None
    """CSV ``token,confirmed_at``, the token as its public id; of several rows of one token the last date counts."""


def _tables(value: object) -> object:
    if isinstance(value, Mapping):
        raise ValueError("is a list of tables; write [[rule]], with two brackets, above each rule")
    return value


class PolicyDocument(Table):
    """A policy file, or several laid over one another. Rules that it does not name apply with their defaults."""

    name: str
    """What the policy is called in reports."""
    risk: RiskSettings = RiskSettings()
    """How much power a scope gives."""
    feeds: FeedPaths = FeedPaths()
    """Files that say what the API does not know."""
    waivers: WaiverSettings = WaiverSettings()
    """What waivers may be."""
    rules: Mapping[str, RuleSettings] = {}
    """One table a rule, by its id. A rule that has none applies with its defaults."""
    rule: Annotated[
        tuple[WrittenRule, ...], BeforeValidator(_tables, json_schema_input_type=tuple[WrittenRule, ...])
    ] = ()
    """Rules of your own, each a `[[rule]]` table; see docs/writing-rules.md."""

    @property
    def content(self) -> bytes:
        """The policy as JSON; equal documents have equal contents whatever their layout."""
        return msgspec.json.encode(self.model_dump(mode="json"), order="deterministic")

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's content, hex."""
        return hashlib.sha256(self.content).hexdigest()

    def settings_of(self, rule_id: str) -> RuleSettings | None:
        """Return what is said of a rule beside its parameters: of a written one, in its own table. None: nothing."""
        written = next((rule for rule in self.rule if rule.id == rule_id), None)
        if written is None:
            return self.rules.get(rule_id)
        return RuleSettings(enabled=written.enabled, only=written.only, exempt=written.exempt)

    def params_of(self, rule: Rule) -> Params:
        """Return the rule's parameters; raises ``pydantic.ValidationError`` where the document's do not fit."""
        settings = self.rules.get(rule.id)
        extra: dict[str, Any] = dict(settings.model_extra or {}) if settings else {}
        return rule.params.model_validate(extra)
