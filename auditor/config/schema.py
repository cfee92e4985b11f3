"""JSON Schemas of ``auditor.toml``, policies and waivers, made from the models, for editors that complete and check.

They know the rules, sources and hooks that ship. ``auditor check`` knows more: what plugins bring, and everything that
one key says of another.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from auditor.alerts import registry as hooks
from auditor.alerts.base import HookKind
from auditor.config.document import AuditorDocument
from auditor.policy.document import PolicyDocument, RuleSettings
from auditor.policy.registry import SHIPPED as RULES
from auditor.policy.waivers import WaiversDocument
from auditor.policy.written.document import WrittenRule
from auditor.sources import registry as sources
from auditor.sources.base import SourceKind

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = re.compile(r"#/\$defs/(\w+)")


def auditor_schema() -> str:
    """Return the schema of ``auditor.toml``, as the text of a file."""
    members: dict[str, Sequence[SourceKind[Any] | HookKind]] = {"sources": sources.SHIPPED, "hooks": hooks.SHIPPED}
    settings = [kind.settings for kinds in members.values() for kind in kinds]
    references, definitions = _definitions([AuditorDocument, *settings])
    schema = definitions.pop(_name(references[AuditorDocument]))
    for table, kinds in members.items():
        for kind in kinds:
            definitions[_name(references[kind.settings])]["properties"]["type"]["const"] = kind.name
        schema["properties"][table]["additionalProperties"] = {"oneOf": [references[kind.settings] for kind in kinds]}
    schema["required"] = ["environments", "sources"]
    for table in schema["required"]:
        del schema["properties"][table]["default"]
        schema["properties"][table]["minProperties"] = 1
    definitions["SecretReference"] |= {"minProperties": 1, "maxProperties": 1}
    return _file("auditor.toml", schema, definitions)


def policy_schema() -> str:
    """Return the schema of a policy file, as the text of a file; any key may be left to the file that it lies over."""
    parts: list[type[BaseModel]] = [RuleSettings, WrittenRule, *(rule.params for rule in RULES)]
    references, definitions = _definitions([PolicyDocument, *parts])
    schema = definitions.pop(_name(references[PolicyDocument]))
    del schema["required"]
    definitions[_name(references[WrittenRule])]["required"] = ["id"]
    settings = definitions[_name(references[RuleSettings])]["properties"]
    schema["properties"]["rules"] |= {
        "additionalProperties": False,
        "properties": {
            rule.id: {
                "type": "object",
                "description": f"{rule.title}. Severity: {rule.severity}. Test: {rule.test}.",
                "additionalProperties": False,
                "properties": definitions[_name(references[rule.params])]["properties"] | settings,
            }
            for rule in RULES
        },
    }
    return _file("A policy of auditor", schema, definitions)


def waivers_schema() -> str:
    """Return the schema of a file of waivers, as the text of a file."""
    references, definitions = _definitions([WaiversDocument])
    schema = definitions.pop(_name(references[WaiversDocument]))
    return _file("Waivers of auditor", schema, definitions)


class _Generator(GenerateJsonSchema):
    """What pydantic makes, without what says nothing in TOML: titles that repeat a name, and null, which it lacks."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> Schema:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> Schema:
        made = super().default_schema(schema)
        if made.get("default", ...) is None:
            del made["default"]
        return made

    def encode_default(self, default: Any) -> Any:
        if isinstance(default, BaseModel):
            return default.model_dump(mode="json", exclude_none=True)
        return super().encode_default(default)


def _definitions(models: Iterable[type[BaseModel]]) -> tuple[Mapping[type, Schema], dict[str, Schema]]:
    """Return a reference to each model, and what the references refer to by name."""
    references, schema = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], schema_generator=_Generator
    )
    return {model: reference for (model, _mode), reference in references.items()}, schema["$defs"]


def _name(reference: Schema) -> str:
    return str(_REFERENCE.findall(reference["$ref"])[0])


def _file(title: str, schema: Schema, definitions: dict[str, Schema]) -> str:
    used = set(_REFERENCE.findall(json.dumps([schema, definitions])))
    kept = {name: definition for name, definition in definitions.items() if name in used}
    whole = {"$schema": _DIALECT, **schema, "title": title, "$defs": kept}
    return json.dumps(_readable(whole), indent=2, ensure_ascii=False) + "\n"


def _readable(value: Any) -> Any:
    """Return a schema whose descriptions are what an editor shows: one paragraph of Markdown."""
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: " ".join(item.replace("``", "`").split())
        if key == "description" and isinstance(item, str)
        else _readable(item)
        for key, item in value.items()
    }
