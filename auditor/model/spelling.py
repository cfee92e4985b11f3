"""Help with names that a person wrote and nothing goes by."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

_SHOWN: Final = 20


def meant(name: str, known: Collection[str], *, otherwise: str | None = None) -> str:
    """Help with a name that is not known, as the end of a sentence.

    Asks for the nearest known one, whatever its case; where none is near, says ``otherwise``, or which are known.
    """
    folded = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(name.casefold(), folded, n=1)
    if near:
        return f'did you mean "{folded[near[0]]}"?'
    if otherwise is not None:
        return otherwise
    shown, more = sorted(known)[:_SHOWN], len(known) - _SHOWN
    return f"known here: {', '.join(shown) or 'none'}" + (f" and {more} more" if more > 0 else "")
