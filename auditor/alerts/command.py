"""Hook ``command``: runs a program, without a shell, that reads the message as JSON from its standard input."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import Field

from auditor.alerts.base import Hook, HookKind, HookSettings, Surroundings
from auditor.alerts.body import body_with_id
from auditor.model.errors import ConfigError, DeliveryFailed, Problem
from auditor.model.message import Message
from auditor.processes import OutputTooLarge, located, run, scrubbed
from auditor.redaction import redact

_OUTPUT_LIMIT: Final = 1_000_000
_WORDS_LIMIT: Final = 300


class CommandSettings(HookSettings):
    """A ``[hooks.NAME]`` table with ``type = "command"``."""

    argv: tuple[str, ...] = Field(min_length=1)
    """The program and its arguments; a program with a slash is found from the configuration's directory. Exit code 0
    means that it took the message; its ``id`` tells a repetition."""
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    """For one run; then the program and its children are killed."""
    environ: tuple[str, ...] = ()
    """Names of environment variables that the program gets beside ``PATH``, ``HOME``, the locale and the like."""


class Command:
    """One program."""

    def __init__(self, name: str, argv: Sequence[str], environ: Mapping[str, str], timeout_seconds: float) -> None:
        self.name = name
        self._argv = argv
        self._environ = environ
        self._seconds = timeout_seconds

    async def deliver(self, message: Message, now: datetime) -> str:
        """Run the program once."""
        try:
            done = await run(
                self._argv,
                environ=self._environ,
                stdin=body_with_id(message),
                timeout_seconds=self._seconds,
                max_output=_OUTPUT_LIMIT,
            )
        except TimeoutError:
            raise self._failed(f"did not end within {self._seconds:g} s") from None
        except OSError as error:
            raise self._failed(f"cannot be started: {error.strerror}") from error
        except OutputTooLarge:
            raise self._failed(f"wrote more than {_OUTPUT_LIMIT} bytes") from None
        if done.exit_code != 0:
            raise self._failed(f"exit code {done.exit_code}{_last_words(done.stderr)}")
        return "exit code 0"

    async def close(self) -> None:
        """Do nothing: a run ends with its delivery."""

    def _failed(self, reason: str) -> DeliveryFailed:
        return DeliveryFailed(f"hooks.{self.name}: {self._argv[0]}: {reason}")


def _last_words(stderr: str) -> str:
    """Return the last line that a program complained with, fit for a message."""
    lines = stderr.splitlines()
    if not lines:
        return ""
    words = redact(lines[-1])[:_WORDS_LIMIT]
    return ": " + "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)


async def _open(name: str, settings: CommandSettings, surroundings: Surroundings) -> Hook:
    environ = surroundings.resolver.environ
    unset = [variable for variable in settings.environ if variable not in environ]
    if unset:
        raise ConfigError(
            Problem(f"hooks.{name}.environ", f"{', '.join(unset)} is not set here; set it, or take the name out")
        )
    passed_on = {variable: environ[variable] for variable in settings.environ}
    argv = located(settings.argv, surroundings.resolver.directory)
    return Command(name, argv, scrubbed(environ, passed_on), settings.timeout_seconds)


KIND: Final = HookKind(name="command", settings=CommandSettings, open=_open)
