"""Reads a source in tests: settings as the configuration writes them in, places and secrets out."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from auditor.model.errors import SourceError
from auditor.model.token import StoredToken
from auditor.sources.base import Source, Surroundings
from auditor.sources.registry import kinds
from auditor.store.vault import Vault

EXAMPLE = "dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
"""The token of the provider's page."""
ENVIRONMENTS = frozenset({"prod", "stage"})

Write = Callable[[str, str | bytes], Path]


def minted() -> str:
    """Make a value of the old format that nothing else holds."""
    return secrets.token_urlsafe(16)


def source(
    kind: str,
    directory: Path,
    *,
    process_environ: Mapping[str, str] | None = None,
    vault: Vault | None = None,
    **settings: Any,
) -> Source:
    """Open a source as the configuration would."""
    member = kinds()[kind]
    surroundings = Surroundings(directory, process_environ or {}, ENVIRONMENTS, vault)
    return member.open("stored", member.settings.model_validate({"type": kind, **settings}), surroundings)


async def read(opened: Source) -> tuple[list[StoredToken], str]:
    """Read to the end: what was yielded, and what was wrong; empty where nothing was."""
    tokens: list[StoredToken] = []
    try:
        async for batch in opened.read():
            assert 0 < len(batch) <= 1000
            tokens += batch
    except SourceError as error:
        return tokens, str(error)
    return tokens, ""


async def found(opened: Source) -> dict[str, tuple[str, str]]:
    """Read a source that has nothing wrong: place → environment and value."""
    tokens, problem = await read(opened)
    assert problem == ""
    assert all(token.location.source == "stored" for token in tokens)
    return {token.location.place: (token.environment, token.secret.reveal()) for token in tokens}
