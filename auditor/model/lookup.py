"""What a lookup says of a token: outcome, metadata, observation.

Source of the fields: the provider's page *POST token lookup* (environment API v2) and its OpenAPI document, in which
every field of ``ApiToken`` is optional.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from auditor.model.token import Location


class Outcome(StrEnum):
    """How one lookup ended. A closed set; only ``FOUND`` and ``MISSING`` are evidence about the token."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and these are counted for every token

    FOUND = "found"
    """200 with an answer that decodes and names a token id."""
    MISSING = "missing"
    """404 in the API's own error envelope: no such token in this environment."""
    REFUSED = "refused"
    """401 or 403: the auditor's own token was not accepted; says nothing about the token looked up."""
    THROTTLED = "throttled"
    """429 until the retries ended."""
    UNREACHABLE = "unreachable"
    """No answer: connection, TLS, timeout or 5xx until the retries ended; or the sweep stopped before its turn."""
    MALFORMED = "malformed"
    """An answer that is not the API's: HTML, a proxy's page, a truncated or oversized body, wrong types."""

    @property
    def is_evidence(self) -> bool:
        """Whether this outcome says something about the token itself."""
        return self is _FOUND or self is _MISSING

    @property
    def is_failure(self) -> bool:
        """Whether the lookup failed, so that the token's state stays unknown (refused is counted apart)."""
        return not self.is_evidence and self is not Outcome.REFUSED


_FOUND = Outcome.FOUND  # read for every token, and looking a member up on its class is slow
_MISSING = Outcome.MISSING


class TokenMetadata(msgspec.Struct, frozen=True, gc=False):
    """The provider's ``ApiToken`` object, names in snake_case, v1 and v2 alike. Instants are aware and UTC."""

    id: str
    """The token identifier ``prefix.public``, as the answer gives it (v1 gives a UUID for old tokens)."""
    name: str | None = None
    owner: str | None = None
    enabled: bool | None = None
    personal_access_token: bool | None = None
    creation_date: datetime | None = None
    modified_date: datetime | None = None
    """Changes of scopes or name move it; enabling or disabling does not."""
    expiration_date: datetime | None = None
    """None: never expires."""
    last_used_date: datetime | None = None
    """None: never used."""
    last_used_ip_address: str | None = None
    scopes: tuple[str, ...] = ()
    """Sorted, without repetition; unknown scopes are kept."""
    additional_metadata: dict[str, str] = {}


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """The end of one lookup, after its retries."""

    outcome: Outcome
    at: datetime
    metadata: TokenMetadata | None = None
    """Present exactly when ``outcome`` is found."""
    reason: str = ""
    """For every outcome but found: what happened, for a person; never holds a secret or a response body."""
    status: int | None = None
    """HTTP status of the last answer, None where there was none."""
    attempts: int = 1


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What an evident lookup (found or missing) said of a stored token, and when, with what the store knows of it."""

    environment: str
    label: str
    """What the token is called everywhere: its public id, or a keyed fingerprint ``fp:…`` where it has none."""
    at: datetime
    outcome: Outcome
    metadata: TokenMetadata | None
    """None exactly when ``outcome`` is missing."""
    public_id: str | None = None
    """``prefix.public`` of the stored value; None for a value of the old format."""
    locations: tuple[Location, ...] = ()
    tags: frozenset[str] = frozenset()
    first_seen_at: datetime | None = None
    """When a sweep met this stored token first."""
    disabled_since: datetime | None = None
    """When a sweep first saw it disabled without a break since; None while enabled. The API does not record it."""
