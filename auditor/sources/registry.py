"""The kinds of sources: those that ship, and those that other packages bring (entry points ``auditor.sources``)."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from auditor.sources import command, csv_file, directory, dotenv, encrypted, environment, json_file, plain
from auditor.sources.base import SourceKind

SHIPPED: tuple[SourceKind[Any], ...] = (
    plain.KIND,
    dotenv.KIND,
    json_file.KIND,
    csv_file.KIND,
    environment.KIND,
    directory.KIND,
    command.KIND,
    encrypted.KIND,
)


@cache
def kinds() -> Mapping[str, SourceKind[Any]]:
    """Return every kind of source by its name, shipped ones first.

    An entry point names a ``SourceKind``. Raises ``ValueError`` where two kinds have one name.
    """
    found: dict[str, SourceKind[Any]] = {}
    plugged: list[SourceKind[Any]] = [entry.load() for entry in entry_points(group="auditor.sources")]
    for kind in (*SHIPPED, *plugged):
        if kind.name in found:
            raise ValueError(f"two kinds of sources have the name {kind.name}")
        found[kind.name] = kind
    return found
