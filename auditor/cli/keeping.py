"""``auditor tokens``: keeps tokens in the encrypted store. Secrets come from standard input only, never an argument."""

import getpass
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from auditor.cli import exits
from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import console, print_json, print_table, text
from auditor.config.keys import keyring_of
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.model.secret import Secret
from auditor.store import vault
from auditor.store.vault import Entry, NewEntry, Vault

_BATCH: Final = 1000
_LONGEST: Final = 4096


def import_tokens(session: Session, environment: str, note: str) -> int:
    """Add tokens from standard input, one a line; blank lines and lines that begin with # are passed over."""
    if sys.stdin.isatty():
        console(errors=True).print("Reading tokens from the terminal, one a line; end with Ctrl-D.")
    added, read = run_loop(_add(session, environment, _lines(), note))
    if not read:
        raise ConfigError(Problem("standard input", "holds no token; pipe a file with one a line into this command"))
    console().print(f"Added {added} tokens to {environment}; {read - added} were there before.")
    return exits.OK


def add(session: Session, environment: str, note: str) -> int:
    """Add one token: asked for without echo on a terminal, else the whole of standard input."""
    given = getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.read(_LONGEST + 1)
    added, _read = run_loop(_add(session, environment, iter([_checked(given, "standard input")]), note))
    console().print(f"Added the token to {environment}." if added else f"{environment} holds this token already.")
    return exits.OK


def list_tokens(session: Session, environment: str | None, *, as_json: bool) -> int:
    """List what is stored, by public id."""
    found = run_loop(_entries(session, environment))
    if as_json:
        print_json(found)
    else:
        print_table(
            ("Environment", "Token", "Note", "Added", "Key"),
            (
                (entry.environment, text(entry.label), text(entry.note), f"{entry.added_at:%Y-%m-%d}", entry.key_id)
                for entry in found
            ),
        )
    return exits.OK


def remove(session: Session, environment: str, label: str) -> int:
    """Remove a token from the store; raises ``ConfigError`` where it is not there."""

    async def work() -> bool:
        async with _opened(session, environment) as store:
            return await vault.remove(store, environment, label)

    if not run_loop(work()):
        raise ConfigError(Problem(f"{environment} {label}", "no such token is stored; auditor tokens list shows them"))
    console().print(f"Removed {label} from the store. The environment still knows the token; delete it there.")
    return exits.OK


def rotate_key(session: Session) -> int:
    """Encrypt everything under the current key."""

    async def work() -> vault.Rotation:
        async with _opened(session, None) as store:
            return await vault.rotate_key(store)

    rotation = run_loop(work())
    out = console()
    out.print(f"Encrypted {rotation.entries} tokens and {rotation.keys} keys anew.")
    for key_id, number in rotation.under_unknown_keys.items():
        out.print(f"{number} tokens stay under key {key_id}, which is not configured; add it to previous_keys.")
    return exits.FAILED if rotation.under_unknown_keys else exits.OK


async def _add(session: Session, environment: str, secrets: Iterator[Secret], note: str) -> tuple[int, int]:
    """Add tokens in batches; return how many were new and how many there were."""
    added = read = 0
    async with _opened(session, environment) as store:
        while batch := list(islice(secrets, _BATCH)):
            read += len(batch)
            added += await vault.add(store, [NewEntry(environment, secret, note) for secret in batch], now())
    return added, read


async def _entries(session: Session, environment: str | None) -> Sequence[Entry]:
    async with _opened(session, environment) as store:
        return [entry async for batch in vault.entries(store, environment) for entry in batch]


@asynccontextmanager
async def _opened(session: Session, environment: str | None) -> AsyncIterator[Vault]:
    config: Config = session.load()
    if environment is not None and environment not in config.document.environments:
        known = ", ".join(config.document.environments)
        raise ConfigError(Problem("tokens", f'unknown environment "{environment}"; configured are {known}'))
    async with session.database(config) as pool:
        keyring = await keyring_of(config.document.encryption, resolver=session.resolver(config), state=session.state)
        yield await vault.open_vault(pool, keyring, now())


def _lines() -> Iterator[Secret]:
    for number, line in enumerate(sys.stdin, 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield _checked(stripped, f"standard input:{number}")


def _checked(value: str, place: str) -> Secret:
    stripped = value.strip()
    if not stripped:
        raise ConfigError(Problem(place, "holds no token"))
    if len(stripped) > _LONGEST or len(stripped.split()) > 1:
        raise ConfigError(Problem(place, "is not one token: it holds spaces or is too long; give one token a line"))
    return Secret(stripped)
