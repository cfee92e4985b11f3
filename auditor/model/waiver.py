"""Waivers: findings that somebody accepts, for a reason and until a day."""

from datetime import datetime

import msgspec


class Waiver(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a waiver; what it matches stands apart. Instants are aware and UTC."""

    id: str
    owner: str
    """Who asked for it and answers for the risk."""
    approver: str
    """Who granted it."""
    reason: str
    ticket: str
    """Where the mend is tracked."""
    since: datetime
    until: datetime
    """The first instant at which it is in force no more."""

    def is_in_force(self, now: datetime) -> bool:
        """Whether it mutes what it matches at an instant."""
        return self.since <= now < self.until
