"""How a batch of rows goes to PostgreSQL: as one JSON document, read there by ``json_to_recordset``.

Encoding an array for each column, the driver's own way, costs the sweeping process three times as much.
"""

from collections.abc import Mapping

import msgspec


def as_json(value: object) -> str:
    """Return a value as JSON text: a batch as a list of objects, or what a ``jsonb`` column is to hold."""
    return msgspec.json.encode(value).decode()


def row_type(columns: Mapping[str, str]) -> type[msgspec.Struct]:
    """Return what makes a row of ``recordset`` of the columns' values, in order.

    Those that are None are not sent: PostgreSQL takes nearly 1 µs to read a value, be it null or empty.
    """
    return msgspec.defstruct("Row", [(name, object, None) for name in columns], omit_defaults=True, gc=False)


def recordset(parameter: str, alias: str, columns: Mapping[str, str]) -> str:
    """Return the ``from`` item that reads a parameter of ``as_json`` rows; columns map names to types."""
    named = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset({parameter}::json) as {alias} ({named})"


def is_among(column: str, parameter: str, kind: str) -> str:
    """Return the SQL of whether a column has one of the values of a parameter that is an array of ``kind``.

    The planner does not see how many values there are, and takes an index. On a table that just grew, which has no
    statistics, it would else take a batch of them to be most of the table, and read the whole of it.
    """
    return f"{column} = any ((select {parameter}::{kind}[])::{kind}[])"


def bytes_in_json(value: bytes) -> str:
    """Return bytes the way that a ``bytea`` column of ``recordset`` reads them."""
    return rf"\x{value.hex()}"
