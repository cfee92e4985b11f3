from pathlib import Path

from tests.sources.reading import EXAMPLE, Write, found, minted, read, source


async def test_values_of_todays_format_are_tokens_whatever_their_names(write: Write, tmp_path: Path) -> None:
    path = write(
        ".env", f"DEBUG=1\n\n# tokens\nexport DT_API='{EXAMPLE}' # used by CI\nOTHER=plain-{minted()}\nEMPTY=\nBARE\n"
    )
    assert await found(source("dotenv", tmp_path, path=".env", environment="prod")) == {
        f"{path}:4 DT_API": ("prod", EXAMPLE)
    }


async def test_named_variables_are_tokens_whatever_they_look_like_and_no_others(write: Write, tmp_path: Path) -> None:
    old = minted()
    path = write(".env", f"DT_PROD={old}\nDT_STAGE={EXAMPLE}\nDT_PROD_EMPTY=\n")
    opened = source("dotenv", tmp_path, path=".env", environment="prod", variables="dt_prod*")
    assert await found(opened) == {f"{path}:1 DT_PROD": ("prod", old)}


async def test_nothing_is_put_in_place_of_a_variable_in_a_value(write: Write, tmp_path: Path) -> None:
    path = write(".env", 'A=one\nB="${A}-two"\n')
    opened = source("dotenv", tmp_path, path=".env", environment="prod", variables=["B"])
    assert await found(opened) == {f"{path}:2 B": ("prod", "${A}-two")}


async def test_line_that_is_no_assignment_is_told_without_its_content(write: Write, tmp_path: Path) -> None:
    secret = minted()
    path = write(".env", f"\n\nA='{secret}\nB={EXAMPLE}\n")
    tokens, problem = await read(source("dotenv", tmp_path, path=".env", environment="prod"))
    assert [token.location.place for token in tokens] == [f"{path}:4 B"]
    assert problem.startswith(f"{path}:3: is no NAME=value line")
    assert secret not in problem


async def test_file_that_is_too_large_is_refused(write: Write, tmp_path: Path) -> None:
    write(".env", b"#" * (4 * 1024 * 1024 + 1))
    _tokens, problem = await read(source("dotenv", tmp_path, path=".env", environment="prod"))
    assert "larger than 4194304 bytes" in problem


async def test_file_that_is_not_text_is_refused(write: Write, tmp_path: Path) -> None:
    write(".env", b"A=\xff\n")
    _tokens, problem = await read(source("dotenv", tmp_path, path=".env", environment="prod"))
    assert "is not UTF-8 text" in problem
