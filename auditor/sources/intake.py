"""Turns what a source reads into stored tokens, and keeps what is wrong until the reading's end."""

from collections.abc import Sequence
from typing import Final

from auditor.model.errors import Problem, SourceError
from auditor.model.secret import TOKEN_FORMAT, Secret
from auditor.model.token import Location, StoredToken
from auditor.sources.base import SourceSettings

VALUE_LIMIT: Final = 4_096
"""Characters of the longest value that can be a token."""
_PROBLEMS_SHOWN: Final = 10


class Intake:
    """One reading of a source. A bad entry does not hide the others: it is told in the end, by ``finish``."""

    def __init__(self, source: str, settings: SourceSettings, environments: frozenset[str]) -> None:
        self._source = source
        self._settings = settings
        self._environments = environments
        self._problems: list[Problem] = []
        self._problems_in_all = 0
        self._tokens = 0
        self.is_given_up = False
        """Whether nobody waits for what is read any more, so that a long search may end."""

    def token(self, value: str, environment: str | None, place: str) -> StoredToken | None:
        """Return a value found at a place as a stored token; None where it is empty or, which is noted, unusable.

        Space around the value is taken off. The message never shows the value, nor the environment: where columns are
        mixed up, that is the token.
        """
        value = value.strip()
        if not value:
            return None
        if len(value) > VALUE_LIMIT:
            self.problem(place, f"longer than {VALUE_LIMIT} characters, so it is no token; remove it")
        elif not value.isprintable() or " " in value:
            self.problem(place, "holds space or characters that do not print, so it is no token; store each by itself")
        elif environment is None:
            self.problem(place, "does not say which environment it is for; name it there, or in the source's settings")
        elif environment not in self._environments:
            known = ", ".join(sorted(self._environments))
            self.problem(place, f"is for an environment that is not configured (configured: {known}); correct either")
        else:
            self._tokens += 1
            return StoredToken(environment, Secret(value), Location(self._source, shown(place)), self._settings.tags)
        return None

    def problem(self, place: str, message: str) -> None:
        """Note what is wrong with a place."""
        self._problems_in_all += 1
        if len(self._problems) < _PROBLEMS_SHOWN:
            self._problems.append(Problem(shown(place), message))

    def finish(self, where: str) -> None:
        """End the reading of ``where``; raises ``SourceError`` where anything was wrong or no token was there."""
        if self._problems:
            raise SourceError(_listed(self._problems, self._problems_in_all))
        if not self._tokens and not self._settings.allow_empty:
            raise SourceError(
                f"no token found in {shown(where)}; put the tokens there, correct the source's settings, or set "
                "allow_empty = true where that is right"
            )


def shown(place: str) -> str:
    """Return a place as it may be stored and shown: nothing that does not print, and of a token its public id only."""
    masked = TOKEN_FORMAT.sub(r"\1.…", place)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in masked)


def _listed(problems: Sequence[Problem], in_all: int) -> str:
    told = "; ".join(map(str, problems))
    return told if in_all == len(problems) else f"{told}; and {in_all - len(problems)} more"
