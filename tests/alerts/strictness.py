"""How strict receivers refuse: by a schema in which nothing is allowed that is not said."""

import json
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

Schema = dict[str, Any]


def closed(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return the schema of an object that holds these properties and no other."""
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def text(most: int | None = None, *, least: int = 1, pattern: str | None = None) -> Schema:
    """Return the schema of a text."""
    bounds = {"minLength": least, "maxLength": most, "pattern": pattern}
    return {"type": "string", **{name: value for name, value in bounds.items() if value is not None}}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def array(items: Schema, most: int, *, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def wrong_with(value: object, schema: Schema) -> str | None:
    """Return what breaks a schema first, with its place; None where nothing does."""
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    return None if error is None else f"{error.json_path}: {error.message[:200]}"


async def json_of(request: web.Request, most_bytes: int, method: str = "POST") -> Any:
    """Return a request's JSON document; raises ``ValueError`` where it is none, or too long."""
    if request.method != method or request.content_type != "application/json":
        raise ValueError(f"must be a {method} of application/json")
    body = await request.read()
    if len(body) > most_bytes:
        raise ValueError(f"is {len(body)} bytes long")
    return json.loads(body)
