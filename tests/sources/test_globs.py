"""Which files a glob means, and what of it is told where that cannot be known."""

import asyncio
import errno
import glob
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from auditor.model.errors import SourceError
from auditor.model.token import StoredToken
from auditor.sources import globs
from auditor.sources.blocking import BlockingSource
from auditor.sources.globs import matches
from auditor.sources.intake import Intake
from auditor.sources.plain import PlainSettings
from tests.sources.reading import ENVIRONMENTS

FILES = (
    "a.env",
    "a/.env",
    "a/b.env",
    "a/deep/er/c.env",
    "a-b/d.env",
    "b.txt",
    "b/.hidden/e.env",
    "b/.hidden.env",
    "b/[x]/f.env",
    "c/a/a/g.env",
)
PATTERNS = (
    "*",
    "*.env",
    "*/*.env",
    "*/.env",
    "**",
    "**/*.env",
    "**/.*",
    "**/.env",
    "**/a/**",
    "**/a/**/*.env",
    "**/**/?.env",
    "a/**",
    "a.env/**",
    "*/b.env/**",
    "b/.*/*",
    "b/[[]x]/*",
    "[!a]/**",
    "[ab]*/[c-d].env",
    "none/**",
    "none/*",
    "*/none/*.env",
    "linked/**/*.env",
    "**/er/*",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files, a directory that has the name of one, a link to a directory elsewhere, and one to nowhere."""
    for name in FILES:
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere" / "sub" / "h.env").touch()
    (tmp_path / "tree" / "d.env").mkdir()
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "c" / "gone.env").symlink_to("nowhere")
    (tmp_path / "tree" / "c" / "below-a-file").symlink_to("../b.txt/none")
    return tmp_path / "tree"


def found(directory: Path, pattern: str) -> tuple[list[str], str]:
    """Return what a glob matches in a directory, and what the intake says of it; empty where nothing is wrong."""
    intake = Intake("stored", PlainSettings(type="plain", path="*", environment="prod", allow_empty=True), ENVIRONMENTS)
    names = [str(path.relative_to(directory)) for path in matches(str(directory / pattern), intake)]
    try:
        intake.finish("")
    except SourceError as error:
        return names, str(error).replace(f"{directory}/", "")
    return names, ""


@pytest.mark.parametrize("pattern", PATTERNS)
def test_glob_means_what_it_means_in_the_standard_library(tree: Path, pattern: str) -> None:
    matched = glob.glob(str(tree / pattern), recursive=True)  # noqa: PTH207 -- what it is held against
    there = {Path(path) for path in matched if not Path(path).is_dir()}
    assert found(tree, pattern) == ([str(path.relative_to(tree)) for path in sorted(there, key=str)], "")


def test_directory_that_a_link_leads_to_in_circles_is_told(tree: Path) -> None:
    (tree / "b" / "round").symlink_to("round")
    told = "b/round: cannot be searched: Too many levels of symbolic links; let auditor read it, or have the source's"
    for pattern in ("b/*/*.env", "**/*.env"):
        names, problem = found(tree, pattern)
        assert "b/[x]/f.env" in names
        assert problem.startswith(told)
    assert found(tree, "*/.env") == (["a/.env"], "")
    assert found(tree, "b/roun?") == (["b/round"], ""), "opening it tells"


def test_name_that_no_directory_can_hold_is_told(tree: Path) -> None:
    names, problem = found(tree, f"[a]/{'x' * 256}")
    assert names == []
    assert problem.startswith("a: cannot be searched: File name too long; let auditor read it")


@pytest.mark.parametrize("pattern", ["**/*.env", "*/*.env"])
def test_directory_that_may_not_be_listed_is_told_and_hides_nothing(
    tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        if path == str(tree / "a"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    names, problem = found(tree, pattern)
    assert "a-b/d.env" in names
    assert "a/b.env" not in names
    assert problem.startswith("a: cannot be searched: Permission denied; let auditor read it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search any directory")
@pytest.mark.parametrize("pattern", ["*/.env", "**/.env", "*/*.env", "a/*.env"])
def test_directory_that_may_not_be_searched_is_told(tree: Path, pattern: str) -> None:
    (tree / "a").chmod(0)
    try:
        _names, problem = found(tree, pattern)
    finally:
        (tree / "a").chmod(0o700)
    assert "a: cannot be searched: Permission denied" in problem


def test_link_that_leads_back_up_is_not_followed_to_any_depth(tree: Path) -> None:
    (tree / "a" / "latest").symlink_to(".")
    (tree / "a" / "deep" / "top").symlink_to(tree)
    names, problem = found(tree, "**/[bc].env")
    assert (names, problem) == (["a/b.env", "a/deep/er/c.env"], "")
    assert found(tree, "*/latest/b.env") == (["a/latest/b.env"], ""), "who names the link means it"
    assert found(tree, "**/latest/[bc].env") == (["a/latest/b.env"], "")


def test_file_below_two_links_has_two_names(tree: Path) -> None:
    (tree / "b" / "linked-too").symlink_to("../linked/sub")
    assert found(tree, "**/h.env") == (["b/linked-too/h.env", "linked/sub/h.env"], "")


def test_links_that_lead_crosswise_come_to_an_end_and_are_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "LINKED_LIMIT", 4)
    for level in range(40):
        (tree / "b" / str(level)).mkdir()
        (tree / "b" / str(level) / "one").symlink_to(f"../{level + 1}")
        (tree / "b" / str(level) / "two").symlink_to(f"../{level + 1}")
    names, problem = found(tree, "b/0/**/*.env")
    assert names == []
    assert "leads to a directory that 4 symbolic links lead to; have the source's path name it" in problem


def test_directories_are_searched_as_they_are_come_to(tree: Path) -> None:
    intake = Intake("stored", PlainSettings(type="plain", path="*", environment="prod"), ENVIRONMENTS)
    paths = matches(str(tree / "**/*.env"), intake)
    assert next(paths) == tree / "a-b" / "d.env"
    (tree / "c" / "a" / "new.env").touch()
    assert tree / "c" / "a" / "new.env" in paths


async def test_search_ends_when_nobody_waits_for_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(intake: Intake) -> Generator[StoredToken, None, None]:
        loop.call_soon_threadsafe(begun.set)
        while not intake.is_given_up:
            time.sleep(0.001)
        assert list(matches("/*", intake)) == []
        loop.call_soon_threadsafe(ended.set)
        yield from ()

    settings = PlainSettings(type="plain", path="*", environment="prod")
    opened = BlockingSource("stored", settings, ("prod",), ENVIRONMENTS, "*", endless)
    reading = asyncio.ensure_future(anext(opened.read(), None))
    await begun.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await ended.wait()
