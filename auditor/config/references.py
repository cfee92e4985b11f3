"""Finds every reference to a secret in a configuration, wherever it stands."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from auditor.config.load import Config
from auditor.credentials.reference import SecretReference


def references_of(config: Config) -> Iterator[tuple[str, SecretReference]]:
    """Yield each reference with its key: ``environments.prod.token``."""
    yield from _in_value("", config.document)
    for table, members in (("sources", config.sources), ("hooks", config.hooks)):
        for name, (_kind, settings) in members.items():
            yield from _in_value(f"{table}.{name}", settings)


def _in_value(place: str, value: object) -> Iterator[tuple[str, SecretReference]]:
    if isinstance(value, SecretReference):
        yield place, value
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _in_value(f"{place}.{field}".lstrip("."), getattr(value, field))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _in_value(f"{place}.{key}".lstrip("."), item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _in_value(f"{place}[{number}]", item)
