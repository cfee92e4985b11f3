"""Turns pydantic's errors into problems that name the file, the line, the key and the mend."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from auditor.config.toml_lines import Path as KeyPath
from auditor.config.toml_lines import dotted, line_of, lines_of
from auditor.model.errors import Problem


class Document:
    """A TOML file that was read: its values, and where each key stands."""

    def __init__(self, path: Path, text: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = values
        self._lines = lines_of(text)

    def has(self, path: KeyPath) -> bool:
        """Whether the file itself holds this key."""
        value: Any = self.values
        for part in path:
            is_there = part in value if isinstance(value, Mapping) else _is_position(value, part)
            if not is_there:
                return False
            value = value[part]
        return True

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem with a key of this file."""
        line = line_of(self._lines, path)
        place = f"{self.path}:{line}" if line else str(self.path)
        return Problem(place, f"{dotted(path)}: {message}" if path else message)


def problems_of(
    document: Document, error: ValidationError, model: type[BaseModel], prefix: KeyPath = ()
) -> Iterator[Problem]:
    """Yield one problem for each thing that pydantic found; ``prefix`` is where ``model`` stands in the file."""
    seen: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        path = prefix + _in_file(document, prefix, detail["loc"])
        if path in seen:  # the other branches of a union complain of the same key
            continue
        seen.add(path)
        yield document.problem(path, _message(detail, model))


def _message(detail: Any, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        return unknown(key, fields_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return "is missing; add it"
    if kind in {"value_error", "assertion_error"}:
        return str(detail["ctx"]["error"])
    message = str(detail["msg"])
    return message[0].lower() + message[1:] + _given(detail)


_SHOWN = frozenset({"literal_error", "enum", "bool_parsing", "int_parsing", "float_parsing", "greater_than",
    "greater_than_equal", "less_than", "less_than_equal"})  # fmt: skip


def _given(detail: Any) -> str:
    """Show a wrong value where only a choice or a number was expected; anything else might be a secret."""
    return f" (got {detail['input']!r})" if detail["type"] in _SHOWN and len(repr(detail["input"])) <= 60 else ""


def unknown(key: str, known: Sequence[str]) -> str:
    """Say that a key is unknown, with the nearest known one."""
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(sorted(known)) or 'none'}"
    return f"unknown key; {hint}"


def fields_at(model: type[BaseModel], path: Sequence[str | int]) -> Sequence[str]:
    """Return the keys that a model knows at a place inside it."""
    current: Any = model
    for part in path:
        for candidate in _models_in(current):
            if isinstance(part, str) and part in candidate.model_fields:
                current = candidate.model_fields[part].annotation
                break
    known: list[str] = []
    for candidate in _models_in(current):
        known.extend(candidate.model_fields)
    return known


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _models_in(argument)


def _in_file(document: Document, prefix: KeyPath, location: Sequence[str | int]) -> KeyPath:
    """Drop what pydantic adds to a location: the names of a union's branches."""
    path: KeyPath = ()
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if document.has(prefix + path + (part,)) or (is_last and _may_be_missing(part)):
            path = (*path, part)
    return path


def _may_be_missing(part: str | int) -> bool:
    """Whether a location's end is a key that the file lacks rather than the name of a union's branch."""
    return isinstance(part, str) and part.isidentifier() and part.islower() and part not in {"str", "dict"}


def _is_position(value: Any, part: str | int) -> bool:
    return isinstance(value, list) and isinstance(part, int) and part < len(value)
