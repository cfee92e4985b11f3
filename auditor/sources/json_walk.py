"""Finds the strings of a JSON value that a path names, or that look like tokens, with where they stand."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from auditor.model.secret import public_id_of

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


class Found(NamedTuple):
    """What stands where a token should be."""

    value: Json
    """A string, or whatever else stands there; never None."""
    environment: str | None
    """What the environment field nearest around it says; None where there is none."""
    pointer: str
    """JSON pointer (RFC 6901); empty for the whole value."""


class _Node(NamedTuple):
    value: Json
    environment: str | None
    pointer: str
    steps: int
    """How many steps of the path lead here."""


def found_in(document: Json, path: Sequence[str] | None, environment_field: str | None) -> Iterator[Found]:
    """Yield what ``path`` leads to, in the document's order; without a path, every string of today's token format.

    A step names a key; ``*`` stands for any. A list is gone through entry by entry and takes no step. What is null,
    and what the path does not lead to, is passed over. Nesting may be of any depth.
    """
    waiting = [iter((_Node(document, None, "", 0),))]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
        elif isinstance(node.value, list):
            waiting.append(_entries(node, node.value))
        elif path is None:
            if isinstance(node.value, dict):
                waiting.append(_members(node, node.value, "*", environment_field))
            elif isinstance(node.value, str) and public_id_of(node.value.strip()):
                yield Found(node.value, node.environment, node.pointer)
        elif node.steps == len(path):
            if node.value is not None:
                yield Found(node.value, node.environment, node.pointer)
        elif isinstance(node.value, dict):
            waiting.append(_members(node, node.value, path[node.steps], environment_field))


def _entries(node: _Node, value: list[Json]) -> Iterator[_Node]:
    for number, entry in enumerate(value):
        yield node._replace(value=entry, pointer=f"{node.pointer}/{number}")


def _members(node: _Node, value: dict[str, Json], step: str, environment_field: str | None) -> Iterator[_Node]:
    named = value.get(environment_field) if environment_field is not None else None
    environment = named if isinstance(named, str) else node.environment
    for key, member in value.items():
        if step in ("*", key):
            yield _Node(member, environment, f"{node.pointer}/{_escaped(key)}", node.steps + 1)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
