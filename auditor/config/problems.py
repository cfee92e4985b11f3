"""Turns pydantic's errors into problems that name the file, the line, the key and the mend."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from auditor.config.toml_lines import KeyPath, dotted, line_of, lines_of
from auditor.model.errors import Problem
from auditor.model.spelling import meant
from auditor.policy.validation import in_toml_words, said_by_pydantic

_SHOWN_LENGTH: Final = 20


class Written(Protocol):
    """What a person wrote, in one file or several."""

    def has(self, path: KeyPath) -> bool:
        """Whether this key is in it."""
        ...

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem with a key, or with one that is missing, at its place."""
        ...


class Document:
    """A TOML file that was read: its values, and where each key stands."""

    def __init__(self, path: Path, text: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = values
        self._text = text

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        """Where each key stands: as much work as reading the values, and asked for only where there is a problem."""
        return lines_of(self._text)

    def has(self, path: KeyPath) -> bool:
        """Whether the file holds this key."""
        return path in self._lines

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem with a key, or with one that is missing, at its line."""
        return Problem(self.place(path), f"{dotted(path)}: {message}" if path else message)

    def place(self, path: KeyPath) -> str:
        """Return file and line of a key, or of the nearest thing that would hold it."""
        line = line_of(self._lines, path)
        return f"{self.path}:{line}" if line else str(self.path)


def problems_of(
    written: Written, error: ValidationError, model: type[BaseModel], prefix: KeyPath = ()
) -> Iterator[Problem]:
    """Yield one problem for each thing that pydantic found; ``prefix`` is where ``model`` stands in it."""
    seen: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        path, location = prefix, detail["loc"]
        for position, part in enumerate(location):
            # Not all of a location are keys: it names the branches of a union, and "[key]" where a name is wrong.
            if written.has((*path, part)) or part in _keys_at(model, location[:position]):
                path = (*path, part)
        if path not in seen:  # the other branches of a union complain of the same key
            seen.add(path)
            yield written.problem(path, _message(detail, model))


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, location = detail["type"], detail["loc"]
    if kind == "extra_forbidden":
        return f"unknown key; {meant(str(location[-1]), _keys_at(model, location[:-1]))}"
    if kind == "missing":
        return "is missing; add it"
    if "error" in detail.get("ctx", {}):  # of our own validators, which say it well
        return str(detail["ctx"]["error"])
    return in_toml_words(detail) or said_by_pydantic(detail) + _given(detail)


def _given(detail: ErrorDetails) -> str:
    """Show a value only where it is a number, or a short text in place of a choice: others might be secrets."""
    value = detail["input"]
    is_choice = detail["type"] in {"literal_error", "enum"} and isinstance(value, str) and len(value) <= _SHOWN_LENGTH
    return f" (got {value!r})" if is_choice or isinstance(value, int | float) else ""


def _keys_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a model knows at a place inside it."""
    models = [model]
    for part in location:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        # A position, the name of a table and that of a union's branch lead no deeper by themselves.
        models = [inner for field in fields for inner in _models_in(field.annotation)] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
