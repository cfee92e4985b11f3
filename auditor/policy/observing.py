"""How a lookup becomes an observation, and what of it is a change."""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from auditor.model.lookup import Lookup, Observation, Outcome, TokenMetadata
from auditor.model.token import Location

_SPEAKABLE_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
FINGERPRINT_PREFIX: Final = "fp:"
_USUAL_GAP: Final = timedelta(days=1)
"""Between two uses; rules that look for idleness count whole days, so they miss nothing below."""


def label_of(public_id: str | None, fingerprint: bytes, lookup: Lookup) -> str:
    """Return what a token is called: its public id; else the id that the lookup told; else its keyed fingerprint.

    An id that holds anything but letters, digits and ``_.-`` is not taken: labels go into keys and command lines.
    """
    if public_id is not None:
        return public_id
    told = lookup.metadata.id if lookup.metadata else ""
    return told if _SPEAKABLE_ID.fullmatch(told) else f"{FINGERPRINT_PREFIX}{fingerprint.hex()}"


def speakable(token_id: str) -> str:
    """Return what a token of the environment's list is called: its id, or a digest of one that is not taken."""
    if _SPEAKABLE_ID.fullmatch(token_id):
        return token_id
    return f"id:{hashlib.sha256(token_id.encode(errors='replace')).hexdigest()[:32]}"


def observe(
    lookup: Lookup,
    previous: Observation | None,
    *,
    environment: str,
    label: str,
    public_id: str | None,
    locations: tuple[Location, ...],
    tags: Iterable[str],
    first_seen_at: datetime,
) -> Observation | None:
    """Return the observation that a lookup amounts to; None where it is no evidence."""
    if not lookup.outcome.is_evidence:
        return None
    return Observation(
        environment=environment,
        label=label,
        at=lookup.at,
        outcome=lookup.outcome,
        metadata=lookup.metadata,
        public_id=public_id,
        locations=locations,
        tags=frozenset(tags),
        first_seen_at=first_seen_at,
        disabled_since=_disabled_since(lookup, previous),
    )


def _disabled_since(lookup: Lookup, previous: Observation | None) -> datetime | None:
    if lookup.metadata is None or lookup.metadata.enabled is not False:
        return None
    return (previous.disabled_since if previous else None) or lookup.at


def is_changed(observation: Observation, previous: Observation | None) -> bool:
    """Whether anything but use differs from the previous observation, or there is none."""
    if previous is None or observation.outcome is not previous.outcome:
        return True
    now, before = observation.metadata, previous.metadata
    if now is None or before is None or now == before:
        return False
    # The date and address of the last use are put aside; everything else counts.
    return now != msgspec.structs.replace(
        before, last_used_date=now.last_used_date, last_used_ip_address=now.last_used_ip_address
    )


def is_the_same(observation: Observation, previous: Observation | None) -> bool:
    """Whether the observation found just what the previous one had found, use and all, so that nothing follows."""
    token = observation.metadata
    return previous is not None and token is not None and token == previous.metadata


def is_used(observation: Observation, previous: Observation | None) -> bool:
    """Whether the observation shows a use that the previous one did not: its date or its address moved."""
    token = observation.metadata
    if token is None or token.last_used_date is None:
        return False
    before = previous.metadata if previous is not None and previous.outcome is Outcome.FOUND else None
    return before is None or (token.last_used_date, token.last_used_ip_address) != (
        before.last_used_date,
        before.last_used_ip_address,
    )


def is_use_withdrawn(observation: Observation, last_found: TokenMetadata | None) -> bool:
    """Whether the observation tells of no last use, though the last one that found the token did."""
    token = observation.metadata
    if token is None or token.last_used_date is not None:
        return False
    return last_found is not None and last_found.last_used_date is not None


def is_notable_use(observation: Observation, previous: Observation | None, last_found: TokenMetadata | None) -> bool:
    """Whether a use that the previous observation did not show is out of the ordinary, so that rules look closer.

    ``last_found`` is what the token was when it was found last, be it before the previous observation.

    It is where it came after days without one, from another address than the last, from a token that was disabled or
    past its end, or with a date that lies before the last use's or after the lookup.
    """
    token = observation.metadata
    if token is None or token.last_used_date is None or not is_used(observation, previous):
        return False
    if token.enabled is False or (token.expiration_date is not None and token.last_used_date > token.expiration_date):
        return True
    if token.last_used_date > observation.at:
        return True
    if last_found is None:
        return False
    since = last_found.last_used_date or token.creation_date
    if since is None:
        return False
    if last_found.last_used_date is not None and token.last_used_ip_address != last_found.last_used_ip_address:
        return True
    return token.last_used_date < since or token.last_used_date - since >= _USUAL_GAP
