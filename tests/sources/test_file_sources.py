"""What holds for every source that reads files, shown with plain files: one token a line."""

import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from auditor.sources.base import Source
from auditor.sources.blocking import BlockingSource
from auditor.sources.plain import PlainSettings
from tests.sources.reading import EXAMPLE, Write, found, minted, read, source


def plain(directory: Path, path: str = "tokens.txt", **settings: Any) -> Source:
    return source("plain", directory, path=path, environment="prod", **settings)


async def test_each_line_is_a_token_at_its_place(write: Write, tmp_path: Path) -> None:
    old = minted()
    path = write("tokens.txt", f"# production\n\n  {EXAMPLE}\t\r\n   # more\n{old}")
    assert await found(plain(tmp_path)) == {f"{path}:3": ("prod", EXAMPLE), f"{path}:5": ("prod", old)}


async def test_tags_of_the_source_go_with_every_token(write: Write, tmp_path: Path) -> None:
    write("tokens.txt", f"{minted()}\n{minted()}\n")
    tokens, _problem = await read(plain(tmp_path, tags=("ci", "legacy")))
    assert [token.tags for token in tokens] == [("ci", "legacy")] * 2


async def test_large_file_comes_in_batches(write: Write, tmp_path: Path) -> None:
    write("tokens.txt", "".join(f"token-{number}\n" for number in range(2_500)))
    sizes = [len(batch) async for batch in plain(tmp_path).read()]
    assert sizes == [1000, 1000, 500]


async def test_glob_reads_every_matching_file_in_order(write: Write, tmp_path: Path) -> None:
    first, second, deep = write("a.txt", "one"), write("b.txt", "two"), write("sub/c.txt", "three")
    write("b.bak", "not this")
    (tmp_path / "directory.txt").mkdir()
    assert list(await found(plain(tmp_path, "**/*.txt"))) == [f"{first}:1", f"{second}:1", f"{deep}:1"]


async def test_file_whose_name_looks_like_a_glob_is_read(write: Write, tmp_path: Path) -> None:
    path = write("tokens[1].txt", "one")
    assert list(await found(plain(tmp_path, "tokens[1].txt"))) == [f"{path}:1"]


async def test_place_does_not_depend_on_how_the_path_is_written(write: Write, tmp_path: Path) -> None:
    path = write("tokens.txt", "one")
    (tmp_path / "conf").mkdir()
    assert list(await found(plain(tmp_path / "conf", "../tokens.txt"))) == [f"{path}:1"]


async def test_byte_order_mark_is_no_part_of_the_token(write: Write, tmp_path: Path) -> None:
    path = write("tokens.txt", b"\xef\xbb\xbfone\n")
    assert await found(plain(tmp_path)) == {f"{path}:1": ("prod", "one")}


async def test_missing_file_is_named_with_the_mend(tmp_path: Path) -> None:
    _tokens, problem = await read(plain(tmp_path))
    assert problem.startswith(f"{tmp_path}/tokens.txt: cannot be read: No such file or directory; correct the path")


async def test_file_that_cannot_be_read_does_not_hide_the_others(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("nowhere")
    write("b.txt", "one")
    tokens, problem = await read(plain(tmp_path, "*.txt"))
    assert len(tokens) == 1
    assert f"{tmp_path}/a.txt: cannot be read" in problem


@pytest.mark.parametrize(("make", "reason"), [(os.mkdir, "Is a directory"), (os.mkfifo, "Is not a regular file")])
async def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, make: object, reason: str) -> None:
    assert callable(make)
    make(tmp_path / "tokens.txt")
    _tokens, problem = await read(plain(tmp_path))
    assert f"{tmp_path}/tokens.txt: cannot be read: {reason}" in problem


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but a comment\n"])
async def test_source_without_a_token_is_a_problem(write: Write, tmp_path: Path, content: str) -> None:
    write("tokens.txt", content)
    _tokens, problem = await read(plain(tmp_path))
    assert problem.startswith(f"no token found in {tmp_path}/tokens.txt; ")
    assert await found(plain(tmp_path, allow_empty=True)) == {}


async def test_glob_that_matches_nothing_is_an_empty_source(tmp_path: Path) -> None:
    _tokens, problem = await read(plain(tmp_path, "*.txt"))
    assert problem.startswith(f"no token found in {tmp_path}/*.txt; ")
    assert await found(plain(tmp_path, "*.txt", allow_empty=True)) == {}


