"""Where in a TOML file each key stands, so that an error can name the line.

``tomllib`` gives values without places. This reads a text that ``tomllib`` took once more, for keys and places only.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Final

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top: ``("environments", "prod", "url")``."""

_TOKEN: Final = re.compile(
    r"""
      "{3} (?:\\.|[^\\])*? "{3,5}    # up to two quotes may stand right before the end
    | '{3} .*? '{3,5}
    | " (?:\\.|[^"\\])* "
    | ' [^']* '
    | \# [^\n]*
    | [\n\[\]{}=,.]
    | [^\s\[\]{}=,."'\#]+
    """,
    re.VERBOSE | re.DOTALL,
)
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of each table, key and list element of a TOML text that parses.

    What is written in several places, as a table whose keys are dotted, has the line of the first.
    """
    return _Reader(text).read()


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of a key, or of the nearest thing that holds it; None for the whole file."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def dotted(path: Sequence[str | int]) -> str:
    """Write a path as a person would: ``environments.prod.url``, ``rules."DT-EXP-01".only[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _PLAIN_KEY.fullmatch(part) else f'"{part}"'
            text += f".{shown}" if text else shown
    return text


class _Reader:
    """Goes through the tokens of a text, which is known to be right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, int]] = []
        line = 1
        for match in _TOKEN.finditer(text.removeprefix("\ufeff")):
            if not match[0].startswith("#"):
                self._tokens.append((match[0], line))
            line += match[0].count("\n")
        self._tokens.append(("", line))
        self._position = 0
        self._lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}
        """Arrays of tables, each with the position of its last table."""

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._peek():
            if self._peek() == "\n":
                self._next()
            elif self._peek() == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._lines

    def _peek(self) -> str:
        return self._tokens[self._position][0]

    def _next(self) -> str:
        token = self._peek()
        self._position += 1
        return token

    def _header(self) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]`` and return where that stands, with the positions in arrays of tables."""
        self._next()
        is_array = self._peek() == "["
        if is_array:
            self._next()
        line = self._tokens[self._position][1]
        path: KeyPath = ()
        for key in self._keys():
            if path in self._arrays:
                path = (*path, self._arrays[path])
            path = (*path, key)
            self._lines.setdefault(path, line)
        if is_array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
        if path in self._arrays:
            path = (*path, self._arrays[path])
            self._lines[path] = line
        while self._peek() == "]":
            self._next()
        return path

    def _assignment(self, table: KeyPath) -> None:
        line = self._tokens[self._position][1]
        path = table
        for key in self._keys():
            path = (*path, key)
            self._lines.setdefault(path, line)
        assert self._next() == "="
        self._value(path)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._peek() == ".":
            self._next()
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        token = self._next()
        return token if _PLAIN_KEY.fullmatch(token) else next(iter(tomllib.loads(f"{token}=0")))

    def _value(self, path: KeyPath) -> None:
        if self._peek() == "[":
            self._next()
            position = 0
            while self._skip_between() != "]":
                element = (*path, position)
                self._lines[element] = self._tokens[self._position][1]
                self._value(element)
                position += 1
            self._next()
        elif self._peek() == "{":
            self._next()
            while self._skip_between() != "}":
                self._assignment(path)
            self._next()
        else:  # a string is one token; numbers and dates may be several
            while self._peek() not in {",", "]", "}", "\n", ""}:
                self._next()

    def _skip_between(self) -> str:
        """Pass over what stands between elements and return what comes next."""
        while self._peek() in {",", "\n"}:
            self._next()
        return self._peek()
