"""A reference to a secret, as the configuration writes it, and its resolution."""

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import model_validator

from auditor.credentials.files import opened
from auditor.model.errors import ConfigError, Problem, SecretUnavailable
from auditor.model.secret import Secret
from auditor.model.table import Table
from auditor.processes import OutputTooLarge, located, run, scrubbed

_MAX_SIZE: Final = 65_536
_WRONG_PROGRAM: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC, errno.EINVAL})
"""Why a program does not start that would start the next time no more than now."""


class SecretReference(Table):
    """Where a secret is: exactly one of an environment variable, a file, a systemd credential or a command.

    A command's first line of output is the secret; it runs without a shell, and is found from the configuration's
    directory where it is written with a slash. A file must be usable by nobody but its owner. A credential is a file
    of that name in ``$CREDENTIALS_DIRECTORY`` (systemd's ``LoadCredential=``).
    """

    env: str | None = None
    """An environment variable."""
    file: Path | None = None
    """A file of mode 0600 or stricter, relative to the configuration's directory."""
    credential: str | None = None
    """A systemd credential: a file of this name in ``$CREDENTIALS_DIRECTORY``."""
    command: tuple[str, ...] | None = None
    """A program and its arguments, whose first line of output is the secret."""

    @model_validator(mode="before")
    @classmethod
    def _is_no_secret_itself(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(
                'a secret never stands in this file; point to it with { env = "…" }, { file = "…" }, '
                '{ credential = "…" } or { command = […] }, and renew the one that stood here'
            )
        return value

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        given = [name for name in ("env", "file", "credential", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                'a secret is given by exactly one of { env = "…" }, { file = "…" }, { credential = "…" } '
                f"or {{ command = […] }} (got {', '.join(given) or 'none'})"
            )
        if self.command is not None and not self.command:
            raise ValueError("command needs a program to run")
        if self.credential is not None and ("/" in self.credential or self.credential in {"", ".", ".."}):
            raise ValueError("credential is a plain name in $CREDENTIALS_DIRECTORY, not a path")
        return self


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves references; relative paths are relative to ``directory``, ``environ`` is the process environment."""

    directory: Path
    environ: Mapping[str, str]
    command_seconds: float = 30.0
    """How long a command may take."""

    async def resolve(self, reference: SecretReference, place: str) -> Secret:
        """Return the secret that a reference points to.

        ``place`` is the reference's key in the configuration, for the message. Raises ``ConfigError`` naming the
        place and the mend where the reference is wrong, or the secret is empty, too widely readable or spread over
        several lines; ``SecretUnavailable``, which is one, where that may pass: a file that cannot be read, a command
        that fails, or ends well and says no secret.
        """
        wrong: type[ConfigError] = ConfigError
        if reference.env is not None:
            value = self.environ.get(reference.env, "")
            where = f"environment variable {reference.env}"
        elif reference.command is not None:
            value = await self._command(reference.command, place)
            where = f"command {reference.command[0]}"
            wrong = SecretUnavailable
        else:
            path = self._path(reference, place)
            value = await asyncio.to_thread(_read_private, path, place, reference.credential is not None)
            where = str(path)
        value = value.strip()
        if not value:
            raise wrong(Problem(place, f"{where} is empty or not set; put the secret there"))
        if len(value.split()) > 1:
            message = f"{where} holds more than one word; it must hold the secret and nothing else"
            raise wrong(Problem(place, message))
        if not value.isprintable():
            message = f"{where} holds characters that do not print or are not UTF-8; store the secret anew"
            raise wrong(Problem(place, message))
        return Secret(value)

    def _path(self, reference: SecretReference, place: str) -> Path:
        if reference.credential is not None:
            directory = self.environ.get("CREDENTIALS_DIRECTORY")
            if directory is None:
                raise _wrong(
                    place,
                    f'credential "{reference.credential}" needs $CREDENTIALS_DIRECTORY; run under systemd with '
                    f"LoadCredential={reference.credential}:…, or use {{ file = … }}",
                )
            return Path(directory, reference.credential)
        assert reference.file is not None
        try:
            return self.directory / reference.file.expanduser()
        except RuntimeError:
            raise _wrong(place, f"{reference.file} names a home directory that does not exist") from None

    async def _command(self, argv: tuple[str, ...], place: str) -> str:
        try:
            done = await run(
                located(argv, self.directory),
                environ=scrubbed(self.environ),
                timeout_seconds=self.command_seconds,
                max_output=_MAX_SIZE,
            )
        except TimeoutError as error:  # an OSError too, so it comes first
            message = f"command {argv[0]} did not end within {self.command_seconds:g} s; run it by hand to see why"
            raise _out_of_reach(place, message) from error
        except (OSError, ValueError, OutputTooLarge) as error:
            is_wrong = isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno in _WRONG_PROGRAM)
            told = _wrong if is_wrong else _out_of_reach
            raise told(place, f"command {argv[0]} could not be used: {error}") from error
        if done.exit_code != 0:
            message = f"command {argv[0]} ended with exit code {done.exit_code}; run it by hand to see why"
            raise _out_of_reach(place, message)
        return done.stdout.partition(b"\n")[0].decode(errors="surrogateescape")


def _read_private(path: Path, place: str, is_credential: bool) -> str:
    """Read a small file that nobody but its owner may read; systemd guards its credentials by itself."""
    try:
        with opened(path) as file:
            if not is_credential and not file.is_private:
                raise _wrong(
                    place,
                    f"{path} has mode {file.mode:04o}, so others may use it; "
                    f"run chmod 600 {path}, and renew the secret",
                )
            content = file.stream.read(_MAX_SIZE + 1)
    except OSError as error:
        # No path to a file stays none, and systemd shows all of its credentials before it starts the service.
        told = _wrong if is_credential or error.errno == errno.EINVAL else _out_of_reach
        raise told(
            place, f"{path} cannot be read: {error.strerror}; put the secret there, or correct the path"
        ) from error
    if len(content) > _MAX_SIZE:
        raise _wrong(place, f"{path} is larger than {_MAX_SIZE} bytes; it must hold the secret and nothing else")
    return content.decode(errors="surrogateescape")


def _wrong(place: str, message: str) -> ConfigError:
    return ConfigError(Problem(place, message))


def _out_of_reach(place: str, message: str) -> SecretUnavailable:
    return SecretUnavailable(Problem(place, message))
