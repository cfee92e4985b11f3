"""The errors that a caller can act on, under one root, each with the exit code that a program ends with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # every command loads this module, and most of them no lookup
    from auditor.model.lookup import Lookup


class AuditorError(Exception):
    """Root of every error that auditor raises on purpose; its message names the thing, the place and the mend."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in what a person wrote: where it stands, what it is, and how to mend it."""

    place: str
    """File, with line where known: ``config/auditor.toml:12``."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ConfigError(AuditorError):
    """The configuration, a policy or an argument is wrong; carries every problem that was found, not just the first."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class SecretUnavailable(ConfigError):
    """A secret is out of reach, though nothing that is written need be wrong; it may be there at the next try."""

    exit_code = 3


def together(errors: Sequence[ConfigError]) -> ConfigError:
    """Return one error with the problems of all; it is of what may pass only where they all are."""
    kind = SecretUnavailable if all(isinstance(error, SecretUnavailable) for error in errors) else ConfigError
    return kind(*(problem for error in errors for problem in error.problems))


class SourceError(AuditorError):
    """A source of tokens could not be read; the sweep goes on with the others and says that it is incomplete."""


class AuthenticationRefused(AuditorError):
    """The environment refused the auditor's own token (401 or 403); no lookup of that environment can succeed."""


class EnvironmentUnreachable(AuditorError):
    """The environment does not answer at all; further lookups would only wait."""


class ReadFailed(AuditorError):
    """A ``GET`` of an environment's API did not end in an answer with status 200; ``ended`` says in what."""

    def __init__(self, ended: "Lookup") -> None:
        self.ended = ended
        super().__init__(ended.reason)


class SweepUnderWay(AuditorError):
    """Another process is sweeping this environment; an environment has one owner at a time."""


class StoreUnavailable(AuditorError):
    """PostgreSQL cannot be reached or started, or does not do what it is asked just now."""


class StoreMismatch(AuditorError):
    """PostgreSQL is there, but its contents do not fit this auditor: a newer schema, another encryption key."""


class DeliveryFailed(AuditorError):
    """A hook did not take an alert; the outbox tries again later.

    ``retry_after_seconds`` is how long the other side asked to be left alone, None where it did not say.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class ReportFailed(AuditorError):
    """A scheduled report could not be made, or not in time; the daemon tries again."""


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise, in place of a task group's errors, the one that a caller can act on: the first of ours, else the first."""
    try:
        yield
    except ExceptionGroup as group:
        errors = list(_leaves(group))
        raise next((error for error in errors if isinstance(error, AuditorError)), errors[0]) from group


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
