"""Reads a source whose calls block: in a thread, a batch at a time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from auditor.model.token import StoredToken
from auditor.sources.base import BATCH, SourceSettings
from auditor.sources.intake import Intake


@dataclass(frozen=True, slots=True)
class BlockingSource:
    """A source that is a plain iterator over stored tokens; at most one batch of them is in memory."""

    name: str
    settings: SourceSettings
    declared: tuple[str, ...]
    """The environments that the settings name."""
    configured: frozenset[str]
    """The environments that there are."""
    where: str
    """The place, for a message."""
    tokens: Callable[[Intake], Generator[StoredToken, None, None]]
    """Starts a reading: yields what the intake made of each value. It may block, and raises nothing."""

    def environments(self) -> Sequence[str]:
        """Return the environments that the settings name."""
        return self.declared

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        """Yield every stored token, then raise ``SourceError`` where anything was wrong."""
        intake = Intake(self.name, self.settings, self.configured)
        tokens = self.tokens(intake)
        is_pulling = False
        try:
            while True:
                is_pulling = True
                batch = await asyncio.to_thread(_pull, tokens)
                is_pulling = False
                if not batch:
                    break
                yield batch
        finally:
            intake.is_given_up = True
            if not is_pulling:  # a pull that was cancelled goes on in its thread, and lets go of the file at its end
                tokens.close()
        intake.finish(self.where)


def _pull(tokens: Iterator[StoredToken]) -> list[StoredToken]:
    return list(islice(tokens, BATCH))
