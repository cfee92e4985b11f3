"""The secret of a token, held so that it cannot be shown by accident.

A token of today's format is ``prefix.public.secret``: a prefix such as ``dt0c01``, 24 characters of public part and
64 of secret part. ``prefix.public`` is the token identifier and may be shown and logged (provider's page
*Dynatrace API - Tokens and authentication*). Older tokens without this format still exist; nothing of them is public.
"""

import re
from typing import Any, Final, NoReturn

TOKEN_FORMAT: Final = re.compile(r"(dt0[a-z][0-9]{2}\.[A-Z0-9]{24})\.[A-Z0-9]{64}")
"""A whole token of today's format; group 1 is its public id."""

_HIDDEN: Final = "…"


def public_id_of(value: str) -> str | None:
    """Return ``prefix.public`` of a token of today's format, or None where the value has no public part."""
    match = TOKEN_FORMAT.fullmatch(value)
    return match[1] if match else None


class Secret:
    """A secret value whose ``repr``, ``str``, ``format``, pickle and JSON show the public id and ``…`` only.

    Equality and hashing use the value, so equal secrets from two sources are equal. ``reveal`` is the one way to the
    value; a reader who greps for it finds every place where a secret leaves the program.
    """

    __slots__ = ("_value", "public_id")

    def __init__(self, value: str) -> None:
        self._value = value
        self.public_id = public_id_of(value)

    def reveal(self) -> str:
        """Return the value itself, for the one request or cipher that needs it."""
        return self._value

    def __str__(self) -> str:
        return f"{self.public_id}.{_HIDDEN}" if self.public_id else _HIDDEN

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return (str, (str(self),))

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no state to copy: use the object itself")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic hold a Secret and serialise it masked; only an existing Secret is accepted."""
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls, serialization=core_schema.to_string_ser_schema())
