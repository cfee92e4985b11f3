"""Reads the configuration and the policies whole, and reports everything that is wrong at once."""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from auditor.alerts.base import HookKind, HookSettings
from auditor.alerts.registry import kinds as hook_kinds
from auditor.config.document import AuditorDocument, PolicySettings, ScheduleSettings
from auditor.config.problems import Document, near, problems_of
from auditor.config.toml_lines import KeyPath
from auditor.model.errors import ConfigError, Problem
from auditor.policy.document import PolicyDocument
from auditor.policy.registry import rules
from auditor.policy.validation import check_document
from auditor.sources.base import SourceKind, SourceSettings
from auditor.sources.registry import kinds as source_kinds

_TOML_PLACE: Final = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that is sound in itself; nothing outside the files was asked."""

    path: Path
    document: AuditorDocument
    sources: Mapping[str, tuple[SourceKind[Any], SourceSettings]]
    hooks: Mapping[str, tuple[HookKind, HookSettings]]
    policy: PolicyDocument
    policy_directory: Path
    """What the policy's feeds are relative to: the directory of its first file."""

    @property
    def directory(self) -> Path:
        """What relative paths of the configuration are relative to."""
        return self.path.parent

    def environments_matching(self, globs: Sequence[str]) -> list[str]:
        """Return the names of configured environments that any glob matches, in their order."""
        return [name for name in self.document.environments if any(fnmatchcase(name, glob) for glob in globs)]


def load(path: Path) -> Config:
    """Read a configuration file and the policies that it names.

    Raises ``ConfigError`` with every problem of every file, each with its place and its mend.
    """
    problems: list[Problem] = []
    file = _read(path, "name another file with --config or $AUDITOR_CONFIG", problems)
    if file is None:
        raise ConfigError(*problems)
    document = _checked(file, problems)
    sources = _members(file, "sources", source_kinds(), problems)
    hooks = _members(file, "hooks", hook_kinds(), problems)
    problems.extend(_loose_ends(file))
    policy, policy_directory = _policy(file, problems)
    if problems or document is None or policy is None:
        raise ConfigError(*problems)
    return Config(path, document, sources, hooks, policy, policy_directory)


def _read(path: Path, mend: str, problems: list[Problem]) -> Document | None:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return Document(path, text, tomllib.loads(text))
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read: {error.strerror}; {mend}"))
    except UnicodeDecodeError:
        problems.append(Problem(str(path), "is not UTF-8 text; save it as UTF-8"))
    except RecursionError:
        problems.append(Problem(str(path), "is nested too deeply; no key of it is"))
    except tomllib.TOMLDecodeError as error:
        message, line = _told(error)
        problems.append(Problem(f"{path}:{line}" if line else str(path), f"is not TOML: {message}"))
    return None


def _told(error: tomllib.TOMLDecodeError) -> tuple[str, str | None]:
    """Return what is wrong, and the line where that is known."""
    match = _TOML_PLACE.fullmatch(str(error))
    return (f"{match[1]} (column {match[3]})", match[2]) if match else (str(error), None)


def _checked(file: Document, problems: list[Problem]) -> AuditorDocument | None:
    try:
        return AuditorDocument.model_validate(file.values)
    except ValidationError as error:
        problems.extend(problems_of(file, error, AuditorDocument))
        return None


