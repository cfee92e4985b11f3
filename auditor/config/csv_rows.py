"""Reads CSV files whose first line names the columns, and says in which line one is wrong."""

import csv
from collections.abc import Iterator
from pathlib import Path

from auditor.config.texts import opened_text


class BadRow(Exception):
    """A line that cannot be used; the message says why, and what to write."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def rows_of(path: Path, key: str, value: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, key and value of each row with a key, from these two columns; others are passed over.

    Raises ``BadRow``, ``OSError`` and ``UnicodeDecodeError``.
    """
    with opened_text(path, newline="") as file:
        reader = csv.DictReader(file, strict=True)  # else a quote that is never closed would swallow what follows
        try:
            if reader.fieldnames is None or key not in reader.fieldnames or value not in reader.fieldnames:
                raise BadRow(1, f"the first line must name the columns {key} and {value}, as in: {key},{value}")
            for row in reader:
                name = (row[key] or "").strip()
                if name:
                    yield reader.line_num, name, (row[value] or "").strip()
        except csv.Error as error:
            raise BadRow(reader.line_num + 1, f"is not CSV: {error}; see the quotes") from None
