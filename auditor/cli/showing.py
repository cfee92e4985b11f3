"""How commands print: tables for people, JSON for programs; text from outside cannot steer the terminal."""

import sys
from collections.abc import Iterable, Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.reports.outside_text import visible

STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}
"""Colours of severities on a terminal."""


def console(*, errors: bool = False) -> Console:
    """Return standard output, or standard error, as a console; plain where it is no terminal."""
    return Console(stderr=errors, highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


def text(value: object, style: str = "") -> Text:
    """Return a value from outside as text that shows, instead of obeying, its control characters."""
    return Text(visible(str(value)), style=style)


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
    """Print one JSON document, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
