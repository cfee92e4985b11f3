"""Lays policy files over one another, for each environment its own, and keeps where each value was written."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from auditor.config.document import PolicySettings
from auditor.config.problems import Document, problems_of
from auditor.config.reading import read_document
from auditor.config.toml_lines import KeyPath
from auditor.model.errors import ConfigError, Problem
from auditor.model.spelling import meant
from auditor.policy.document import PolicyDocument, RuleSettings
from auditor.policy.registry import rules
from auditor.policy.scopes import RiskSettings
from auditor.policy.validation import check_document
from auditor.policy.written.document import WrittenRule

_MERGED_DEPTH: Final = 3
"""``rules`` → its tables → their parameters: so deep tables are merged; a parameter is replaced whole, table or not."""


class Layers:
    """Policy files laid over one another: the last that holds a key has the last word on it."""

    def __init__(self, layers: Sequence[Document], written_rules: Sequence[Mapping[int, int]]) -> None:
        self._last_first = list(zip(layers, written_rules, strict=True))[::-1]

    def has(self, path: KeyPath) -> bool:
        """Whether any of the files holds this key."""
        return self._holder(path) is not None

    def place(self, path: KeyPath) -> str | None:
        """Return file and line of the last word on a key; None where no file holds it, so that its default stands."""
        replaced_whole = path[:_MERGED_DEPTH]
        found = self._holder(replaced_whole)
        if found is None:
            return None
        holder, positions = found
        own = _own_path(path, positions)
        return holder.place(own) if own is not None and holder.has(own) else None

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem with a key of the policy, or with one that is missing; of the last file that may hold it."""
        for end in range(min(len(path), _MERGED_DEPTH), 0, -1):
            found = self._holder(path[:end])
            if found is not None:
                holder, positions = found
                return holder.problem(_own_path(path, positions) or path, message)
        return self._last_first[0][0].problem(path, message)

    def _holder(self, path: KeyPath) -> tuple[Document, Mapping[int, int]] | None:
        for layer, positions in self._last_first:
            own = _own_path(path, positions)
            if own is not None and layer.has(own):
                return layer, positions
        return None


@dataclass(frozen=True, slots=True)
class Stack:
    """A policy, and the files that it was laid together from."""

    document: PolicyDocument
    files: tuple[Path, ...]
    """Lowest first."""
    written: Layers

    @property
    def directory(self) -> Path:
        """What the policy's feeds are relative to: the directory of its first file."""
        return self.files[0].parent


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a configuration."""

    common: Stack
    """What holds wherever an environment has no files of its own."""
    by_environment: Mapping[str, Stack]
    """Every configured environment's, whether it has files of its own or not."""

    def names(self) -> list[str]:
        """Return what the policies are called, each once."""
        return list(dict.fromkeys(stack.document.name for stack in self._stacks()))

    def rules(self) -> frozenset[str]:
        """Return the ids of the rules that any of them may apply."""
        return frozenset(rules()).union(table.id for stack in self._stacks() for table in stack.document.rule)

    def _stacks(self) -> Iterator[Stack]:
        return iter((self.common, *self.by_environment.values()))


def read_policies(file: Document, environments: Collection[str], problems: list[Problem]) -> Policies | None:
    """Read the policies that a configuration names; None, and problems, where one is not sound."""
    directory = file.path.parent
    try:
        settings = PolicySettings.model_validate(file.values.get("policy", {}))
    except ValidationError:  # the document's own check says so
        return None
    unmatched = [glob for glob in settings.environments if not any(fnmatchcase(name, glob) for name in environments)]
    if environments:  # else the document's own check says so
        for glob in unmatched:
            path = ("policy", "environments", glob)
            problems.append(file.problem(path, f"matches no environment; {meant(glob, environments)}"))
    common = tuple(directory / name for name in settings.files)
    own = {
        environment: tuple(
            directory / name
            for glob, names in settings.environments.items()
            if fnmatchcase(environment, glob)
            for name in names
        )
        for environment in environments
    }
    return _laid(common, own, f"put it there, or correct [policy] in {file.path}", problems)


def drafted(policies: Policies, draft: Path, *, instead_of: Path | None) -> Policies:
    """Return the policies as they would be with a further file.

    The draft is laid over the files of all environments and under those of single ones; or it takes the place of
    ``instead_of`` wherever that stands. Raises ``ConfigError`` with every problem of the draft, or where no policy is
    made of ``instead_of``.
    """
    common = policies.common.files
    own = {name: stack.files[len(common) :] for name, stack in policies.by_environment.items()}
    if instead_of is None:
        common = (*common, draft)
    else:
        replaced = instead_of.resolve()
        named = list(dict.fromkeys((*common, *(path for paths in own.values() for path in paths))))
        if replaced not in {path.resolve() for path in named}:
            raise ConfigError(
                Problem(
                    str(instead_of), f"no policy is made of this file; they are made of {', '.join(map(str, named))}"
                )
            )

        def put_in_place(paths: tuple[Path, ...]) -> tuple[Path, ...]:
            return tuple(draft if path.resolve() == replaced else path for path in paths)

        common, own = put_in_place(common), {name: put_in_place(paths) for name, paths in own.items()}
    problems: list[Problem] = []
    laid = _laid(common, own, "name another file", problems, draft)
    if laid is None or problems:
        raise ConfigError(*problems)
    return laid


