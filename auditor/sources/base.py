"""What a source is."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from auditor.model.token import StoredToken

BATCH = 1000
"""How many stored tokens a source yields at a time at most; nothing holds all of them."""


class SourceSettings(BaseModel):
    """What a ``[sources.NAME]`` table says of any source, beside the source's own keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    tags: tuple[str, ...] = ()
    """Words for selectors, given to every token of this source."""


class Source(Protocol):
    """One place where tokens are stored."""

    name: str

    def environments(self) -> Sequence[str]:
        """Return the environments that this source says its tokens are for; empty: it learns them by reading."""
        ...

    def read(self) -> AsyncIterator[Sequence[StoredToken]]:
        """Yield every stored token, in batches of at most ``BATCH``.

        Raises ``SourceError`` where the place cannot be read, naming the place and the mend; what was yielded before
        stays valid. A value that is empty is passed over. Blocking reads run in a thread.
        """
        ...
