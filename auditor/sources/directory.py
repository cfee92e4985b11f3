"""A directory of files with one token each: systemd credentials, mounted Kubernetes secrets."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.model.token import StoredToken
from auditor.policy.selectors import Alternatives, matcher
from auditor.sources.base import EnvironmentName, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.blocking import BlockingSource
from auditor.sources.files import LINE_LIMIT, absolute, whole_text
from auditor.sources.intake import Intake


class DirectorySettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "directory"``: each file directly in it holds one token.

    Names that begin with a dot are passed over, and so are directories. Kubernetes keeps the files of a mounted
    secret in ``..data`` and links to them; so each is read once.
    """

    type: Literal["directory"]
    """Which kind of source this is."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """The directory, relative to the configuration's. Left out: ``$CREDENTIALS_DIRECTORY``, where systemd puts the
    credentials of a unit."""
    files: Alternatives = ("*",)
    """Globs, without regard to case, over the names of the files that hold tokens."""
    environment: EnvironmentName
    """The environment that the tokens are for."""


def _open(name: str, settings: DirectorySettings, surroundings: Surroundings) -> Source:
    if settings.path is None:
        directory = surroundings.environ.get("CREDENTIALS_DIRECTORY")
    else:
        directory = absolute(settings.path, surroundings.directory)

    def tokens(intake: Intake) -> Generator[StoredToken, None, None]:
        if directory is None:
            intake.problem(
                "$CREDENTIALS_DIRECTORY",
                "is not set; run under systemd with LoadCredential=, or give the source a path",
            )
            return
        for path in _files(Path(directory), matcher(settings.files), intake):
            text = whole_text(path, LINE_LIMIT, intake)
            token = None if text is None else intake.token(text, settings.environment, str(path))
            if token is not None:
                yield token

    return BlockingSource(
        name,
        settings,
        (settings.environment,),
        surroundings.environments,
        directory or "$CREDENTIALS_DIRECTORY",
        tokens,
    )


def _files(directory: Path, is_wanted: Callable[[str], bool], intake: Intake) -> Iterator[Path]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and is_wanted(entry.name) and not entry.is_dir()
            )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        intake.problem(str(directory), f"cannot be read: {reason}; correct the path, or let auditor read it")
        return
    for name in names:
        yield directory / name


KIND: Final = SourceKind(name="directory", settings=DirectorySettings, open=_open)
