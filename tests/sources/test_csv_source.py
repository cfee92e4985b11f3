from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.sources.base import Source
from auditor.sources.csv_file import CsvSettings
from tests.sources.reading import EXAMPLE, Write, found, minted, read, source


def opened(directory: Path, **settings: Any) -> Source:
    if "environment_column" not in settings:
        settings.setdefault("environment", "prod")
    return source("csv", directory, path="tokens.csv", token_column="token", **settings)


async def test_column_holds_the_tokens(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", b'\xef\xbb\xbfname, token \r\n"CI, main",' + EXAMPLE.encode() + b"\r\n\r\nempty,\r\n")
    assert await found(opened(tmp_path)) == {f"{path}:2": ("prod", EXAMPLE)}


async def test_column_names_the_environment(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", "token;env\none;prod\ntwo; stage \n")
    assert await found(opened(tmp_path, environment_column="env", delimiter=";")) == {
        f"{path}:2": ("prod", "one"),
        f"{path}:3": ("stage", "two"),
    }


async def test_place_is_the_line_a_row_begins_on(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", 'token,note\none,"over\ntwo lines"\ntwo,\n')
    assert list(await found(opened(tmp_path))) == [f"{path}:2", f"{path}:4"]


async def test_columns_that_are_mixed_up_do_not_show_the_token(write: Write, tmp_path: Path) -> None:
    secret = minted()
    write("tokens.csv", f"token,env\nprod,{secret}\n")
    _tokens, problem = await read(opened(tmp_path, environment_column="env"))
    assert "is for an environment that is not configured" in problem
    assert secret not in problem


async def test_file_without_a_header_is_refused_and_its_first_token_not_shown(write: Write, tmp_path: Path) -> None:
    secret = minted()
    path = write("tokens.csv", f"{secret},ci\n")
    _tokens, problem = await read(opened(tmp_path))
    assert problem.startswith(f'{path}:1: this line must name the column "token"')
    assert secret not in problem


async def test_row_that_is_too_short_is_told_and_hides_nothing(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", "name,token\nshort\nlong,one\n")
    tokens, problem = await read(opened(tmp_path))
    assert len(tokens) == 1
    assert problem == f"{path}:2: has 1 of 2 columns; complete the row"


async def test_row_without_an_environment_is_told(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", "token,env\none,\n")
    _tokens, problem = await read(opened(tmp_path, environment_column="env"))
    assert problem.startswith(f"{path}:2: does not say which environment it is for")


async def test_quote_that_is_never_closed_is_told_where_it_opens(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", 'token,note\none,"open\n' + "two,x\n" * 3)
    tokens, problem = await read(opened(tmp_path))
    assert tokens == []
    assert problem.startswith(f"{path}:2: is not CSV: ")


async def test_line_that_is_too_long_does_not_move_the_numbers(write: Write, tmp_path: Path) -> None:
    path = write("tokens.csv", "token,note\nx," + "y" * 70_000 + "\none,\n")
    tokens, problem = await read(opened(tmp_path))
    assert [token.location.place for token in tokens] == [f"{path}:3"]
    assert problem.startswith(f"{path}:2: longer than 65536 bytes")


async def test_file_of_no_bytes_is_an_empty_source(write: Write, tmp_path: Path) -> None:
    write("tokens.csv", "")
    _tokens, problem = await read(opened(tmp_path))
    assert problem.startswith("no token found in")
    assert await found(opened(tmp_path, allow_empty=True)) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"environment": "prod", "environment_column": "env"},
        {"environment": "prod", "delimiter": ";;"},
        {"environment": "prod", "delimiter": '"'},
        {"environment": "prod", "token_column": ""},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        CsvSettings.model_validate({"type": "csv", "path": "x", "token_column": "token", **settings})