def _members(file: Document, table: str, kinds: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check each table of sources or hooks against the settings of its type."""
    found: dict[str, Any] = {}
    for name, values in _tables(file, table).items():
        if not isinstance(values, Mapping):
            continue  # the document's own check says so
        wanted = values.get("type")
        kind = kinds.get(wanted) if isinstance(wanted, str) else None
        if kind is None:
            problems.append(file.problem((table, name, "type"), _unknown_type(wanted, list(kinds))))
            continue
        try:
            found[name] = (kind, kind.settings.model_validate(values))
        except ValidationError as error:
            problems.extend(problems_of(file, error, kind.settings, (table, name)))
    return found


def _unknown_type(wanted: object, known: Collection[str]) -> str:
    if wanted is None:
        return f"is missing; one of {', '.join(sorted(known))}"
    return f'unknown type "{wanted}"; {near(wanted, known)}' if isinstance(wanted, str) else "must be text in quotes"


def _policy(file: Document, problems: list[Problem]) -> tuple[PolicyDocument | None, Path]:
    """Lay the policy files over one another and check the whole."""
    directory = file.path.parent
    try:
        names = PolicySettings.model_validate(file.values.get("policy", {})).files
    except ValidationError:  # the document's own check says so
        return None, directory
    paths = [directory / name for name in names]
    files = [_read(path, f"put it there, or correct policy.files in {file.path}", problems) for path in paths]
    layers = [layer for layer in files if layer is not None]
    if len(layers) < len(paths):
        return None, directory
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _laid_over(merged, _with_feeds_from(layer, paths[0].parent))
    whole = _Layers(layers)
    try:
        policy = PolicyDocument.model_validate(merged)
    except ValidationError as error:
        problems.extend(problems_of(whole, error, PolicyDocument))
        return None, directory
    problems.extend(whole.problem(path, message) for path, message in check_document(policy, rules().values()))
    return policy, paths[0].parent


class _Layers:
    """Policy files laid over one another: a problem is put to the file that has the last word on its key."""

    def __init__(self, layers: Sequence[Document]) -> None:
        self._last_first = layers[::-1]

    def has(self, path: KeyPath) -> bool:
        """Whether any of the files holds this key."""
        return any(layer.has(path) for layer in self._last_first)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem with a key of the policy, or with one that is missing."""
        for end in range(len(path), 0, -1):
            for layer in self._last_first:
                if layer.has(path[:end]):
                    return layer.problem(path, message)
        return self._last_first[0].problem(path, message)


def _with_feeds_from(layer: Document, directory: Path) -> Mapping[str, Any]:
    """Return a policy file's values with the paths of its feeds, which start at that file, started at ``directory``."""
    feeds = layer.values.get("feeds")
    if layer.path.parent == directory or not isinstance(feeds, Mapping):
        return layer.values
    moved = {
        name: os.path.relpath(layer.path.parent / path, directory) if isinstance(path, str) else path
        for name, path in feeds.items()
    }
    return {**layer.values, "feeds": moved}


_MERGED_DEPTH = 3
"""``rules`` → its tables → their parameters: so deep tables are merged; a parameter is replaced whole, table or not."""


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any], depth: int = 1) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        before = merged.get(key)
        if depth < _MERGED_DEPTH and isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = _laid_over(before, value, depth + 1)
        else:
            merged[key] = value
    return merged


def _loose_ends(file: Document) -> Iterator[Problem]:
    """Find names that point nowhere: sources of unknown environments, schedules that match none."""
    environments = _tables(file, "environments")
    if not environments:
        return  # the document's own check says so
    for name, values in _tables(file, "sources").items():
        environment = values.get("environment") if isinstance(values, Mapping) else None
        if isinstance(environment, str) and environment not in environments:
            path = ("sources", name, "environment")
            yield file.problem(path, f'unknown environment "{environment}"; {near(environment, environments)}')
    for name, values in _tables(file, "schedules").items():
        try:
            globs = ScheduleSettings.model_validate(values).environments
        except ValidationError:  # the document's own check says so
            continue
        for glob in globs:
            if not any(fnmatchcase(environment, glob) for environment in environments):
                path = ("schedules", name, "environments")
                yield file.problem(path, f'"{glob}" matches no environment; {near(glob, environments)}')


def _tables(file: Document, name: str) -> Mapping[str, Any]:
    """Return a table of tables, empty where the file has something else there."""
    tables = file.values.get(name)
    return tables if isinstance(tables, Mapping) else {}
