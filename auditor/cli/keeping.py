"""``auditor tokens``: keeps tokens in the encrypted store. Secrets come from standard input only, never an argument."""

import getpass
import io
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from auditor.cli import exits
from auditor.cli.session import Session, now, require_known, run_loop
from auditor.cli.showing import cell, console, is_text, print_json, print_table
from auditor.config.keys import keyring_of
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.model.secret import TOKEN_FORMAT, Secret
from auditor.sources.intake import VALUE_LIMIT
from auditor.store import vault
from auditor.store.vault import Entry, NewEntry, Vault

_BATCH: Final = 1000
_INPUT_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of standard input that are taken at once: some 700,000 tokens."""
_PROBLEMS_SHOWN: Final = 10
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def import_tokens(session: Session, environment: str, note: str) -> int:
    """Add tokens from standard input, one a line; blank lines and lines that begin with # are passed over.

    Nothing is added where a line is no token; raises ``ConfigError`` with the numbers of such lines.
    """
    config = _config(session, environment, note)
    if sys.stdin.isatty():
        console(errors=True).print("Reading tokens from the terminal, one a line; end with Ctrl-D.")
    content = _standard_input()
    problems = (entry for entry in _entries_in(content) if isinstance(entry, Problem))
    if shown := list(islice(problems, _PROBLEMS_SHOWN)):
        more = sum(1 for _problem in problems)
        rest = [Problem("standard input", f"{more} more lines are no token")] if more else []
        raise ConfigError(*shown, *rest, Problem("tokens import", "nothing was added; correct these lines first"))
    added, read = run_loop(_add(session, config, environment, _tokens_in(content), note))
    if not read:
        raise ConfigError(Problem("standard input", "holds no token; pipe a file with one a line into this command"))
    console().print(f"Added {added} tokens to {environment}; {read - added} were there before or came twice.")
    return exits.OK


def add(session: Session, environment: str, note: str) -> int:
    """Add one token: asked for without echo on a terminal, else the whole of standard input."""
    config = _config(session, environment, note)
    content = _typed() if sys.stdin.isatty() else _standard_input()
    if len(content.strip().splitlines()) > 1:
        raise ConfigError(
            Problem(
                "standard input",
                f"has several lines; add one token, or several with auditor tokens import {environment}",
            )
        )
    token = _checked(content, "standard input")
    if isinstance(token, Problem):
        raise ConfigError(token)
    added, _read = run_loop(_add(session, config, environment, iter([token]), note))
    console().print(f"Added the token to {environment}." if added else f"{environment} holds this token already.")
    return exits.OK


def list_tokens(session: Session, environment: str | None, *, as_json: bool) -> int:
    """List what is stored, by public id."""
    found = run_loop(_entries(session, _config(session, environment), environment))
    if as_json:
        print_json(found)
    else:
        print_table(
            ("Environment", "Token", "Note", "Added", "Key"),
            (
                (entry.environment, cell(entry.label), cell(entry.note), f"{entry.added_at:%Y-%m-%d}", entry.key_id)
                for entry in found
            ),
        )
    return exits.OK


def remove(session: Session, environment: str, label: str) -> int:
    """Remove a token from the store; raises ``ConfigError`` where it is not there."""
    config = _config(session, environment)

    async def work() -> bool:
        async with _opened(session, config) as store:
            return await vault.remove(store, environment, label)

    if not is_text(label) or not run_loop(work()):
        # What was asked for is not repeated: it may be the secret itself.
        raise ConfigError(
            Problem("tokens remove", f"no such token is stored for {environment}; auditor tokens list shows them")
        )
    console().print(f"Removed {label} from the store. The environment still knows the token; delete it there.")
    return exits.OK


def rotate_key(session: Session) -> int:
    """Encrypt everything under the current key."""
    config = _config(session, None)

    async def work() -> vault.Rotation:
        async with _opened(session, config) as store:
            return await vault.rotate_key(store)

    rotation = run_loop(work())
    out = console()
    out.print(f"Encrypted {rotation.entries} tokens and {rotation.keys} keys anew.")
    for key_id, number in rotation.under_unknown_keys.items():
        out.print(f"{number} tokens stay under key {key_id}, which is not configured; add it to previous_keys.")
    return exits.FAILED if rotation.under_unknown_keys else exits.OK


async def _add(
    session: Session, config: Config, environment: str, tokens: Iterator[Secret], note: str
) -> tuple[int, int]:
    """Add tokens in batches; return how many were new and how many there were."""
    added = read = 0
    async with _opened(session, config) as store:
        while batch := list(islice(tokens, _BATCH)):
            read += len(batch)
            added += await vault.add(store, [NewEntry(environment, token, note) for token in batch], now())
    return added, read


async def _entries(session: Session, config: Config, environment: str | None) -> Sequence[Entry]:
    async with _opened(session, config) as store:
        return [entry async for batch in vault.entries(store, environment) for entry in batch]


def _config(session: Session, environment: str | None, note: str = "") -> Config:
    """Read the configuration and check what else the command line says, before anything is read or opened."""
    config = session.load()
    require_known(config, () if environment is None else (environment,), "tokens")
    if not is_text(note) or not note.isprintable() or TOKEN_FORMAT.search(note):
        raise ConfigError(Problem("--note", "must be one line of text for people, without any token"))
    return config


@asynccontextmanager
async def _opened(session: Session, config: Config) -> AsyncIterator[Vault]:
    async with session.database(config) as pool:
        keyring = await keyring_of(config.document.encryption, resolver=session.resolver(config), state=session.state)
        yield await vault.open_vault(pool, keyring, now())


def _typed() -> bytes:
    try:
        return getpass.getpass("Token: ").encode(errors="surrogateescape")
    except EOFError:
        return b""


def _standard_input() -> bytes:
    content = sys.stdin.buffer.read(_INPUT_LIMIT + 1)
    if len(content) > _INPUT_LIMIT:
        raise ConfigError(
            Problem("standard input", f"is larger than {_INPUT_LIMIT} bytes; divide it and import the parts")
        )
    return content.removeprefix(_BYTE_ORDER_MARK)


def _tokens_in(content: bytes) -> Iterator[Secret]:
    return (entry for entry in _entries_in(content) if isinstance(entry, Secret))


def _entries_in(content: bytes) -> Iterator[Secret | Problem]:
    """Yield the token of each line, or what is wrong with the line."""
    for number, line in enumerate(io.BytesIO(content), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith(b"#"):
            yield _checked(stripped, f"standard input:{number}")


def _checked(value: bytes, place: str) -> Secret | Problem:
    """Return a value as a token, by the measure of every other source; a problem shows nothing of it."""
    try:
        token = value.decode().strip()
    except UnicodeDecodeError:
        return Problem(place, "is not UTF-8 text")
    if not token:
        return Problem(place, "holds no token")
    if len(token) > VALUE_LIMIT:
        return Problem(place, f"is longer than {VALUE_LIMIT} characters, so it is no token")
    if not token.isprintable() or " " in token:
        return Problem(place, "holds space or characters that do not print, so it is no token; give one a line")
    return Secret(token)
