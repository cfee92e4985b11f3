"""Dotenv files: ``NAME=value`` lines as shells and containers read them."""

import io
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, Literal

from dotenv.parser import parse_stream

from auditor.model.secret import public_id_of
from auditor.model.token import StoredToken
from auditor.policy.selectors import Globs, matcher
from auditor.sources.base import EnvironmentName, FilePath, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.blocking import BlockingSource
from auditor.sources.files import absolute, matching, whole_text
from auditor.sources.intake import Intake

SIZE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of the largest dotenv file that is read."""


class DotenvSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "dotenv"``: files of ``NAME=value`` lines, of at most 4 MiB each.

    Quotes, ``export`` and comments are understood; a value is taken as it stands, ``${OTHER}`` in it is not replaced.
    """

    type: Literal["dotenv"]
    """Which kind of source this is."""
    path: FilePath
    """The file, relative to the configuration's directory; a glob means every file that matches."""
    environment: EnvironmentName
    """The environment that the tokens are for."""
    variables: Globs = ()
    """Globs, without regard to case, over the variables that hold tokens: their values are taken whatever they look
    like, and no others. Left out: every value of today's format ``dt0….PUBLIC.SECRET``, whatever its name."""


def _open(name: str, settings: DotenvSettings, surroundings: Surroundings) -> Source:
    is_wanted = matcher(settings.variables) if settings.variables else None

    def tokens(intake: Intake) -> Generator[StoredToken, None, None]:
        for path in matching(settings.path, surroundings.directory, intake):
            for variable, value, place in _variables(path, intake):
                if is_wanted(variable) if is_wanted else public_id_of(value.strip()):
                    token = intake.token(value, settings.environment, f"{place} {variable}")
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


def _variables(path: Path, intake: Intake) -> Iterator[tuple[str, str, str]]:
    """Yield each variable with its value and its place."""
    text = whole_text(path, SIZE_LIMIT, intake)
    for binding in parse_stream(io.StringIO(text or "")):
        source = binding.original.string
        empty_lines = source[: len(source) - len(source.lstrip())].count("\n")
        place = f"{path}:{binding.original.line + empty_lines}"
        if binding.error:
            intake.problem(place, "is no NAME=value line; correct it, or make it a comment")
        elif binding.key is not None and binding.value is not None:
            yield binding.key, binding.value, place


KIND: Final = SourceKind(name="dotenv", settings=DotenvSettings, open=_open)
