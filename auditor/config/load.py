"""Reads the configuration and the policies whole, and reports everything that is wrong at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from auditor.alerts.base import HookKind, HookSettings
from auditor.alerts.registry import kinds as hook_kinds
from auditor.alerts.wording import Wording
from auditor.config.document import AuditorDocument, ScheduleSettings
from auditor.config.owners import read_owners
from auditor.config.policies import Policies, read_policies
from auditor.config.problems import Document, problems_of
from auditor.config.reading import read_document
from auditor.config.retention import retention_problems
from auditor.config.routing import routing_problems
from auditor.config.scheduled_reports import report_problems
from auditor.config.templates import read_wordings
from auditor.config.waivers import read_waivers
from auditor.model.errors import ConfigError, Problem
from auditor.model.spelling import meant
from auditor.policy.document import PolicyDocument
from auditor.policy.waivers import WaiverEntry
from auditor.sources.base import SourceKind, SourceSettings
from auditor.sources.registry import kinds as source_kinds


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that is sound in itself; nothing outside the files was asked."""

    path: Path
    document: AuditorDocument
    sources: Mapping[str, tuple[SourceKind[Any], SourceSettings]]
    hooks: Mapping[str, tuple[HookKind, HookSettings]]
    wordings: Mapping[str, Wording]
    """What messages say, by hook."""
    owners: Mapping[str, tuple[str, ...]]
    """Addresses of owners of tokens, and of globs over them, in their order."""
    policies: Policies
    waivers: Sequence[WaiverEntry]
    """Those of files."""

    @property
    def directory(self) -> Path:
        """What relative paths of the configuration are relative to."""
        return self.path.parent

    @property
    def policy(self) -> PolicyDocument:
        """The policy of every environment that has no policy files of its own."""
        return self.policies.common.document

    @property
    def policy_directory(self) -> Path:
        """What the feeds of policies are relative to: the directory of their first file, which all share."""
        return self.policies.common.directory

    @property
    def urls(self) -> Mapping[str, str]:
        """The URLs of the configured environments, by name."""
        return {name: one.url for name, one in self.document.environments.items()}

    def environments_matching(self, globs: Sequence[str]) -> list[str]:
        """Return the names of configured environments that any glob matches, in their order."""
        return [name for name in self.document.environments if any(fnmatchcase(name, glob) for glob in globs)]

    def tables(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return tables of the file by name, as JSON would write what stands in them."""
        return {name: getattr(self.document, name).model_dump(mode="json", exclude_unset=True) for name in names}

    def with_tables(self, tables: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the same with other tables, given as ``tables`` gives them."""
        read = {name: type(getattr(self.document, name)).model_validate(table) for name, table in tables.items()}
        return replace(self, document=self.document.model_copy(update=read))


def load(path: Path) -> Config:
    """Read a configuration file and the policies that it names.

    Raises ``ConfigError`` with every problem of every file, each with its place and its mend.
    """
    problems: list[Problem] = []
    mend = "name another file with --config or $AUDITOR_CONFIG"
    file = read_document(path, mend, problems, may_be_piped=True)
    if file is None:
        raise ConfigError(*problems)
    document = _checked(file, problems)
    sources = _members(file, "sources", source_kinds(), problems)
    hooks = _members(file, "hooks", hook_kinds(), problems)
    problems.extend(_loose_ends(file))
    owners = read_owners(file, problems)
    if document is not None:
        problems.extend(report_problems(file, document.reports, hooks, _tables(file, "hooks")))
    policies = read_policies(file, _tables(file, "environments"), problems)
    known_rules = () if policies is None else policies.rules()
    problems.extend(routing_problems(file, hooks, _tables(file, "environments"), known_rules))
    waivers = read_waivers(file, policies, problems) if policies is not None else ()
    if (
        document is not None and policies is not None and not problems
    ):  # only sound policies say how far rules look back
        documents = {name: stack.document for name, stack in policies.by_environment.items()}
        problems.extend(retention_problems(file, document.retention, documents))
    wordings = read_wordings(file, {name: settings for name, (_kind, settings) in hooks.items()}, problems)
    if problems or document is None or policies is None:
        raise ConfigError(*problems)
    return Config(path, document, sources, hooks, wordings, owners, policies, waivers)


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
    return f'unknown type "{wanted}"; {meant(wanted, known)}' if isinstance(wanted, str) else "must be text in quotes"


def _loose_ends(file: Document) -> Iterator[Problem]:
    """Find names that point nowhere: sources of unknown environments, schedules that match none."""
    environments = _tables(file, "environments")
    if not environments:
        return  # the document's own check says so
    for name, values in _tables(file, "sources").items():
        environment = values.get("environment") if isinstance(values, Mapping) else None
        if isinstance(environment, str) and environment not in environments:
            path = ("sources", name, "environment")
            yield file.problem(path, f'unknown environment "{environment}"; {meant(environment, environments)}')
    for name, values in _tables(file, "schedules").items():
        try:
            globs = ScheduleSettings.model_validate(values).environments
        except ValidationError:  # the document's own check says so
            continue
        for glob in globs:
            if not any(fnmatchcase(environment, glob) for environment in environments):
                path = ("schedules", name, "environments")
                yield file.problem(path, f'"{glob}" matches no environment; {meant(glob, environments)}')


def _tables(file: Document, name: str) -> Mapping[str, Any]:
    """Return a table of tables, empty where the file has something else there."""
    tables = file.values.get(name)
    return tables if isinstance(tables, Mapping) else {}
