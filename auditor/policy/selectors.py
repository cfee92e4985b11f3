"""Which tokens a piece of policy speaks of."""

import re
import warnings
from collections.abc import Callable, Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, SerializerFunctionWrapHandler, model_serializer

from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.table import Table
from auditor.policy.scopes import RiskTier

_VALUES_KEPT: Final = 4096

T = TypeVar("T")
Predicate = Callable[[Observation, TokenMetadata, RiskTier], bool]


def as_tuple(value: object) -> object:
    """Return a text as a list of one: where TOML may hold one or several."""
    return (value,) if isinstance(value, str) else value


def not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return a list of alternatives; raises ``ValueError`` where it has none, since that would mean any value."""
    if not values:
        raise ValueError("must not be empty; where every value will do, leave the key out")
    return values


def _valid_regex(pattern: str) -> str:
    if not pattern:
        raise ValueError("empty, so it would match everything; leave it out or write a pattern")
    try:
        with warnings.catch_warnings(action="error", category=FutureWarning):
            re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    except FutureWarning as warning:  # [[:alpha:]] and the like, which Python takes for something else
        raise ValueError(f"not clear: {str(warning).lower()}; write \\ before the character there") from warning
    return pattern


Globs = Annotated[tuple[str, ...], BeforeValidator(as_tuple, json_schema_input_type=str | tuple[str, ...])]
"""One glob or a list of them, matched without regard to case; any of them will do."""
Alternatives = Annotated[Globs, AfterValidator(not_empty)]
"""Globs, where a list of none would be taken for any value."""
Regex = Annotated[str, AfterValidator(_valid_regex)]
"""A regular expression, searched for anywhere in the value."""


class Selector(Table):
    """Conditions that must all hold; one that is left out always does. Several values of one are alternatives."""

    environment: Alternatives = ()
    """The environment's name in the configuration."""
    name: Alternatives = ()
    """The token's name."""
    name_regex: Regex | None = None
    """A regular expression, searched for in the token's name."""
    owner: Alternatives = ()
    """The token's owner."""
    tag: Alternatives = ()
    """A tag of a source that holds the token."""
    source: Alternatives = ()
    """The name of a source that holds the token."""
    scope: Alternatives = ()
    """At least one scope of the token matches."""
    risk: Annotated[
        tuple[RiskTier, ...],
        BeforeValidator(as_tuple, json_schema_input_type=RiskTier | tuple[RiskTier, ...]),
        AfterValidator(not_empty),
    ] = ()
    """The highest tier among the token's scopes."""
    personal: bool | None = None
    """Whether the token is a personal access token."""

    @model_serializer(mode="wrap")
    def _said(self, dump: SerializerFunctionWrapHandler) -> Mapping[str, object]:
        """Leave out what was left out: a policy that was recorded is read again."""
        return {name: value for name, value in dump(self).items() if value not in (None, (), [])}

    def compile(self) -> Predicate:
        """Return the selector as one function of observation, metadata and risk tier."""
        tests: list[Predicate] = []
        if self.environment:
            environment = remembering(self.environment)
            tests.append(lambda o, _t, _r: environment(o.environment))
        if self.name:
            name = matcher(self.name)
            tests.append(lambda _o, t, _r: name(t.name or ""))
        if self.name_regex is not None:
            search = re.compile(self.name_regex).search
            tests.append(lambda _o, t, _r: search(t.name or "") is not None)
        if self.owner:
            owner = remembering(self.owner)
            tests.append(lambda _o, t, _r: owner(t.owner or ""))
        if self.tag:
            tag = remembering(self.tag)
            tests.append(lambda o, _t, _r: any(map(tag, o.tags)))
        if self.source:
            source = remembering(self.source)
            tests.append(lambda o, _t, _r: any(source(location.source) for location in o.locations))
        if self.scope:
            scope = remembering(self.scope)
            tests.append(lambda _o, t, _r: any(map(scope, t.scopes)))
        if self.risk:
            tiers = frozenset(self.risk)
            tests.append(lambda _o, _t, r: r in tiers)
        if self.personal is not None:
            personal = self.personal
            tests.append(lambda _o, t, _r: (t.personal_access_token is True) is personal)
        if len(tests) == 1:
            return tests[0]
        return lambda o, t, r: all(test(o, t, r) for test in tests)


def _not_all(selector: Selector) -> Selector:
    if not selector.model_fields_set:
        raise ValueError("says nothing, so it would select every token; name what it is to select")
    return selector


Selection = Annotated[Selector, AfterValidator(_not_all)]
"""A selector that leaves something out."""


class ScopeGrant(Selector):
    """Scopes that the selected tokens may hold."""

    scopes: Alternatives
    """Globs over scope names: ``["metrics.ingest", "logs.*"]``."""


def matcher(globs: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a function that tells whether any of the globs matches a whole value, without regard to case."""
    match = re.compile("|".join(translate(glob) for glob in globs), re.IGNORECASE).match
    return lambda value: match(value) is not None


def remembering(globs: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a matcher that remembers its answers, for values that many tokens share: owners and scopes, not names."""
    return lru_cache(maxsize=_VALUES_KEPT)(matcher(globs))
