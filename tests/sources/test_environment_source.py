from pathlib import Path

from tests.sources.reading import EXAMPLE, found, read, source


async def test_variables_that_match_hold_tokens(tmp_path: Path) -> None:
    environ = {"DT_PROD_TOKEN": EXAMPLE, "DT_OTHER": "x", "DT_EMPTY_TOKEN": "", "dt_small_token": " one\n"}
    opened = source("environment", tmp_path, process_environ=environ, variables=["DT_*_TOKEN"], environment="prod")
    assert await found(opened) == {
        "env:DT_PROD_TOKEN": ("prod", EXAMPLE),
        "env:dt_small_token": ("prod", "one"),
    }


async def test_variable_of_bytes_that_are_no_text_is_told(tmp_path: Path) -> None:
    opened = source(
        "environment", tmp_path, process_environ={"A": "x\udcff", "B": "one"}, variables="?", environment="prod"
    )
    tokens, problem = await read(opened)
    assert [token.location.place for token in tokens] == ["env:B"]
    assert problem.startswith("env:A: holds space or characters that do not print")


async def test_variables_that_are_not_set_are_an_empty_source(tmp_path: Path) -> None:
    _tokens, problem = await read(
        source("environment", tmp_path, process_environ={}, variables="DT_*", environment="prod")
    )
    assert problem.startswith("no token found in environment variables DT_*; ")
