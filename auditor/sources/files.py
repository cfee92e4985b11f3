"""Finds and reads the files of a source; whatever cannot be read becomes a problem of the intake."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from auditor.credentials.files import opened
from auditor.sources.globs import matches
from auditor.sources.intake import Intake

LINE_LIMIT: Final = 65_536
"""Bytes of the longest line that is read."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CHUNK: Final = 1_048_576

log = structlog.get_logger(__name__)


class _Unread(Exception):
    """The problem with this file is noted; there is nothing more to read of it."""


def absolute(path: str, directory: Path) -> str:
    """Return a path of the configuration as one that means the same from everywhere, so that places stay the same."""
    return os.path.abspath(directory / os.path.expanduser(path))  # noqa: PTH100, PTH111 -- keeps links, never raises


def matching(path: str, directory: Path, intake: Intake) -> Iterator[Path]:
    """Yield the files that a path of the configuration means, sorted: itself, or what it matches as a glob.

    A glob that matches nothing yields nothing: then the source is empty. A directory that it cannot look into is a
    problem: what is in there is not known.
    """
    pattern = absolute(path, directory)
    if os.path.lexists(pattern) or not glob.has_magic(pattern):
        yield Path(pattern)
        return
    yield from matches(pattern, intake)


def lines(path: Path, intake: Intake) -> Iterator[tuple[int, str]]:
    """Yield a file's lines with their numbers from 1, as UTF-8, without a byte order mark, with their line ends.

    A line that is too long or not UTF-8 is a problem, and comes as an empty one, so that numbers stay right.
    """
    try:
        with _reading(path, intake) as stream:
            for number, line in enumerate(_whole_lines(stream), 1):
                if line is None:
                    intake.problem(f"{path}:{number}", f"longer than {LINE_LIMIT} bytes; see that it is a text file")
                    yield number, "\n"
                    continue
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                try:
                    text = line.decode()
                except UnicodeDecodeError:
                    intake.problem(f"{path}:{number}", "is not UTF-8 text; convert the file")
                    text = "\n"
                yield number, text
    except _Unread:
        return


def whole(path: Path, limit: int, intake: Intake) -> bytes | None:
    """Return a file's content without a byte order mark; None where it cannot be read or is larger than ``limit``."""
    try:
        with _reading(path, intake) as stream:
            content = stream.read(limit + 1)
    except _Unread:
        return None
    if len(content) > limit:
        intake.problem(str(path), f"larger than {limit} bytes, which is the most that is read at once; divide it")
        return None
    return content.removeprefix(_BYTE_ORDER_MARK)


def whole_text(path: Path, limit: int, intake: Intake) -> str | None:
    """As ``whole``, decoded from UTF-8; None where that fails, too."""
    content = whole(path, limit, intake)
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        intake.problem(str(path), "is not UTF-8 text; convert the file")
        return None


@contextmanager
def _reading(path: Path, intake: Intake) -> Iterator[BinaryIO]:
    try:
        with opened(path) as file:
            if file.is_readable_by_others:
                log.warning("source_file_readable_by_others", path=str(path), mode=f"{file.mode:04o}")
            yield file.stream
    except OSError as error:
        intake.problem(str(path), f"cannot be read: {error.strerror}; correct the path, or let auditor read it")
        raise _Unread from None


def _whole_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield lines; None in place of one that is too long, which is passed over in pieces."""
    while line := stream.readline(LINE_LIMIT + 1):
        if len(line) <= LINE_LIMIT or line.endswith(b"\n"):
            yield line
            continue
        while (piece := stream.readline(_CHUNK)) and not piece.endswith(b"\n"):
            pass
        yield None
