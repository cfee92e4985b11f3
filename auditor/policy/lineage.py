"""Which tokens are generations of one another: names that differ only in what a rotation adds to them."""

import re
import string
from typing import Final

ROTATION_SUFFIX: Final = (
    r"(?:[-_. :/#([]+(?:"
    r"20[0-9]{2}(?:[-_./]?[0-9]{2}){0,2}"  # a year, a month or a day: 2026, 2026-03, 20260331
    r"|(?:20[0-9]{2})?q[1-4]"
    r"|v[0-9]+(?:\.[0-9]{1,3})*|rev[0-9]+"
    r"|old|new|copy|backup|bak|prev|previous|next|current|rotated|renewed|replacement|successor"
    r"|deprecated|obsolete|retired|legacy"
    r")[])]*)+\Z"
)
"""What a rotation adds at a name's end, in lower case; a regular expression that Python and PostgreSQL read alike.

A bare number is none: ``node-1`` and ``node-2`` are as a rule two machines, not two generations of one token. No text
matches in two ways, so that no name, however it was made, takes long to look at.
"""
LONGEST: Final = 200
"""Characters of a name that is looked at; a longer one is its own stem."""

_search: Final = re.compile(ROTATION_SUFFIX).search
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def name_stem(name: str) -> str:
    """Return a name without what a rotation adds: ``Ingest EU (old)`` and ``ingest eu 2026-03`` have one stem.

    Letters of ASCII become small, others stay. A name that is nothing but such additions is its own stem.
    ``auditor.store.lineage.name_stem`` is the same in SQL.
    """
    lower = name.translate(_LOWER)
    if len(lower) > LONGEST:
        return lower
    found = _search(lower)
    return lower[: found.start()] if found and found.start() else lower
