"""What a source is."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Protocol, TypeVar

from pydantic import Field

from auditor.model.shape import Shape
from auditor.model.table import Table
from auditor.model.token import StoredToken
from auditor.store.vault import Vault

BATCH = 1000
"""How many stored tokens a source yields at a time at most; nothing holds all of them."""

FilePath = Annotated[str, Field(min_length=1), Shape(r"[^\x00]+", "must not hold the character NUL")]
"""A file, relative to the configuration's directory; with ``*``, ``?``, ``[…]`` or ``**`` every file that matches."""
EnvironmentName = Annotated[str, Field(min_length=1)]
"""The name of a configured environment."""


class SourceSettings(Table):
    """What a ``[sources.NAME]`` table says of any source, beside the source's own keys."""

    type: str
    """Which kind of source this is."""
    tags: tuple[str, ...] = ()
    """Words for selectors, given to every token of this source."""
    allow_empty: bool = False
    """Whether it is no problem when this source holds no token at all; by default that is taken for a mistake."""


class Source(Protocol):
    """One place where tokens are stored."""

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        ...

    def environments(self) -> Sequence[str]:
        """Return the environments that this source says its tokens are for; empty: it learns them by reading."""
        ...

    def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        """Yield every stored token, in batches of at most ``BATCH``.

        Raises ``SourceError`` where a place, or an entry in it, cannot be read, naming it and the mend. It does so at
        the end, after everything that could be read; what was yielded stays valid. A value that is empty is passed
        over. Blocking reads run in a thread.
        """
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a source may know beside its settings."""

    directory: Path
    """The configuration's; relative paths start there."""
    environ: Mapping[str, str]
    """The process environment."""
    environments: frozenset[str]
    """The names of the configured environments; a stored token for any other is a problem."""
    vault: Vault | None = None
    """The encrypted store; None where the database is not open, so that sources in it cannot be read."""


S = TypeVar("S", bound=SourceSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind(Generic[S]):
    """One kind of source: how the configuration writes it, and how it is opened.

    ``open(name, settings, surroundings)`` returns the source; it reads nothing yet.
    """

    name: str
    """What ``type = …`` says of it."""
    settings: type[S]
    open: Callable[[str, S, Surroundings], Source]
