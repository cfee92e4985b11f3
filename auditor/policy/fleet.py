"""What fleet rules look at: tokens beside one another, as the store puts them together at a sweep's end.

A token is *live* where its last evident lookup found it, it is not disabled and it has not expired; only stored tokens
count. Two tokens are of one *lineage* where owner and name stem are the same; one without owner or name is of none.
"""

from datetime import datetime

import msgspec

from auditor.model.token import Location
from auditor.policy.base import Params
from auditor.policy.lineage import ROTATION_SUFFIX
from auditor.policy.selectors import Regex


class LineageParams(Params):
    """Parameters of rules that compare the generations of a token."""

    name_stem_regex: Regex = ROTATION_SUFFIX
    """What a rotation adds at a name's end, found in the name in small letters; what stands before it is the name's
    stem. Only what Python and PostgreSQL read alike. A name that is nothing else is its own stem."""


class ExpiredToken(msgspec.Struct, frozen=True, gc=False):
    """A token of a lineage that has expired, was not disabled, and is still found."""

    expiration_date: datetime
    last_used_date: datetime | None
    successor: str | None
    """The label of a live token of its lineage that holds all of its scopes; None where there is none."""


class Generation(msgspec.Struct, frozen=True, gc=False):
    """A live token beside the next one of its lineage with the same scopes, both live."""

    last_used_date: datetime | None
    successor: str
    """The label of the next one."""
    successor_creation_date: datetime


class ExpiryWindow(msgspec.Struct, frozen=True, gc=False):
    """The live tokens that expire within one span of days."""

    starts_at: datetime
    """Midnight, UTC; windows are counted from 1 January 1970, so that they do not move."""
    tokens: int
    """How many expire within it."""
    active: int
    """How many are live at all."""


class OwnerHoldings(msgspec.Struct, frozen=True, gc=False):
    """The live tokens of one owner."""

    owner: str
    tokens: int
    active: int
    """How many are live at all."""


class NamedToken(msgspec.Struct, frozen=True, gc=False):
    """A live token with those that bear the same name."""

    name: str | None
    bearers: int
    """How many live tokens bear the name, this one included; 1 where it has none."""
    namesakes: tuple[str, ...]
    """Labels of the others, in order; the first few."""


class StoredCopies(msgspec.Struct, frozen=True, gc=False):
    """A stored token, whatever its lookup said, with what else holds the same secret or claims the same id."""

    locations: tuple[Location, ...]
    """Where this environment's sources hold the secret."""
    environments: tuple[str, ...]
    """Other environments that it is stored for, too, by name."""
    other_secrets: tuple[str, ...]
    """Labels of other stored tokens of this environment that claim the same public id with another secret."""
