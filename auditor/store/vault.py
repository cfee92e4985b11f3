"""The encrypted store: tokens in PostgreSQL that only the holder of the master key can read."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from auditor.model.secret import Secret
from auditor.policy.observing import FINGERPRINT_PREFIX
from auditor.store.connection import Pool, Row
from auditor.store.keys import KEY_SIZE, Fingerprinter, Keyring, Sealed

BATCH: Final = 1000
"""Entries read, listed or encrypted anew at a time."""

_ENTRY: Final = "vault_entry"
_KEY: Final = "keyring"
_FINGERPRINT: Final = "fingerprint"


@dataclass(frozen=True, slots=True)
class Vault:
    """The encrypted store with what opens it."""

    pool: Pool
    keyring: Keyring
    fingerprint: Fingerprinter


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A token to be stored."""

    environment: str
    secret: Secret
    note: str = ""
    """What a person says of it: where it came from, what it is for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored token, without its secret."""

    environment: str
    label: str
    """Its public id, or ``fp:…`` where it has none; unique in its environment."""
    note: str
    added_at: datetime
    key_id: str
    """The master key that it is encrypted under."""


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """A stored token as it lies in the database."""

    id: UUID
    environment: str
    label: str
    sealed: Sealed

    def unseal(self, keyring: Keyring) -> Secret:
        """Decrypt it; raises ``StoreMismatch`` where its key is not there, or it was changed or moved."""
        return Secret(keyring.unseal(self.sealed, _ENTRY, str(self.id), self.environment).decode())


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation of the master key did."""

    entries: int
    """Entries encrypted anew."""
    keys: int
    """Keys in the database wrapped anew."""
    under_unknown_keys: Mapping[str, int]
    """Id of a key that is not configured → how many entries stay under it, unreadable until it is."""


async def open_vault(pool: Pool, keyring: Keyring, now: datetime) -> Vault:
    """Open the encrypted store; the first time, make the key of fingerprints.

    That key is random and stored wrapped by the master key, so fingerprints are the same in every process and stay
    the same when the master key changes. Raises ``StoreMismatch`` where the master key is not the one that wrapped it.
    """
    sealed = keyring.seal(secrets.token_bytes(KEY_SIZE), _KEY, _FINGERPRINT)
    async with pool.acquire() as connection:
        await connection.execute(
            """
            insert into keyring (name, key_id, nonce, ciphertext, created_at) values ($1, $2, $3, $4, $5)
            on conflict (name) do nothing
            """,
            _FINGERPRINT,
            sealed.key_id,
            sealed.nonce,
            sealed.ciphertext,
            now,
        )
        row = await connection.fetchrow("select key_id, nonce, ciphertext from keyring where name = $1", _FINGERPRINT)
    assert row is not None
    return Vault(pool, keyring, Fingerprinter(keyring.unseal(_sealed(row), _KEY, _FINGERPRINT)))


async def add(vault: Vault, new: Sequence[NewEntry], now: datetime) -> int:
    """Store tokens in one transaction; return how many of them were not stored before.

    A token that is there already, in the same environment, stays as it is. Thousands at a time are fine; more belong
    into several calls.
    """
    keyring = vault.keyring
    offered: dict[tuple[str, bytes], NewEntry] = {}
    for entry in new:
        offered.setdefault((entry.environment, vault.fingerprint(entry.secret)), entry)
    ids = [uuid4() for _entry in offered]
    sealed = [
        keyring.seal(entry.secret.reveal().encode(), _ENTRY, str(id_), entry.environment)
        for id_, entry in zip(ids, offered.values(), strict=True)
    ]
    async with vault.pool.acquire() as connection, connection.transaction():
        # One writer at a time, so that the choice of a free label holds until it is written; readers go on.
        await connection.execute("lock table vault_entry in share row exclusive mode")
        added = await connection.fetch(
            """
            with offered as (
                select o.*, row_number() over (partition by environment, label order by position) as copy
                from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[], $7::text[])
                    with ordinality
                    as o (id, environment, label, fingerprint, nonce, ciphertext, note, position)
                where not exists (select 1 from vault_entry v
                                  where v.environment = o.environment and v.fingerprint = o.fingerprint)
            )
            insert into vault_entry (id, environment, label, fingerprint, key_id, nonce, ciphertext, note, added_at)
            select o.id, o.environment,
                -- Two secrets can claim one public id, one of them a damaged copy; its fingerprint tells it apart.
                case when o.copy > 1 or exists (select 1 from vault_entry v
                                                where v.environment = o.environment and v.label = o.label)
                    then o.label || '~' || left(encode(o.fingerprint, 'hex'), 8) else o.label end,
                o.fingerprint, $8, o.nonce, o.ciphertext, o.note, $9
            from offered o
            returning id
            """,
            ids,
            [environment for environment, _fingerprint in offered],
            [
                entry.secret.public_id or f"{FINGERPRINT_PREFIX}{fingerprint.hex()}"
                for (_environment, fingerprint), entry in offered.items()
            ],
            [fingerprint for _environment, fingerprint in offered],
            [entry.nonce for entry in sealed],
            [entry.ciphertext for entry in sealed],
            [entry.note for entry in offered.values()],
            keyring.current.id,
            now,
        )
    return len(added)


async def entries(vault: Vault, environment: str | None = None) -> AsyncIterator[Sequence[Entry]]:
    """Yield what is stored, never the secrets, in batches ordered by environment and label."""
    after = ("", "")
    while True:
        async with vault.pool.acquire() as connection:
            rows = await connection.fetch(
                """
                select environment, label, note, added_at, key_id from vault_entry
                where (environment, label) > ($1, $2) and ($3::text is null or environment = $3)
                order by environment, label limit $4
                """,
                *after,
                environment,
                BATCH,
            )
        if not rows:
            return
        after = (rows[-1]["environment"], rows[-1]["label"])
        yield [Entry(row["environment"], row["label"], row["note"], row["added_at"], row["key_id"]) for row in rows]


async def remove(vault: Vault, environment: str, label: str) -> bool:
    """Remove a token; return whether it was there."""
    async with vault.pool.acquire() as connection:
        removed = await connection.fetchval(
            "delete from vault_entry where environment = $1 and label = $2 returning id", environment, label
        )
    return removed is not None


async def sealed_entries(vault: Vault) -> AsyncIterator[Sequence[SealedEntry]]:
    """Yield every token as it lies in the database, in batches; no connection is held between them."""
    after = UUID(int=0)
    while True:
        async with vault.pool.acquire() as connection:
            rows = await connection.fetch(
                """
                select id, environment, label, key_id, nonce, ciphertext from vault_entry
                where id > $1 order by id limit $2
                """,
                after,
                BATCH,
            )
        if not rows:
            return
        after = rows[-1]["id"]
        yield [_sealed_entry(row) for row in rows]


async def rotate_key(vault: Vault) -> Rotation:
    """Encrypt anew, under the current key, whatever is under a previous one.

    A batch is a transaction, so it can be stopped and run again at any time, and others may read and add
    meanwhile, as long as they hold both keys. Raises ``StoreMismatch`` at an entry that was changed or moved in
    the database.
    """
    keys = await _rewrap_keys(vault)
    rotated = 0
    while count := await _rotate_batch(vault):
        rotated += count
    async with vault.pool.acquire() as connection:
        left = await connection.fetch(
            """
            select key_id, count(*) as number from vault_entry where not key_id = any ($1::text[])
            group by key_id order by key_id
            """,
            [vault.keyring.current.id, *vault.keyring.previous_ids],
        )
    return Rotation(rotated, keys, {row["key_id"]: row["number"] for row in left})


async def _rewrap_keys(vault: Vault) -> int:
    keyring = vault.keyring
    async with vault.pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            "select name, key_id, nonce, ciphertext from keyring where key_id <> $1 for update", keyring.current.id
        )
        for row in rows:
            sealed = keyring.seal(keyring.unseal(_sealed(row), _KEY, row["name"]), _KEY, row["name"])
            await connection.execute(
                "update keyring set key_id = $2, nonce = $3, ciphertext = $4 where name = $1",
                row["name"],
                sealed.key_id,
                sealed.nonce,
                sealed.ciphertext,
            )
    return len(rows)


async def _rotate_batch(vault: Vault) -> int:
    keyring = vault.keyring
    async with vault.pool.acquire() as connection, connection.transaction():
        # Ordered, so that two rotations at once wait for each other instead of holding what the other needs.
        rows = await connection.fetch(
            """
            select id, environment, label, key_id, nonce, ciphertext from vault_entry
            where key_id = any ($1::text[]) order by id limit $2 for update
            """,
            keyring.previous_ids,
            BATCH,
        )
        batch = [_sealed_entry(row) for row in rows]
        sealed = [
            keyring.seal(entry.unseal(keyring).reveal().encode(), _ENTRY, str(entry.id), entry.environment)
            for entry in batch
        ]
        await connection.execute(
            """
            update vault_entry v set key_id = $1, nonce = o.nonce, ciphertext = o.ciphertext
            from unnest($2::uuid[], $3::bytea[], $4::bytea[]) as o (id, nonce, ciphertext)
            where v.id = o.id
            """,
            keyring.current.id,
            [entry.id for entry in batch],
            [entry.nonce for entry in sealed],
            [entry.ciphertext for entry in sealed],
        )
    return len(batch)


def _sealed_entry(row: Row) -> SealedEntry:
    return SealedEntry(row["id"], row["environment"], row["label"], _sealed(row))


def _sealed(row: Row) -> Sealed:
    return Sealed(row["key_id"], row["nonce"], row["ciphertext"])