def _laid(
    common: tuple[Path, ...],
    own: Mapping[str, tuple[Path, ...]],
    mend: str,
    problems: list[Problem],
    draft: Path | None = None,
) -> Policies | None:
    """Lay the files of each environment over those of all; each file is read once and each problem told once."""
    read: dict[Path, Document | None] = {}
    stacks: dict[tuple[Path, ...], Stack | None] = {}
    found: list[Problem] = []

    def stack_of(paths: tuple[Path, ...]) -> Stack | None:
        for path in paths:
            if path not in read:
                read[path] = read_document(path, mend, found, may_be_piped=path == draft)
        if paths not in stacks:
            layers = [layer for path in paths if (layer := read[path]) is not None]
            stacks[paths] = _stack(paths, layers, found) if len(layers) == len(paths) else None
        return stacks[paths]

    base = stack_of(common)
    by_environment = {name: stack_of((*common, *paths)) for name, paths in own.items()}
    problems.extend(dict.fromkeys(found))
    if base is None or not all(by_environment.values()):
        return None
    return Policies(base, {name: stack for name, stack in by_environment.items() if stack is not None})


def _stack(paths: tuple[Path, ...], layers: Sequence[Document], problems: list[Problem]) -> Stack | None:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _laid_over(merged, _with_feeds_from(layer, paths[0].parent))
    written_rules, positions = _written_rules(layers)
    misplaced = [layer.values["rule"] for layer in layers if not isinstance(layer.values.get("rule", []), list)]
    if written_rules or misplaced:
        merged["rule"] = misplaced[0] if misplaced else written_rules
    written = Layers(layers, positions)
    document: PolicyDocument | None
    try:
        document = PolicyDocument.model_validate(merged)
    except ValidationError as error:
        problems.extend(problems_of(written, error, PolicyDocument))
        document = None
    sound = list(range(len(written_rules)))
    """Positions of the ``[[rule]]`` tables that are checked further."""
    checked = document
    if checked is None:
        checked, sound = _sound_parts(merged, written_rules)
    for path, message in check_document(checked, rules().values()):
        place = ("rule", sound[path[1]], *path[2:]) if path[0] == "rule" and isinstance(path[1], int) else path
        problems.append(written.problem(place, message))
    return Stack(document, paths, written) if document else None


def _sound_parts(merged: Mapping[str, Any], written_rules: Sequence[Any]) -> tuple[PolicyDocument, list[int]]:
    """Return the rules in a policy that is not sound otherwise, so that what is wrong in them is told with the rest.

    These are the parameters of the catalogue's rules, and the ``[[rule]]`` tables whose keys are sound, with their
    positions; without tests where the tiers that they are judged by are not sound.
    """
    tables = merged.get("rules")
    risk, has_tiers = RiskSettings(), False
    with suppress(ValidationError):
        risk, has_tiers = RiskSettings.model_validate(merged.get("risk", {})), True
    sound: dict[int, WrittenRule] = {}
    for position, table in enumerate(written_rules):
        with suppress(ValidationError):
            rule = WrittenRule.model_validate(table)
            sound[position] = rule if has_tiers else rule.model_copy(update={"test": ()})
    # Of a table that is not sound, what stands in [rules] under its id is not told to be of no rule.
    named = [table.get("id") for table in written_rules if isinstance(table, Mapping)]
    unsound = {rule_id for rule_id in named if isinstance(rule_id, str)} - {rule.id for rule in sound.values()}
    parts = PolicyDocument(
        name="",
        risk=risk,
        rules={
            rule_id: RuleSettings.model_validate(
                {key: value for key, value in table.items() if key not in RuleSettings.model_fields}
            )
            for rule_id, table in (tables.items() if isinstance(tables, Mapping) else ())
            if isinstance(table, Mapping) and rule_id not in unsound
        },
        rule=tuple(sound.values()),
    )
    return parts, list(sound)


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


def _written_rules(layers: Sequence[Document]) -> tuple[list[Any], list[dict[int, int]]]:
    """Lay ``[[rule]]`` tables of one id over one another, key by key, in the order in which the ids come.

    Returns for each layer, too, which of its tables became a part of which: position in the whole → its own. Of tables
    of one id in one file only the first is merged, and the others stay, so that the check finds them.
    """
    whole: list[Any] = []
    by_id: dict[str, int] = {}
    positions: list[dict[int, int]] = []
    for layer in layers:
        own: dict[int, int] = {}
        tables = layer.values.get("rule")
        for position, table in enumerate(tables if isinstance(tables, list) else ()):
            rule_id = table.get("id") if isinstance(table, Mapping) else None
            target = by_id.get(rule_id) if isinstance(rule_id, str) else None
            if target is None or target in own:
                target = len(whole)
                whole.append(table)
                if isinstance(rule_id, str):
                    by_id.setdefault(rule_id, target)
            else:
                whole[target] = {**whole[target], **table}
            own[target] = position
        positions.append(own)
    return whole, positions


def _own_path(path: KeyPath, positions: Mapping[int, int]) -> KeyPath | None:
    """Return what a key of the whole is called in one of its files; None where that has no such ``[[rule]]`` table."""
    if len(path) < 2 or path[0] != "rule" or not isinstance(path[1], int):
        return path
    own = positions.get(path[1])
    return None if own is None else ("rule", own, *path[2:])


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any], depth: int = 1) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        before = merged.get(key)
        if depth < _MERGED_DEPTH and isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = _laid_over(before, value, depth + 1)
        else:
            merged[key] = value
    return merged
