"""How commands print: tables for people, JSON for programs; text from outside cannot steer the terminal."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.outside_text import clipped, visible
from auditor.reports.json_text import encoded

STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}
"""Colours of severities on a terminal."""

_CELL_LIMIT: Final = 200
"""Characters of a value from outside in a table; JSON has it whole."""


class OutputLost(Exception):
    """Standard output takes no more: its reader has gone, or its disk is full. ``why`` says which."""

    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.why = why


@contextmanager
def writing() -> Iterator[None]:
    """Tell a failure to write to standard output from every other ``OSError``: it becomes ``OutputLost``."""
    try:
        yield
    except OSError as error:
        raise OutputLost(error) from error


class _Output(Console):
    """Standard output; says so when it is lost, where rich would end the process by itself."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        with writing():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Let ``print`` tell."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class _Errors(Console):
    """Standard error; what it cannot take is lost, and no reason to stop."""

    def on_broken_pipe(self) -> None:
        """Print nothing more."""
        self.quiet = True


def console(*, errors: bool = False) -> Console:
    """Return standard output, or standard error, as a console; plain where it is no terminal."""
    kind = _Errors if errors else _Output
    is_terminal = (sys.stderr if errors else sys.stdout).isatty()
    return kind(stderr=errors, highlight=False, markup=False, emoji=False, soft_wrap=not is_terminal)


def text(value: object, style: str = "") -> Text:
    """Return a value from outside as text that shows, instead of obeying, its control characters."""
    return Text(visible(str(value)), style=style)


def cell(value: object) -> Text:
    """As ``text``, cut to a length that a table can bear."""
    return text(clipped(str(value), _CELL_LIMIT))


def is_text(argument: str) -> bool:
    """Whether an argument of the command line is Unicode text; the database holds nothing else."""
    return argument.encode(errors="ignore").decode() == argument


def severity(name: str) -> Text:
    """Return a severity in its colour."""
    return Text(name, style=STYLES.get(name, ""))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Text | str]]) -> None:
    """Print a table; where output is no terminal, columns are as wide as they need."""
    out = console()
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    if not out.is_terminal:
        out.width = 10_000
    out.print(table)


def print_json(value: object) -> None:
    """Print one JSON document, indented, in which no token has its secret part."""
    with writing():
        sys.stdout.write(msgspec.json.format(encoded(value), indent=2).decode() + "\n")
