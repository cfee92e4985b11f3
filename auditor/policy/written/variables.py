"""The variables of written rules: what they are called, of which type they are, and where their values come from."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.spelling import meant
from auditor.model.token import PLACES_LIMIT
from auditor.policy.base import Context, NotAssessable
from auditor.policy.wording import iso


class Shape(StrEnum):
    """A variable's type, in the words of the documentation."""

    TEXT = "string"
    OPTIONAL_TEXT = "string or null"
    OPTIONAL_BOOL = "bool or null"
    INSTANT = "timestamp"
    OPTIONAL_INSTANT = "timestamp or null"
    TEXTS = "list(string)"
    TEXT_BY_TEXT = "map(string, string)"
    LOCATIONS = "list of {source, place}, both string"
    PRESENCE = "null, or what its fields below say"

    @property
    def is_instant(self) -> bool:
        """Whether its values, where they are not null, are instants."""
        return self in {Shape.INSTANT, Shape.OPTIONAL_INSTANT}


LOCATION_FIELDS: Final = ("source", "place")

_TEXT_MAX: Final = 10_000
_ENTRIES_MAX: Final = 1_000
_TEXT_OF_ENTRIES_MAX: Final = 100_000
_TOO_LARGE: Final = "{} is larger than written rules take"

Read = Callable[[Observation, TokenMetadata, Context], Any]


class Variable(NamedTuple):
    """One variable."""

    name: str
    """As rules write it: ``token.owner``."""
    shape: Shape
    meaning: str
    read: Read
    """Returns its value in plain Python; raises ``NotAssessable`` where it is larger than written rules take."""
    is_of_previous: bool = False
    """Whether it has a value only where ``previous`` is not null."""


_FIELDS: Final[Mapping[str, tuple[Shape, str]]] = {
    "id": (Shape.TEXT, "The token identifier `prefix.public`, as the answer gives it."),
    "name": (Shape.OPTIONAL_TEXT, "Its name."),
    "owner": (Shape.OPTIONAL_TEXT, "Its owner."),
    "enabled": (Shape.OPTIONAL_BOOL, "Whether it is enabled."),
    "personal_access_token": (Shape.OPTIONAL_BOOL, "Whether it is a personal access token."),
    "creation_date": (Shape.OPTIONAL_INSTANT, "When it was created."),
    "modified_date": (
        Shape.OPTIONAL_INSTANT,
        "When its scopes or name last changed; enabling or disabling does not move it.",
    ),
    "expiration_date": (Shape.OPTIONAL_INSTANT, "When it expires; null: never."),
    "last_used_date": (Shape.OPTIONAL_INSTANT, "When it was last used; null: never."),
    "last_used_ip_address": (Shape.OPTIONAL_TEXT, "Where it was last used from."),
    "scopes": (Shape.TEXTS, "The scopes that it holds, sorted."),
    "additional_metadata": (Shape.TEXT_BY_TEXT, "Further fields of the API's answer."),
}


def _of_token(field: str) -> Read:
    def read(_observation: Observation, token: TokenMetadata, _context: Context) -> Any:
        return _bounded(f"token.{field}", getattr(token, field))

    return read


def _of_previous(field: str) -> Read:
    def read(_observation: Observation, _token: TokenMetadata, context: Context) -> Any:
        previous = previous_token(context)
        return None if previous is None else _bounded(f"previous.{field}", getattr(previous, field))

    return read


def previous_token(context: Context) -> TokenMetadata | None:
    """Return what the last evident lookup before this one said; None where there was none, or it was missing."""
    previous = context.history.previous
    return previous.metadata if previous is not None else None


def _locations(observation: Observation, _token: TokenMetadata, _context: Context) -> list[dict[str, str]]:
    if len(observation.locations) >= PLACES_LIMIT:  # there may be more, and a rule would judge by a part of them
        raise NotAssessable(_TOO_LARGE.format("locations"))
    # Places are names of files and the like, which may hold what no text may.
    places = [{"source": location.source, "place": _as_text(location.place)} for location in observation.locations]
    _bounded("locations", [location["place"] for location in places])
    return places


def _as_text(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bounded(name: str, value: Any) -> Any:
    """Return a value as CEL takes it: texts, lists and maps up to a size that bounds what a condition can cost."""
    if isinstance(value, str):
        is_fit = len(value) <= _TEXT_MAX
    elif isinstance(value, tuple | list):
        is_fit = len(value) <= _ENTRIES_MAX and sum(map(len, value)) <= _TEXT_OF_ENTRIES_MAX
        value = list(value)
    elif isinstance(value, dict):
        is_fit = (
            len(value) <= _ENTRIES_MAX
            and sum(len(key) + len(item) for key, item in value.items()) <= _TEXT_OF_ENTRIES_MAX
        )
    else:
        return value
    if not is_fit:
        raise NotAssessable(_TOO_LARGE.format(name))
    return value


def _all() -> list[Variable]:
    token = [
        Variable(f"token.{field}", shape, meaning, _of_token(field)) for field, (shape, meaning) in _FIELDS.items()
    ]
    previous = [
        Variable(f"previous.{field}", shape, f"The same, in the observation before: {meaning[0].lower()}{meaning[1:]}",
                 _of_previous(field), is_of_previous=True)
        for field, (shape, meaning) in _FIELDS.items()
    ]  # fmt: skip
    return [
        *token,
        Variable(
            "previous",
            Shape.PRESENCE,
            "The observation before; null where the token is observed for the first time, or was missing then. Compare "
            "it with null before you use its fields: without one, they have no value.",
            lambda _o, _t, context: None if previous_token(context) is None else {},
        ),
        *previous,
        Variable("locations", Shape.LOCATIONS, "Where the token is stored.", _locations),
        Variable(
            "tags",
            Shape.TEXTS,
            "Tags of the sources that hold it, sorted.",
            lambda observation, _t, _c: _bounded("tags", sorted(observation.tags)),
        ),
        Variable(
            "environment.name",
            Shape.TEXT,
            "The environment's name in the configuration.",
            lambda observation, _t, _c: observation.environment,
        ),
        Variable(
            "environment.kind",
            Shape.OPTIONAL_TEXT,
            "The environment's kind in the configuration: `production`, `test` or another.",
            lambda _o, _t, context: context.environment_kind,
        ),
        Variable(
            "public_id",
            Shape.OPTIONAL_TEXT,
            "`prefix.public` of the stored value; null for a value of the old format.",
            lambda observation, _t, _c: observation.public_id,
        ),
        Variable(
            "first_seen",
            Shape.OPTIONAL_INSTANT,
            "When a sweep met this stored token first.",
            lambda observation, _t, _c: observation.first_seen_at,
        ),
        Variable(
            "risk",
            Shape.TEXT,
            "The highest tier among the token's scopes: `low`, `medium`, `high` or `critical`.",
            lambda _o, _t, context: context.tier.value,
        ),
        Variable("now", Shape.INSTANT, "The instant of the sweep.", lambda _o, _t, context: context.now),
    ]


VARIABLES: Final[Mapping[str, Variable]] = {variable.name: variable for variable in _all()}
"""Every variable by name, in the documentation's order."""

assert set(_FIELDS) == {field.name for field in msgspec.structs.fields(TokenMetadata)}


def hint(name: str) -> str:
    """Return the end of a sentence that asks for the variable that a name was meant for; empty where none is near."""
    asked = meant(name, VARIABLES, otherwise="")
    return f"; {asked}" if asked else ""


def json_value(value: Any) -> Any:
    """Return a variable's value as evidence holds it: JSON types, instants as ISO 8601."""
    return iso(value) if isinstance(value, datetime) else value