async def test_missing_file_is_a_problem_even_where_an_empty_source_is_right(tmp_path: Path) -> None:
    _tokens, problem = await read(plain(tmp_path, allow_empty=True))
    assert "No such file" in problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"x" * 4_097, "longer than 4096 characters"),
        (b"y" * 70_000, "longer than 65536 bytes"),
        (b"y" * 3_000_000, "longer than 65536 bytes"),
        (b"two words", "holds space or characters that do not print"),
        (b"nul\x00nul", "holds space or characters that do not print"),
        ("zero\u200bwidth".encode(), "holds space or characters that do not print"),
        (b"latin \xe9", "is not UTF-8 text"),
    ],
)
async def test_bad_line_is_told_with_its_place_and_hides_nothing(
    write: Write, tmp_path: Path, line: bytes, message: str
) -> None:
    path = write("tokens.txt", b"before\n" + line + b"\nafter\n")
    tokens, problem = await read(plain(tmp_path))
    assert [(token.location.place, token.secret.reveal()) for token in tokens] == [
        (f"{path}:1", "before"),
        (f"{path}:3", "after"),
    ]
    assert problem.startswith(f"{path}:2: {message}")


async def test_line_that_is_too_long_without_an_end_ends_the_file(write: Write, tmp_path: Path) -> None:
    path = write("tokens.txt", b"before\n" + b"y" * 2_000_000)
    tokens, problem = await read(plain(tmp_path))
    assert len(tokens) == 1
    assert problem.startswith(f"{path}:2: longer than 65536 bytes")


async def test_many_bad_lines_are_counted_not_listed(write: Write, tmp_path: Path) -> None:
    secret = minted()
    write("tokens.txt", f"{secret} {secret}\n" * 500)
    _tokens, problem = await read(plain(tmp_path))
    assert problem.count("holds space") == 10
    assert problem.endswith("; and 490 more")
    assert secret not in problem


async def test_token_for_an_environment_that_is_not_configured_is_a_problem(write: Write, tmp_path: Path) -> None:
    path = write("tokens.txt", "one")
    _tokens, problem = await read(source("plain", tmp_path, path="tokens.txt", environment="prodd"))
    assert problem.startswith(f"{path}:1: is for an environment that is not configured (configured: prod, stage)")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
async def test_file_that_others_may_read_is_warned_of_once_a_reading(write: Write, tmp_path: Path, mode: int) -> None:
    path = write("tokens.txt", "one\ntwo\n")
    path.chmod(mode)
    with capture_logs() as logs:
        await found(plain(tmp_path))
    assert logs == [
        {
            "event": "source_file_readable_by_others",
            "log_level": "warning",
            "path": str(path),
            "mode": f"{mode:04o}",
        }
    ]


async def test_private_file_is_not_warned_of(write: Write, tmp_path: Path) -> None:
    write("tokens.txt", "one")
    with capture_logs() as logs:
        await found(plain(tmp_path))
    assert logs == []


async def test_source_can_be_read_again(write: Write, tmp_path: Path) -> None:
    write("tokens.txt", "one")
    opened = plain(tmp_path)
    first = await found(opened)
    write("tokens.txt", "one\ntwo")
    assert len(await found(opened)) == len(first) + 1


async def test_leaving_early_lets_go_of_the_file(write: Write, tmp_path: Path) -> None:
    path = write("tokens.txt", "one\n" * 100_000)
    opened = plain(tmp_path)
    assert isinstance(opened, BlockingSource)
    async with aclosing(opened.read()) as batches:
        await anext(batches)
        assert path in open_files()
    assert path not in open_files()


def open_files() -> list[Path]:
    return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


async def test_place_in_a_path_of_outside_bytes_can_be_stored(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\n.txt")
    path.write_text("one")
    path.chmod(0o600)
    (place,) = await found(plain(tmp_path, "*.txt"))
    assert place == f"{tmp_path}/\ufffd\ufffd.txt:1"


def test_declared_environment_is_known_before_reading(tmp_path: Path) -> None:
    assert plain(tmp_path).environments() == ("prod",)


@pytest.mark.parametrize("settings", [{"path": ""}, {"path": "a\0b"}, {"environment": ""}, {"pathh": "x"}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PlainSettings.model_validate({"type": "plain", "path": "a", "environment": "prod", **settings})
