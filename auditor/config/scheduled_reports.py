"""Reports that the daemon makes: what a ``[reports.NAME]`` table says, and what is wrong with it."""

import tempfile
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from auditor.alerts.base import HookKind, HookSettings
from auditor.config.problems import Document
from auditor.config.timing import Timing
from auditor.model.errors import ConfigError, Problem
from auditor.model.shape import Shape
from auditor.model.spelling import meant
from auditor.policy.base import Framework
from auditor.policy.spans import Duration
from auditor.reports.base import AWS_ACCOUNT, AWS_REGION, Aws, Demanding
from auditor.reports.period import Period, previous

_PREVIOUS: Final = "previous "


def _framework(name: str) -> str:
    return Framework.named(name).slug


class ReportSettings(Timing):
    """A ``[reports.NAME]`` table: a report that is made again and again, kept, and handed to hooks."""

    formats: tuple[str, ...] = Field(min_length=1)
    """What it is written as: one file for each of ``html``, ``pdf``, ``markdown``, ``json``, ``jsonl``, ``csv``,
    ``csv-coverage``, ``csv-verdicts``, ``xlsx``, ``ocsf``, ``oscal``, ``sarif`` and ``asff`` that is named. All of them
    say the same, being read at one instant."""
    environments: tuple[str, ...] = ()
    """Globs over the names of environments. Without one, every environment that was ever swept."""
    frameworks: tuple[Annotated[str, AfterValidator(_framework)], ...] = ()
    """Only what bears on the controls of these frameworks, as ``auditor report --framework`` has them."""
    period: Literal["previous day", "previous week", "previous month", "previous quarter", "previous year"] | None = (
        None
    )
    """The days that it is of, before the day of its slot by the clock of ``timezone``; the days themselves are UTC's,
    and it waits for the last to be over. Without it, how things stand when it is made."""
    resolved_days: int = Field(default=30, ge=0, le=36_500)
    """Without ``period``: findings resolved within so many days are listed, too."""
    directory: Path | None = None
    """Where its files are kept, relative to this file; made where it does not exist. By default ``reports`` in the
    state directory."""
    keep: int = Field(default=12, ge=1, le=100_000)
    """How many of its files are kept of each format; older ones are deleted."""
    hooks: tuple[str, ...] = ()
    """Names of the hooks that it is handed to, at once and whatever they say of severities, digests and quiet hours."""
    timeout: Duration = "30m"
    """How long making it may take; then it has failed, and is tried again."""
    aws_account: Annotated[str, Shape(AWS_ACCOUNT, "must be twelve digits")] | None = None
    """For ``asff``: the account that findings belong to, twelve digits."""
    aws_region: Annotated[str, Shape(AWS_REGION, "must be the name of a region, such as eu-central-1")] | None = None
    """For ``asff``: the region that findings belong to."""

    @model_validator(mode="after")
    def _knows_where_in_aws(self) -> Self:
        if "asff" in self.formats and self.aws is None:
            raise ValueError('the format asff needs aws_account = "…" and aws_region = "…"')
        if len(set(self.formats)) < len(self.formats):
            raise ValueError("formats names one twice")
        return self

    @property
    def aws(self) -> Aws | None:
        """Where in AWS findings belong."""
        if self.aws_account is None or self.aws_region is None:
            return None
        return Aws(self.aws_account, self.aws_region)

    def period_at(self, slot: datetime) -> Period | None:
        """Return the days that the report of a slot is of; None: of the instant at which it is made."""
        if self.period is None:
            return None
        day = slot.astimezone(ZoneInfo(self.timezone)).date()
        return previous(self.period.removeprefix(_PREVIOUS), day)  # type: ignore[arg-type] # a unit, says its Literal


def report_problems(
    file: Document,
    reports: Mapping[str, ReportSettings],
    hooks: Mapping[str, tuple[HookKind, HookSettings]],
    written_hooks: Collection[str],
) -> Iterator[Problem]:
    """Find the names that point nowhere, and hooks that take no report; ``written_hooks`` are all that are named."""
    if not reports:
        return
    from auditor.reports.registry import formats  # takes a tenth of a second, which most can save

    environments = file.values.get("environments", {})
    for name, settings in reports.items():
        for number, wanted in enumerate(settings.formats):
            if wanted not in formats():
                path = ("reports", name, "formats", number)
                yield file.problem(path, f'unknown format "{wanted}"; {meant(wanted, formats())}')
        for number, glob in enumerate(settings.environments):
            if not any(fnmatchcase(environment, glob) for environment in environments):
                path = ("reports", name, "environments", number)
                yield file.problem(path, f'"{glob}" matches no environment; {meant(glob, environments)}')
        for number, hook in enumerate(settings.hooks):
            path = ("reports", name, "hooks", number)
            if hook not in written_hooks:
                yield file.problem(path, f'unknown hook "{hook}"; {meant(hook, written_hooks)}')
            elif hook in hooks and not hooks[hook][0].takes_reports:
                yield file.problem(
                    path,
                    f'hook "{hook}" is of type "{hooks[hook][0].name}", which knows findings only; hand the report to '
                    "an email, webhook, command or chat hook",
                )


def missing_extras(reports: Mapping[str, ReportSettings]) -> Iterator[Problem]:
    """Find formats that cannot be written here; imports what they take."""
    from auditor.reports.registry import formats

    for name, settings in reports.items():
        for number, wanted in enumerate(settings.formats):
            member = formats()[wanted]
            if isinstance(member, Demanding):
                try:
                    member.require()
                except ConfigError as error:
                    for problem in error.problems:
                        yield Problem(f"reports.{name}.formats[{number}]", problem.message)


def directory_of(settings: ReportSettings, base: Path, state: Path) -> Path:
    """Return where a report's files are kept; ``base`` is the directory of the configuration."""
    return state / "reports" if settings.directory is None else base / settings.directory


def unwritable(reports: Mapping[str, ReportSettings], base: Path, state: Path) -> Iterator[Problem]:
    """Find directories that cannot be written to; makes those that do not exist."""
    for name, settings in reports.items():
        directory = directory_of(settings, base, state)
        try:
            prepare(directory)
            with tempfile.TemporaryFile(dir=directory):
                pass
        except OSError as error:
            yield Problem(
                f"reports.{name}.directory",
                f"{directory} cannot be written to: {error.strerror}; name a directory that auditor may write to "
                "(under systemd with ReadWritePaths=)",
            )


def prepare(directory: Path) -> None:
    """Make a directory, for nobody else to read, where it does not exist."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
