"""Where in a TOML file each key stands, so that an error can name the line.

``tomllib`` gives values without places. This reads the same file again, for keys only: table headers and assignments
at the start of a line. A key inside an inline table is found by the line of the key that holds it.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Final

Path = tuple[str | int, ...]
"""Keys and list positions from the top: ``("environments", "prod", "url")``."""

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT: Final = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(.*)"""
)
_STRING: Final = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*')


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each table and key of a TOML text that parses."""
    lines: dict[Path, int] = {}
    tables: dict[Path, int] = {}
    table: Path = ()
    depth = 0
    for number, line in enumerate(_without_long_strings(text).split("\n"), 1):
        if depth == 0:
            header = _HEADER.match(line)
            assignment = None if header else _ASSIGNMENT.match(line)
            if header:
                table = _keys(header[2])
                if header[1] == "[[":
                    tables[table] = tables.get(table, -1) + 1
                table = _with_positions(table, tables)
                lines.setdefault(table, number)
                continue
            if assignment:
                lines.setdefault(table + _keys(assignment[1]), number)
                line = assignment[2]
        bare = _STRING.sub("", line)
        depth = max(0, depth + bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}"))
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of a key, or of the nearest thing that holds it; None for the whole file."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def _keys(dotted: str) -> Path:
    found: list[str] = []
    value: object = tomllib.loads(f"{dotted} = 0")
    while isinstance(value, dict):
        key, value = next(iter(value.items()))
        found.append(key)
    return tuple(found)


def _with_positions(table: Path, tables: dict[Path, int]) -> Path:
    """Insert the position in each array of tables on the way to a table."""
    path: list[str | int] = []
    for end in range(1, len(table) + 1):
        path.append(table[end - 1])
        if table[:end] in tables:
            path.append(tables[table[:end]])
    return tuple(path)


def _without_long_strings(text: str) -> str:
    """Blank strings of several lines, keeping the line count."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n") if match[0].startswith(('"""', "'''")) else match[0]

    return _STRING.sub(blank, text)


def dotted(path: Sequence[str | int]) -> str:
    """Write a path as a person would: ``environments.prod.url``, ``rules."DT-EXP-01".only[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{shown}" if text else shown
    return text
