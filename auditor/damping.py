"""Keeps a library that says the same thing again and again from filling the log, and the disk under it."""

import logging
from typing import Final

_SILENCE_SECONDS: Final = 10.0
_REMEMBERED: Final = 1_000


class Damper(logging.Filter):
    """Lets each message of a library pass once, and again when it is still said ten seconds later.

    What counts as the same is the text before values are put into it, from the same line of code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record passes."""
        key = (record.pathname, record.lineno, hash(str(record.msg)))
        said = self._said.get(key)
        # A clock that was stepped back must not keep it silent for as long.
        if said is not None and abs(record.created - said) < _SILENCE_SECONDS:
            return False
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said[key] = record.created
        return True
