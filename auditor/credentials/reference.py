"""A reference to a secret, as the configuration writes it, and its resolution."""

import asyncio
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, model_validator

from auditor.model.errors import ConfigError, Problem
from auditor.model.secret import Secret
from auditor.processes import OutputTooLarge, run, scrubbed

_COMMAND_SECONDS: Final = 30.0
_MAX_SIZE: Final = 65_536


class SecretReference(BaseModel):
    """Where a secret is: exactly one of an environment variable, a file, a systemd credential or a command.

    A command's first line of output is the secret; it runs without a shell. A file must be readable by nobody but
    its owner. A credential is a file of that name in ``$CREDENTIALS_DIRECTORY`` (systemd's ``LoadCredential=``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = None
    file: Path | None = None
    credential: str | None = None
    command: tuple[str, ...] | None = None

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
    """Resolves references. ``directory`` is what relative files are relative to; ``environ`` the process environment."""

    directory: Path
    environ: Mapping[str, str]

    async def resolve(self, reference: SecretReference, place: str) -> Secret:
        """Return the secret that a reference points to.

        ``place`` is the reference's key in the configuration, for the message. Raises ``ConfigError`` naming the
        place and the mend where the secret is missing, empty, too widely readable or spread over several lines.
        """
        if reference.env is not None:
            value = self.environ.get(reference.env, "")
            where = f"environment variable {reference.env}"
        elif reference.command is not None:
            value = await self._command(reference.command, place)
            where = f"command {reference.command[0]}"
        else:
            path = self._path(reference, place)
            value = await asyncio.to_thread(_read_private, path, place, reference.credential is not None)
            where = str(path)
        value = value.strip()
        if not value:
            raise _wrong(place, f"{where} is empty or not set; put the secret there")
        if len(value.split()) > 1:
            raise _wrong(place, f"{where} holds more than one word; it must hold the secret and nothing else")
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
        return self.directory / reference.file.expanduser()

    async def _command(self, argv: tuple[str, ...], place: str) -> str:
        try:
            done = await run(
                argv, environ=scrubbed(self.environ), timeout_seconds=_COMMAND_SECONDS, max_output=_MAX_SIZE
            )
        except (OSError, OutputTooLarge) as error:
            raise _wrong(place, f"command {argv[0]} could not be used: {error}") from error
        except TimeoutError as error:
            raise _wrong(place, f"command {argv[0]} did not end within {_COMMAND_SECONDS:.0f} s") from error
        if done.exit_code != 0:
            raise _wrong(place, f"command {argv[0]} ended with exit code {done.exit_code}; run it by hand to see why")
        return done.stdout.decode(errors="replace").partition("\n")[0]


def _read_private(path: Path, place: str, is_credential: bool) -> str:
    """Read a small file that nobody but its owner may read; systemd guards its credentials by itself."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if not is_credential and mode & 0o077:
                raise _wrong(
                    place,
                    f"{path} has mode {mode:04o}, so others may read it; run chmod 600 {path}, and renew the secret",
                )
            return file.read(_MAX_SIZE).decode(errors="replace")
    except OSError as error:
        raise _wrong(place, f"{path} cannot be read: {error.strerror}") from error


def _wrong(place: str, message: str) -> ConfigError:
    return ConfigError(Problem(place, message))
