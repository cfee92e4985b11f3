"""What each token of a batch looked like before, read only for those where a rule could see something in it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from auditor.model.history import NO_HISTORY, History, State, Use
from auditor.model.lookup import TokenMetadata
from auditor.store import lookback
from auditor.store.connection import Connection
from auditor.store.tokens import KnownToken, Recorded

_REGULAR: Final = 10
"""From so many uses on, a silence may mean something."""
_SILENCE: Final = timedelta(hours=1)


async def histories(
    connection: Connection, batch: Sequence[Recorded], now: datetime, span: timedelta
) -> Sequence[History]:
    """Return the history of each token of a batch, in its order, as far as rules look back from an instant."""
    since = now - span
    tokens = [entry.known for entry in batch if span and entry.known is not None and entry.observation is not None]
    states = await lookback.states(connection, [known.id for known in tokens if _has_changed(known, since)], since)
    uses = await lookback.uses(
        connection,
        [
            entry.known.id
            for entry in batch
            if span and entry.known is not None and _has_telling_uses(entry, entry.known, now, since)
        ],
        since,
    )
    return [
        NO_HISTORY
        if entry.known is None
        else _history(entry, entry.known, states.get(entry.known.id, ()), uses.get(entry.known.id, ()))
        for entry in batch
    ]


async def recalled(
    connection: Connection, tokens: Sequence[KnownToken], now: datetime, span: timedelta, until: datetime | None = None
) -> Sequence[History]:
    """Return what a sweep would look back at that found each token just as its last observation has it.

    ``until`` leaves out what became known later: for judging a past instant, which ``now`` then is.
    """
    since = now - span
    seen = [known for known in tokens if span and known.previous is not None]
    states = await lookback.states(connection, [known.id for known in seen if _has_changed(known, since)], since, until)
    uses = await lookback.uses(
        connection,
        [
            known.id
            for known in seen
            if (known.notable_use_at is not None and known.notable_use_at >= since)
            or (known.uses >= _REGULAR and _is_silent(known.last_found, now, since))
        ],
        since,
        until,
    )
    return [
        History(
            known.previous,
            known.last_found,
            states.get(known.id, ()),
            uses.get(known.id, ()),
            max(known.misses - 1, 0),  # the last of them is the observation itself
        )
        for known in tokens
    ]


def _history(entry: Recorded, known: KnownToken, states: tuple[State, ...], uses: tuple[Use, ...]) -> History:
    previous = known.previous
    if not states and entry.is_changed and previous is not None:
        states = (State(known.changed_at or previous.at, previous.outcome, previous.metadata),)
    return History(previous, known.last_found, states, uses, known.misses)


def _has_changed(known: KnownToken, since: datetime) -> bool:
    """Whether a token is known to have changed since; its first state is no change."""
    return known.changed_at is not None and known.changed_at >= since and known.changed_at > known.first_seen_at


def _has_telling_uses(entry: Recorded, known: KnownToken, now: datetime, since: datetime) -> bool:
    if entry.is_notable_use or (known.notable_use_at is not None and known.notable_use_at >= since):
        return True
    return known.uses >= _REGULAR and not entry.is_used and _is_silent(known.last_found, now, since)


def _is_silent(token: TokenMetadata | None, now: datetime, since: datetime) -> bool:
    return token is not None and token.last_used_date is not None and since <= token.last_used_date <= now - _SILENCE
