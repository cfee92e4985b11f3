"""A stored token: one secret found in a source, for one environment."""

from typing import Final

import msgspec

from auditor.model.secret import Secret

PLACES_LIMIT: Final = 1_000
"""So many places of one secret are kept at most: the first of each source, then the second of each, and so on, as they
sort. A secret with so many may have more."""


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
