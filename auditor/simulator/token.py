"""What the simulated API knows of a token, and the secret that only its owner holds."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

PURGE_AFTER: Final = timedelta(days=7)
"""An expired token stays visible this long, then it is deleted and answers 404 (facts known of the API)."""

MILLISECOND: Final = timedelta(milliseconds=1)
"""The precision of the provider's dates."""


class Token(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The state of one token in its environment; instants are aware and UTC, to the millisecond."""

    id: str
    """``prefix.public``, or a UUID for a token of the old format."""
    name: str
    owner: str | None
    scopes: tuple[str, ...]
    creation_date: datetime
    modified_date: datetime | None = None
    """Changes of scopes or name move it; enabling or disabling does not."""
    expiration_date: datetime | None = None
    last_used_date: datetime | None = None
    last_used_ip_address: str | None = None
    enabled: bool = True
    personal_access_token: bool = False
    additional_metadata: dict[str, str] = {}
    overlay: dict[str, object] = {}
    """Laid over the API's answer as it is: unknown fields, or wrong types for known ones."""

    def is_expired(self, now: datetime) -> bool:
        """Whether the expiration date has passed."""
        return self.expiration_date is not None and self.expiration_date <= now

    def is_purged(self, now: datetime) -> bool:
        """Whether the environment has deleted it, seven days after it expired."""
        return self.expiration_date is not None and self.expiration_date <= now - PURGE_AFTER

    def is_valid(self, now: datetime) -> bool:
        """Whether a call may authenticate with it."""
        return self.enabled and not self.is_expired(now)


class Condition(StrEnum):
    """What the generator planted in a token, so that a reader can compare it with what an audit finds."""

    HEALTHY = "healthy"
    NO_EXPIRY = "no expiry"
    LONG_LIVED = "long-lived"
    EXPIRING_SOON = "expiring soon"
    EXPIRED = "expired but still listed"
    STALE = "stale"
    NEVER_USED = "never used"
    DISABLED = "disabled"
    OVER_PRIVILEGED = "over-privileged"
    PERSONAL_AUTOMATION = "personal token used by automation"
    AWKWARD_OWNER = "awkward owner"
    AWKWARD_NAME = "awkward name"


class SimulatedToken(msgspec.Struct, frozen=True, gc=False):
    """A token together with its secret, as only its creator ever sees it; ``repr`` leaves the secret out."""

    secret: str
    token: Token
    condition: Condition = Condition.HEALTHY

    def __repr__(self) -> str:
        return f"SimulatedToken({self.token.id!r}, {self.condition.value!r})"


def to_milliseconds(instant: datetime) -> datetime:
    """Return ``instant`` in UTC without what is finer than a millisecond."""
    instant = instant.astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1_000 * 1_000)
