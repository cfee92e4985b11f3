"""Files with one token a line."""

from collections.abc import Generator
from typing import Final, Literal

from auditor.model.token import StoredToken
from auditor.sources.base import EnvironmentName, FilePath, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.blocking import BlockingSource
from auditor.sources.files import absolute, lines, matching
from auditor.sources.intake import Intake


class PlainSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "plain"``: one token a line.

    Empty lines, and lines that begin with ``#``, are passed over.
    """

    type: Literal["plain"]
    """Which kind of source this is."""
    path: FilePath
    """The file, relative to the configuration's directory; a glob means every file that matches."""
    environment: EnvironmentName
    """The environment that the tokens are for."""


def _open(name: str, settings: PlainSettings, surroundings: Surroundings) -> Source:
    def tokens(intake: Intake) -> Generator[StoredToken, None, None]:
        for path in matching(settings.path, surroundings.directory, intake):
            for number, line in lines(path, intake):
                if line.lstrip().startswith("#"):
                    continue
                token = intake.token(line, settings.environment, f"{path}:{number}")
                if token is not None:
                    yield token

    return BlockingSource(
        name,
        settings,
        (settings.environment,),
        surroundings.environments,
        absolute(settings.path, surroundings.directory),
        tokens,
    )


KIND: Final = SourceKind(name="plain", settings=PlainSettings, open=_open)
