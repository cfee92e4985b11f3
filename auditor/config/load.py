"""Reads the configuration and the policies whole, and reports everything that is wrong at once."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from auditor.alerts.base import HookKind, HookSettings
from auditor.alerts.registry import kinds as hook_kinds
from auditor.config.document import AuditorDocument
from auditor.config.problems import Document, problems_of
from auditor.config.toml_lines import Path as KeyPath
from auditor.model.errors import ConfigError, Problem
from auditor.policy.document import PolicyDocument
from auditor.policy.registry import rules
from auditor.policy.validation import check_document
from auditor.sources.base import SourceKind, SourceSettings
from auditor.sources.registry import kinds as source_kinds


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
    file = _read(path, problems)
    if file is None:
        raise ConfigError(*problems)
    document = _checked(file, problems)
    sources = _members(file, "sources", source_kinds(), problems)
    hooks = _members(file, "hooks", hook_kinds(), problems)
    policy, policy_directory = _policy(file, document, problems)
    if document is not None:
        problems.extend(_loose_ends(file, document, sources))
    if problems or document is None or policy is None:
        raise ConfigError(*problems)
    return Config(path, document, sources, hooks, policy, policy_directory)


def _read(path: Path, problems: list[Problem]) -> Document | None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        problems.append(Problem(str(path), "is not UTF-8 text; save it as UTF-8"))
        return None
    except OSError as error:
        problems.append(
            Problem(str(path), f"cannot be read: {error.strerror}; name another file with --config or $AUDITOR_CONFIG")
        )
        return None
    try:
        return Document(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(str(path), f"is not TOML: {error}"))
        return None


def _checked(file: Document, problems: list[Problem]) -> AuditorDocument | None:
    try:
        return AuditorDocument.model_validate(file.values)
    except ValidationError as error:
        problems.extend(problems_of(file, error, AuditorDocument))
        return None


def _members(file: Document, table: str, kinds: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check each table of sources or hooks against the settings of its type."""
    found: dict[str, Any] = {}
    tables = file.values.get(table, {})
    for name, values in tables.items() if isinstance(tables, Mapping) else ():
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


def _unknown_type(wanted: object, known: Sequence[str]) -> str:
    if wanted is None:
        return f"is missing; one of {', '.join(sorted(known))}"
    near = get_close_matches(str(wanted), known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(known))}"
    return f'unknown type "{wanted}"; {hint}'


def _policy(
    file: Document, document: AuditorDocument | None, problems: list[Problem]
) -> tuple[PolicyDocument | None, Path]:
    """Lay the policy files over one another and check the whole."""
    paths = [file.path.parent / name for name in document.policy.files] if document else []
    files = [read for path in paths if (read := _read(path, problems)) is not None]
    directory = paths[0].parent if paths else file.path.parent
    if not paths and document is not None:
        problems.append(file.problem(("policy", "files"), "names no policy file; name at least one"))
    if len(files) < len(paths) or not files:
        return None, directory
    merged: dict[str, Any] = {}
    for layer in files:
        merged = _laid_over(merged, layer.values)

    whole = _Layers(files, merged)
    try:
        policy = PolicyDocument.model_validate(merged)
    except ValidationError as error:
        problems.extend(problems_of(whole, error, PolicyDocument))
        return None, directory
    problems.extend(whole.problem(path, message) for path, message in check_document(policy, rules().values()))
    return policy, directory


class _Layers(Document):
    """Policy files laid over one another: a problem is put to the file that has the last word on its key."""

    def __init__(self, layers: Sequence[Document], merged: Mapping[str, Any]) -> None:
        super().__init__(layers[-1].path, "", merged)
        self._layers = layers

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem with a key of the policy."""
        for end in range(len(path), 0, -1):
            for layer in reversed(self._layers):
                if layer.has(path[:end]):
                    return layer.problem(path, message)
        return self._layers[-1].problem(path, message)


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


def _loose_ends(
    file: Document, document: AuditorDocument, sources: Mapping[str, tuple[SourceKind[Any], SourceSettings]]
) -> list[Problem]:
    """Find names that point nowhere: sources of unknown environments, schedules that match none."""
    problems: list[Problem] = []
    known = list(document.environments)
    for name, (_kind, settings) in sources.items():
        environment = getattr(settings, "environment", None)
        if isinstance(environment, str) and environment not in document.environments:
            near = get_close_matches(environment, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"configured are {', '.join(known)}"
            problems.append(
                file.problem(("sources", name, "environment"), f'unknown environment "{environment}"; {hint}')
            )
    for name, schedule in document.schedules.items():
        problems.extend(
            file.problem(
                ("schedules", name, "environments"),
                f'"{glob}" matches no environment; configured are {", ".join(known)}',
            )
            for glob in schedule.environments
            if not any(fnmatchcase(environment, glob) for environment in known)
        )
    return problems
