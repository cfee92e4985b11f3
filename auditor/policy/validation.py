"""Whether a policy fits the rules: every problem at once, each with the path of its key."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from auditor.model.spelling import meant
from auditor.policy.base import Params, Rule
from auditor.policy.document import PolicyDocument, RuleSettings
from auditor.policy.written.validation import check_written

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of the document: ``("rules", "DT-EXP-02", "max_days", "high")``."""

_IN_TOML_WORDS: Final = {
    "string_type": "must be text in quotes",
    "path_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list, […]",
    "frozen_set_type": "must be a list, […]",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
}
"""What pydantic says in Python's words, in TOML's."""


def check_document(document: PolicyDocument, rules: Iterable[Rule]) -> list[tuple[KeyPath, str]]:
    """Return what is wrong in the document's rules: unknown ids, unknown parameters, values that do not fit.

    Empty exactly when the document names no unknown rule, ``document.params_of`` works for every rule, and the
    written rules are sound and pass their tests. The path of a key that is missing is where it belongs.
    """
    known = {rule.id: rule for rule in rules}
    written = {table.id for table in document.rule}
    problems: list[tuple[KeyPath, str]] = list(check_written(document, known))
    for rule_id in document.rules:
        place: KeyPath = ("rules", rule_id)
        rule = known.get(rule_id)
        if rule is None and rule_id in written:
            problems.append((place, f'"{rule_id}" is set up in its own [[rule]] table; move these keys there'))
            continue
        if rule is None:
            problems.append((place, f"unknown rule; {meant(rule_id, known)}"))
            continue
        try:
            document.params_of(rule)
        except ValidationError as error:
            problems.extend((place + path, message) for path, message in _problems_of(error, rule.params))
    return problems


def _problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[KeyPath, str]]:
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        if detail["type"] == "extra_forbidden":
            parent = _model_at(model, path[:-1])
            message = f"unknown parameter; {meant(str(path[-1]), _keys(parent) if parent else ())}"
        elif detail["type"] == "missing":
            message = "is missing; add it"
        elif detail["type"] == "value_error":
            message = str(detail["ctx"]["error"])
        else:
            message = in_toml_words(detail) or said_by_pydantic(detail)
            if isinstance(detail["input"], str | int | float):
                message += f" (got {detail['input']!r:.60})"
        yield path, message


def in_toml_words(detail: ErrorDetails) -> str | None:
    """Return what is wrong in the words of TOML's users; None where only pydantic has words for it."""
    kind = detail["type"]
    if kind in _IN_TOML_WORDS:
        return _IN_TOML_WORDS[kind]
    if kind in {"too_short", "string_too_short"} and detail["ctx"]["min_length"] == 1:
        return "must not be empty"
    return None


def said_by_pydantic(detail: ErrorDetails) -> str:
    """Return what pydantic says is wrong, as the end of a sentence that began with the key."""
    message = detail["msg"].replace("Input should", "must", 1)
    return message[:1].lower() + message[1:]


def _keys(model: type[BaseModel]) -> Collection[str]:
    """The keys of a model's table; a rule's table holds its settings beside its parameters."""
    settings = RuleSettings.model_fields if issubclass(model, Params) else {}
    return [*model.model_fields, *settings]


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model that describes the table at ``path``; indices and the keys of mappings lead no deeper by themselves."""
    current: type[BaseModel] | None = model
    for step in path:
        field = current.model_fields.get(step) if current and isinstance(step, str) else None
        if field is not None:
            current = _model_in(field.annotation)
    return current


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
