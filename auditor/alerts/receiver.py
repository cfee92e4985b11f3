"""The other side of a hook's connection: whose certificate is trusted, and how its words are shown."""

import asyncio
import ssl
from pathlib import Path
from typing import Final

from auditor.model.errors import ConfigError, Problem
from auditor.outbound import trusting
from auditor.redaction import redact

_WORDS_LIMIT: Final = 300


async def trust_of(hook: str, ca_file: Path | None, directory: Path) -> ssl.SSLContext:
    """Return what a hook trusts: the authorities of a PEM file below ``directory``, or the system's.

    Raises ``ConfigError`` where the file cannot be used.
    """
    if ca_file is None:
        return await asyncio.to_thread(ssl.create_default_context)
    path = directory / ca_file
    try:
        return await asyncio.to_thread(trusting, path)
    except OSError as error:
        reason = f"{path}: no PEM certificates can be read from it: {error.strerror}"
        raise ConfigError(Problem(f"hooks.{hook}.ca_file", reason)) from error


def shown(text: str) -> str:
    """Return what the other side said as one short line without secrets."""
    line = " ".join(redact(text).split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= _WORDS_LIMIT else f"{line[:_WORDS_LIMIT]}…"
