"""A stored token: one secret found in a source, for one environment."""

import msgspec

from auditor.model.secret import Secret


class Location(msgspec.Struct, frozen=True, gc=False, order=True):
    """Where a stored token was found: the source's name and a place inside it. Never holds a secret."""

    source: str
    place: str
    """What an operator can find again: ``path:line``, ``path#/json/pointer``, ``env:NAME``, ``entry NAME``."""

    def __str__(self) -> str:
        return f"{self.source}: {self.place}"


class StoredToken(msgspec.Struct, frozen=True, gc=False):
    """One secret found at one place, for one environment; the same secret at two places is two of these."""

    environment: str
    secret: Secret
    location: Location
    tags: tuple[str, ...] = ()
    """Words from the source's configuration that selectors can match."""
