"""The parts of text with a little form."""

from enum import StrEnum
from typing import NamedTuple


class Style(StrEnum):
    """How a run of text stands out."""

    PLAIN = "plain"
    STRONG = "strong"
    CODE = "code"
    LINK = "link"


class Run(NamedTuple):
    """Text of one style, without a line break."""

    text: str
    style: Style = Style.PLAIN
    url: str = ""
    """Where a link leads."""


Line = tuple[Run, ...]


class Shape(StrEnum):
    """What a block is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"


class Block(NamedTuple):
    """Lines that belong together; an item of a list is a line."""

    shape: Shape
    lines: tuple[Line, ...]


def plain(run: Run) -> str:
    """Return a run as plain text; a link with where it leads."""
    return f"{run.text} ({run.url})" if run.url and run.url != run.text else run.text
