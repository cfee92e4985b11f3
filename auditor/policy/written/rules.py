"""Makes rules, as the engine applies them, of a policy's ``[[rule]]`` tables."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from auditor.model.finding import Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Kind, NoParams, NotAssessable, Rule
from auditor.policy.written.condition import Bindings, variables_in
from auditor.policy.written.document import WrittenRule
from auditor.policy.written.message import discriminate, fill_in, variables_shown
from auditor.policy.written.variables import VARIABLES, json_value


def made_of(tables: Sequence[WrittenRule]) -> Mapping[str, Rule]:
    """Return the rules of sound tables by id; conditions are compiled when they are first evaluated."""
    shared = _Shared(tables)
    return {table.id: _rule(table, shared) for table in tables}


class _Shared:
    """What the rules of one policy share: the values of variables for the token at hand."""

    def __init__(self, tables: Sequence[WrittenRule]) -> None:
        self._tables = tables

    @cached_property
    def bindings(self) -> Bindings:
        return Bindings(name for table in self._tables for name in variables_in(table.when))


class _WrittenCheck:
    """The check of one written rule."""

    def __init__(self, table: WrittenRule, shared: _Shared) -> None:
        self._table = table
        self._shared = shared

    @cached_property
    def _evidence(self) -> tuple[str, ...]:
        """What a finding shows of what the rule decided on; ``now`` would change it in every sweep."""
        return tuple(name for name in variables_in(self._table.when) if name not in {"now", "previous"})

    @cached_property
    def _named(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*variables_shown(self._table.message), *self._table.discriminator)))

    def __call__(
        self, observation: Observation, token: TokenMetadata, _params: NoParams, context: Context
    ) -> Violation | None:
        table = self._table
        try:
            if not self._shared.bindings.evaluate(table.when, observation, token, context):
                return None
            values = {
                name: VARIABLES[name].read(observation, token, context)
                for name in dict.fromkeys((*self._evidence, *self._named))
            }
        except NotAssessable as error:
            error.rule_id = table.id
            raise
        return Violation(
            table.id,
            table.severity,
            fill_in(table.message, values),
            {name: json_value(values[name]) for name in self._evidence},
            discriminate(table.discriminator, values),
        )


def _rule(table: WrittenRule, shared: _Shared) -> Rule:
    check: Callable[[Observation, TokenMetadata, Any, Context], Violation | None] = _WrittenCheck(table, shared)
    return Rule(
        id=table.id,
        title=table.title,
        kind=Kind.HISTORY if "previous" in table.when else Kind.SNAPSHOT,
        severity=table.severity.value,
        test=" ".join(table.when.split()),
        rationale=table.rationale.strip(),
        remediation=table.remediation.strip(),
        controls=table.controls,
        params=NoParams,
        check=check,
    )
