"""What earlier sweeps saw of a token, as far as rules look back."""

from datetime import datetime
from typing import Final

import msgspec

from auditor.model.lookup import Observation, Outcome, TokenMetadata

USES_SHOWN: Final = 64
"""How many uses of a token rules are shown at most."""


class State(msgspec.Struct, frozen=True, gc=False):
    """A token from one change of anything but use to the next."""

    at: datetime
    """When a sweep saw it first."""
    outcome: Outcome
    metadata: TokenMetadata | None
    """None exactly when ``outcome`` is missing; without the date and address of a use, which are in ``Use``."""
    misses_before: int = 0
    """In how many evident lookups running, just before it, the token was missing."""
    previous_at: datetime | None = None
    """When the last evident lookup before ``at`` was made, which still saw the state before; None where there was none,
    or it is not known."""


class Use(msgspec.Struct, frozen=True, gc=False):
    """A use of a token, as a sweep saw it: the last one before that sweep."""

    observed_at: datetime
    used_at: datetime
    ip_address: str | None


class History(msgspec.Struct, frozen=True, gc=False):
    """What is known of a token from before an observation. Empty for one that is observed for the first time."""

    previous: Observation | None = None
    """The last evident observation."""
    last_found: TokenMetadata | None = None
    """What the last lookup that found the token said; that of ``previous`` unless that was missing."""
    states: tuple[State, ...] = ()
    """Oldest first; the last is that of ``previous``. Those that ended before rules look back are left out, and so is
    all of it where there was no change since."""
    uses: tuple[Use, ...] = ()
    """Oldest first, the last being that of ``last_found``; the most recent ones, and only where rules need them."""
    misses: int = 0
    """Evident lookups running, up to ``previous``, that were missing."""


NO_HISTORY = History()
