"""JSON documents and JSON lines."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from auditor.model.shape import Shape
from auditor.model.token import StoredToken
from auditor.sources.base import EnvironmentName, FilePath, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.blocking import BlockingSource
from auditor.sources.files import absolute, lines, matching, whole
from auditor.sources.intake import Intake
from auditor.sources.json_walk import Json, found_in

SIZE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of the largest whole document; JSON lines have no such limit."""
_LINES: Final = frozenset({".jsonl", ".ndjson"})


class JsonSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "json"``: a document of at most 64 MiB, or JSON lines of any size."""

    type: Literal["json"]
    """Which kind of source this is."""
    path: FilePath
    """The file, relative to the configuration's directory; a glob means every file that matches."""
    lines: bool | None = None
    """Whether a file holds one JSON value a line, which is read as a stream. Left out: files named ``.jsonl`` or
    ``.ndjson`` do."""
    token_field: (
        Annotated[str, Shape(r"[^.]+(\.[^.]+)*", "must be keys joined by single dots, such as tenants.*.token")] | None
    ) = None
    """Where the tokens stand: keys joined by dots, ``*`` for any key, as in ``tenants.*.token``. Lists are gone
    through. Left out: every string of today's format ``dt0….PUBLIC.SECRET``, wherever it stands."""
    environment: EnvironmentName | None = None
    """The environment that the tokens are for."""
    environment_field: Annotated[str, Field(min_length=1)] | None = None
    """Instead of ``environment``: the key that names the environment, in the object that holds the token or in the
    nearest around it that has it."""

    @model_validator(mode="after")
    def _has_one_environment(self) -> Self:
        if (self.environment is None) == (self.environment_field is None):
            raise ValueError('give either environment = "…" or environment_field = "…"')
        return self


def _open(name: str, settings: JsonSettings, surroundings: Surroundings) -> Source:
    steps = None if settings.token_field is None else settings.token_field.split(".")

    def tokens(intake: Intake) -> Generator[StoredToken, None, None]:
        for path in matching(settings.path, surroundings.directory, intake):
            for document, place in _documents(path, settings, intake):
                for value, environment, pointer in found_in(document, steps, settings.environment_field):
                    where = f"{place}#{pointer}" if pointer else place
                    if not isinstance(value, str):
                        intake.problem(where, "is not a string; correct token_field or the file")
                        continue
                    token = intake.token(value, settings.environment or environment, where)
                    if token is not None:
                        yield token

    return BlockingSource(
        name,
        settings,
        () if settings.environment is None else (settings.environment,),
        surroundings.environments,
        absolute(settings.path, surroundings.directory),
        tokens,
    )


def _documents(path: Path, settings: JsonSettings, intake: Intake) -> Iterator[tuple[Json, str]]:
    """Yield the values of a file with their places; what does not decode is a problem."""
    if path.suffix in _LINES if settings.lines is None else settings.lines:
        for number, line in lines(path, intake):
            if line.strip():
                yield from _decoded(line, f"{path}:{number}", intake)
    else:
        content = whole(path, SIZE_LIMIT, intake)
        if content is not None:
            yield from _decoded(content, str(path), intake)


def _decoded(text: str | bytes, place: str, intake: Intake) -> Iterator[tuple[Json, str]]:
    try:
        document: Json = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        intake.problem(place, f"is not JSON: {error}")
    except UnicodeDecodeError:
        intake.problem(place, "is not JSON: not UTF-8")
    except RecursionError:
        intake.problem(place, "is not JSON that can be read: nested too deeply")
    else:
        yield document, place


KIND: Final = SourceKind(name="json", settings=JsonSettings, open=_open)
