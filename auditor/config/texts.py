"""Opens the files of text that a configuration names: regular ones only, for a pipe may keep its reader for ever."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from auditor.credentials.files import opened


@contextmanager
def opened_text(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file of UTF-8, without a byte order mark; ``newline`` as for ``open``.

    Raises ``OSError`` as ``credentials.files.opened`` does; reading raises ``UnicodeDecodeError``.
    """
    with opened(path) as file, io.TextIOWrapper(file.stream, encoding="utf-8-sig", newline=newline) as text:
        yield text


def text_of(path: Path) -> str:
    """Return what a file holds; raises as ``opened_text`` does."""
    with opened_text(path) as file:
        return file.read()
