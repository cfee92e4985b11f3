"""Text that must look a certain way, and what people are told where it does not."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class Shape:
    """Annotates a text of a table that a regular expression must match from end to end."""

    pattern: str
    """Of the kind that JSON Schema, too, understands."""
    words: str
    """What to write, as the end of a sentence that began with the key: ``must be like eu-central-1``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text after everything else that is asked of it."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Have editors check it, too."""
        return handler(schema) | {"pattern": f"^{self.pattern}$"}

    def _checked(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(self.words)
        return text


HOST = Shape(
    "[A-Za-z0-9._:-]+",
    "must be the name or address of a host and nothing else, such as host.example.com; its port goes to port",
)
