"""What people write in configuration and policy files: tables of TOML, as pydantic models.

Models are built when they are first used, and what their fields mean is read from the sources only by those who print
it: a process that starts would else spend a third of its time on both.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Table(BaseModel):
    """A table whose keys are known and which does not change; the string below a field says what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add to the table's JSON Schema what its fields mean."""
        made = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, meaning in meanings(cls).items():
            properties[cls.model_fields[name].alias or name].setdefault("description", meaning)
        return made


def meanings(table: type[Table]) -> Mapping[str, str]:
    """Return what the fields of a table mean, by name, as its source says; it may say nothing of some."""
    found: dict[str, str] = {}
    for one in reversed(table.__mro__):
        if issubclass(one, Table):
            found |= {name: meaning for name, meaning in _documented(one).items() if name in table.model_fields}
    return found | {name: field.description for name, field in table.model_fields.items() if field.description}


@cache
def _documented(table: type[Table]) -> Mapping[str, str]:
    """Return what a class says of its own fields; a class above many is read once."""
    return dict(_read(table))


def _read(table: type[Table]) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(table))).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                yield name, inspect.cleandoc(meaning)
