"""Reads what the CEL compiler makes of a condition: the checked expression, as CEL's own ``checked.proto`` defines it.

The compiler gives it serialized only. The few messages that matter here are read by hand; their numbers are part of
CEL's published interface and cannot change.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_VARINT: Final = 0
_EIGHT_BYTES: Final = 1
_DELIMITED: Final = 2


class Node(NamedTuple):
    """A part of an expression, with its parts."""

    kind: str
    """``const``, ``ident``, ``select``, ``call``, ``list``, ``struct`` or ``comprehension``."""
    name: str
    """Of an ident its name, of a select its field, of a call its function, of a comprehension its variable; of a
    constant its text where it is one."""
    parts: tuple["Node", ...]
    """Of a comprehension: range, first result, condition to go on, step, result."""
    reference: str
    """The variable that it stands for; empty where it is none."""
    overloads: tuple[str, ...]
    """Of a call, what it may come to by the types of its arguments."""
    is_map: bool
    """Whether its value is a map."""

    def walk(self) -> Iterator["Node"]:
        """Yield this node and everything in it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def read_checked(serialized: bytes) -> Node:
    """Return the expression of a serialized ``google.protobuf.Any`` with a ``cel.expr.CheckedExpr``.

    Raises ``ValueError`` where it is something else.
    """
    outer = _fields(serialized)
    kind = _text(_first(outer, 1))
    if not kind.endswith("/cel.expr.CheckedExpr"):
        raise ValueError(f"not a checked expression but {kind}")
    checked = _fields(_bytes(_first(outer, 2)))
    references: dict[int, tuple[str, tuple[str, ...]]] = {}
    maps: set[int] = set()
    for number, value in checked:
        if number == 2:  # reference_map
            entry = _fields(_bytes(value))
            reference = _fields(_bytes(_first(entry, 2)))
            overloads = tuple(_text(overload) for field, overload in reference if field == 3)
            references[_number(_first(entry, 1))] = ("" if overloads else _text(_first(reference, 1)), overloads)
        elif number == 3:  # type_map
            entry = _fields(_bytes(value))
            if any(field == 7 for field, _ in _fields(_bytes(_first(entry, 2)))):
                maps.add(_number(_first(entry, 1)))
    return _Reader(references, maps).node(_bytes(_first(checked, 4)))


class _Reader:
    def __init__(self, references: Mapping[int, tuple[str, tuple[str, ...]]], maps: set[int]) -> None:
        self._references = references
        self._maps = maps

    def node(self, encoded: bytes) -> Node:
        fields = _fields(encoded)
        number = next((_number(value) for field, value in fields if field == 2), 0)
        kind, content = next(((field, value) for field, value in fields if field in _KINDS), (3, b""))
        inner = _fields(_bytes(content))
        name, parts = self._content(_KINDS[kind], inner)
        reference, overloads = self._references.get(number, ("", ()))
        return Node(_KINDS[kind], name, parts, reference, overloads, number in self._maps)

    def _content(self, kind: str, inner: "_Fields") -> tuple[str, tuple[Node, ...]]:
        if kind == "const":
            return next((_text(value) for field, value in inner if field == 6), ""), ()
        if kind == "ident":
            return _text(_first(inner, 1)), ()
        if kind == "select":
            return _text(_first(inner, 2)), self._nodes(inner, (1,))
        if kind == "call":
            return _text(_first(inner, 2)), self._nodes(inner, (1, 3))
        if kind == "list":
            return "", self._nodes(inner, (1,))
        if kind == "comprehension":
            return _text(_first(inner, 1)), tuple(
                node for number in (2, 4, 5, 6, 7) for node in self._nodes(inner, (number,))
            )
        entries = [_fields(_bytes(value)) for field, value in inner if field == 2]
        return "", tuple(node for entry in entries for node in self._nodes(entry, (3, 4)))

    def _nodes(self, fields: "_Fields", numbers: tuple[int, ...]) -> tuple[Node, ...]:
        return tuple(self.node(_bytes(value)) for field, value in fields if field in numbers)


_KINDS: Final = {3: "const", 4: "ident", 5: "select", 6: "call", 7: "list", 8: "struct", 9: "comprehension"}

_Fields = list[tuple[int, int | bytes]]


def _fields(encoded: bytes) -> _Fields:
    """Split a message into field numbers and values, by protobuf's wire format."""
    fields: _Fields = []
    position = 0
    while position < len(encoded):
        tag, position = _varint(encoded, position)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, position = _varint(encoded, position)
        elif wire == _DELIMITED:
            length, position = _varint(encoded, position)
            value, position = encoded[position : position + length], position + length
        elif wire == _EIGHT_BYTES:
            value, position = encoded[position : position + 8], position + 8
        else:
            raise ValueError(f"wire type {wire} is not one of CEL's messages")
        fields.append((number, value))
    return fields


def _varint(encoded: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = encoded[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def _first(fields: _Fields, number: int) -> int | bytes:
    """Return a field's value; what is not there is empty, as protobuf has it."""
    return next((value for field, value in fields if field == number), b"")


def _bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _number(value: int | bytes) -> int:
    return value if isinstance(value, int) else 0


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "replace")
