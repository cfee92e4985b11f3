"""CSV files with a header, one token a row."""

import csv
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from auditor.model.shape import Shape
from auditor.model.token import StoredToken
from auditor.sources.base import EnvironmentName, FilePath, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.blocking import BlockingSource
from auditor.sources.files import absolute, lines, matching
from auditor.sources.intake import Intake

Column = Annotated[str, Field(min_length=1)]


class CsvSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "csv"``: the first line names the columns, each other one is a token."""

    type: Literal["csv"]
    """Which kind of source this is."""
    path: FilePath
    """The file, relative to the configuration's directory; a glob means every file that matches."""
    token_column: Column
    """The column that holds the token."""
    environment: EnvironmentName | None = None
    """The environment that the tokens are for."""
    environment_column: Column | None = None
    """Instead of ``environment``: the column that names it."""
    delimiter: Annotated[
        str,
        Shape(r'[^\r\n"\x00]', r'must be one character other than a double quote, such as ";" or "\t"'),
    ] = ","
    """The character between columns."""

    @model_validator(mode="after")
    def _has_one_environment(self) -> Self:
        if (self.environment is None) == (self.environment_column is None):
            raise ValueError('give either environment = "…" or environment_column = "…"')
        return self


def _open(name: str, settings: CsvSettings, surroundings: Surroundings) -> Source:
    def tokens(intake: Intake) -> Generator[StoredToken, None, None]:
        for path in matching(settings.path, surroundings.directory, intake):
            for value, environment, place in _rows(path, settings, intake):
                token = intake.token(value, environment, place)
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


def _rows(path: Path, settings: CsvSettings, intake: Intake) -> Iterator[tuple[str, str | None, str]]:
    """Yield each row's token, environment and place."""
    rows = _numbered_rows(path, settings.delimiter, intake)
    first = next(rows, None)
    if first is None:
        return
    header_line, header = first
    names = [column.strip() for column in header]
    wanted = [settings.token_column]
    if settings.environment_column is not None:
        wanted.append(settings.environment_column)
    missing = [f'"{column}"' for column in wanted if column not in names]
    if missing:
        # The line itself is not shown: of a file without a header, it holds a token.
        columns = " and ".join(missing)
        intake.problem(f"{path}:{header_line}", f"this line must name the column {columns}; see the delimiter, too")
        return
    positions = [names.index(column) for column in wanted]
    for number, row in rows:
        if len(row) <= max(positions):
            intake.problem(f"{path}:{number}", f"has {len(row)} of {len(names)} columns; complete the row")
            continue
        environment = settings.environment if len(positions) == 1 else row[positions[1]].strip() or None
        yield row[positions[0]], environment, f"{path}:{number}"


def _numbered_rows(path: Path, delimiter: str, intake: Intake) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the line that it begins on."""
    rows = csv.reader((line for _number, line in lines(path, intake)), delimiter=delimiter, strict=True)
    while True:
        begins = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            intake.problem(f"{path}:{begins}", f"is not CSV: {error}; see the quotes")
            continue
        if row is None:
            return
        if row:
            yield begins, row


KIND: Final = SourceKind(name="csv", settings=CsvSettings, open=_open)
