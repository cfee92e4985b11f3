import asyncio
import os
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from auditor.model.errors import StoreMismatch
from auditor.model.secret import Secret
from auditor.store.connection import Pool
from auditor.store.keys import Keyring, MasterKey
from auditor.store.vault import (
    Entry,
    NewEntry,
    Rotation,
    Vault,
    add,
    entries,
    open_vault,
    remove,
    rotate_key,
    sealed_entries,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXAMPLE = Secret("dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM")
PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"


def key() -> MasterKey:
    return MasterKey(os.urandom(32))


def minted() -> Secret:
    return Secret(secrets.token_urlsafe(16))


def damaged_copy() -> Secret:
    """A value that claims the example's public id and is another secret."""
    return Secret(PUBLIC_ID + "." + "".join(secrets.choice("ABCDEFGH234567") for _ in range(64)))


@pytest.fixture
async def vault(database: Pool) -> Vault:
    return await open_vault(database, Keyring(key()), NOW)


async def stored(vault: Vault) -> Counter[tuple[str, Secret]]:
    return Counter(
        [(entry.environment, entry.unseal(vault.keyring)) async for batch in sealed_entries(vault) for entry in batch]
    )


async def listed(vault: Vault, environment: str | None = None) -> list[Entry]:
    return [entry async for batch in entries(vault, environment) for entry in batch]


async def test_added_tokens_come_back(vault: Vault) -> None:
    old = minted()
    added = await add(vault, [NewEntry("prod", EXAMPLE), NewEntry("stage", EXAMPLE), NewEntry("prod", old)], NOW)
    assert added == 3
    assert await stored(vault) == Counter([("prod", EXAMPLE), ("stage", EXAMPLE), ("prod", old)])


async def test_listing_tells_everything_but_the_secret(vault: Vault) -> None:
    old = minted()
    await add(vault, [NewEntry("prod", old, "from the wiki"), NewEntry("prod", EXAMPLE)], NOW)
    await add(vault, [NewEntry("ci", EXAMPLE)], NOW + timedelta(days=1))
    key_id = vault.keyring.current.id
    assert await listed(vault) == [
        Entry("ci", PUBLIC_ID, "", NOW + timedelta(days=1), key_id),
        Entry("prod", PUBLIC_ID, "", NOW, key_id),
        Entry("prod", f"fp:{vault.fingerprint(old).hex()}", "from the wiki", NOW, key_id),
    ]
    assert [entry.environment for entry in await listed(vault, "ci")] == ["ci"]


async def test_token_that_is_there_stays_as_it_is(vault: Vault) -> None:
    await add(vault, [NewEntry("prod", EXAMPLE, "first")], NOW)
    assert await add(vault, [NewEntry("prod", EXAMPLE, "second")], NOW + timedelta(days=1)) == 0
    assert [(entry.note, entry.added_at) for entry in await listed(vault)] == [("first", NOW)]


async def test_token_twice_in_one_call_is_stored_once(vault: Vault) -> None:
    assert await add(vault, [NewEntry("prod", EXAMPLE, "first"), NewEntry("prod", EXAMPLE, "second")], NOW) == 1
    assert [entry.note for entry in await listed(vault)] == ["first"]


async def test_nothing_added_is_nothing_stored(vault: Vault) -> None:
    assert await add(vault, [], NOW) == 0
    assert await listed(vault) == []


async def test_secrets_that_claim_one_public_id_have_labels_of_their_own(vault: Vault) -> None:
    copies = [damaged_copy(), damaged_copy()]
    await add(vault, [NewEntry("prod", EXAMPLE)], NOW)
    await add(vault, [NewEntry("prod", copy) for copy in copies], NOW)
    await add(vault, [NewEntry("stage", copy) for copy in copies], NOW)
    suffixed = {copy: f"{PUBLIC_ID}~{vault.fingerprint(copy).hex()[:8]}" for copy in copies}
    assert {entry.label for entry in await listed(vault, "prod")} == {PUBLIC_ID, *suffixed.values()}
    assert {entry.label for entry in await listed(vault, "stage")} == {PUBLIC_ID, suffixed[copies[1]]}


async def test_thousands_are_stored_listed_and_read_in_batches(vault: Vault) -> None:
    tokens = [NewEntry("prod", Secret(f"token-{number}")) for number in range(2_500)]
    assert await add(vault, tokens, NOW) == 2_500
    assert [len(batch) async for batch in sealed_entries(vault)] == [1000, 1000, 500]
    assert [len(batch) async for batch in entries(vault)] == [1000, 1000, 500]
    assert await stored(vault) == Counter(("prod", token.secret) for token in tokens)


async def test_callers_that_add_at_once_store_each_token_once(vault: Vault) -> None:
    tokens = [NewEntry("prod", EXAMPLE), *(NewEntry("prod", damaged_copy()) for _ in range(20))]
    added = await asyncio.gather(*(add(vault, tokens, NOW) for _ in range(4)))
    assert sum(added) == 21
    assert len(await listed(vault)) == 21


async def test_removed_token_is_gone_in_its_environment_only(vault: Vault) -> None:
    await add(vault, [NewEntry("prod", EXAMPLE), NewEntry("stage", EXAMPLE)], NOW)
    assert await remove(vault, "prod", PUBLIC_ID)
    assert not await remove(vault, "prod", PUBLIC_ID)
    assert [entry.environment for entry in await listed(vault)] == ["stage"]


async def test_database_holds_no_secret_in_the_clear(vault: Vault, database: Pool) -> None:
    old = minted()
    await add(vault, [NewEntry("prod", old, "note"), NewEntry("prod", EXAMPLE)], NOW)
    async with database.acquire() as connection:
        rows = await connection.fetch("select * from vault_entry")
    contents = b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)
    assert old.reveal().encode() not in contents
    assert EXAMPLE.reveal().split(".")[2].encode() not in contents


@pytest.mark.parametrize(
    "tampering",
    [
        "update vault_entry set environment = 'stage' where label = $1",
        "update vault_entry set id = gen_random_uuid() where label = $1",
        """
        update vault_entry v set nonce = o.nonce, ciphertext = o.ciphertext
        from vault_entry o where v.label = $1 and o.label <> $1
        """,
    ],
)
async def test_entry_that_was_moved_in_the_database_does_not_unseal(
    vault: Vault, database: Pool, tampering: str
) -> None:
    other = minted()
    await add(vault, [NewEntry("prod", EXAMPLE), NewEntry("prod", other)], NOW)
    async with database.acquire() as connection:
        await connection.execute(tampering, PUBLIC_ID)
    async for batch in sealed_entries(vault):
        for entry in batch:
            if entry.label != PUBLIC_ID:
                assert entry.unseal(vault.keyring) == other
                continue
            with pytest.raises(StoreMismatch, match="was changed or moved"):
                entry.unseal(vault.keyring)


async def test_schema_refuses_what_cannot_be_an_entry(database: Pool) -> None:
    insert = """
        insert into vault_entry (id, environment, label, fingerprint, key_id, nonce, ciphertext, note, added_at)
        values (gen_random_uuid(), $1, 'label', $2, $3, $4, $5, '', now())
    """
    good: list[object] = ["prod", bytes(16), "0123abcd", bytes(12), bytes(17)]
    bad: list[object] = ["a b", bytes(15), "0123ABCD", bytes(16), bytes(16)]
    async with database.acquire() as connection:
        for position, value in enumerate(bad):
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(insert, *good[:position], value, *good[position + 1 :])
        await connection.execute(insert, *good)


async def test_fingerprints_are_the_same_in_every_process(database: Pool) -> None:
    master = key()
    opened = await asyncio.gather(*(open_vault(database, Keyring(master), NOW) for _ in range(4)))
    assert len({vault.fingerprint(EXAMPLE) for vault in opened}) == 1


async def test_fingerprints_of_two_databases_differ(vault: Vault, database: Pool) -> None:
    before = vault.fingerprint(EXAMPLE)
    async with database.acquire() as connection:
        await connection.execute("delete from keyring")
    assert (await open_vault(database, vault.keyring, NOW)).fingerprint(EXAMPLE) != before


async def test_other_master_key_does_not_open_the_store(vault: Vault, database: Pool) -> None:
    with pytest.raises(StoreMismatch, match=f"under key {vault.keyring.current.id}, which is not configured"):
        await open_vault(database, Keyring(key()), NOW)


async def test_rotation_brings_everything_under_the_current_key(database: Pool) -> None:
    old, new = key(), key()
    before = await open_vault(database, Keyring(old), NOW)
    tokens = [NewEntry("prod", Secret(f"token-{number}")) for number in range(2_100)]
    await add(before, tokens, NOW)

    during = await open_vault(database, Keyring(new, [old]), NOW)
    await add(during, [NewEntry("prod", EXAMPLE)], NOW)
    assert await rotate_key(during) == Rotation(entries=2_100, keys=1, under_unknown_keys={})

    after = await open_vault(database, Keyring(new), NOW)
    assert await stored(after) == Counter(("prod", secret) for secret in [*(t.secret for t in tokens), EXAMPLE])
    assert after.fingerprint(EXAMPLE) == before.fingerprint(EXAMPLE)
    assert await rotate_key(after) == Rotation(entries=0, keys=0, under_unknown_keys={})


async def test_entries_under_a_key_that_is_not_there_are_counted_and_left(database: Pool) -> None:
    lost, old, new = key(), key(), key()
    opened = await open_vault(database, Keyring(old), NOW)
    await add(Vault(database, Keyring(lost), opened.fingerprint), [NewEntry("prod", minted())], NOW)
    await add(opened, [NewEntry("prod", EXAMPLE)], NOW)
    rotation = await rotate_key(Vault(database, Keyring(new, [old]), opened.fingerprint))
    assert rotation == Rotation(entries=1, keys=1, under_unknown_keys={lost.id: 1})


async def test_rotation_stops_at_an_entry_that_was_moved_and_changes_nothing_of_its_batch(database: Pool) -> None:
    old, new = key(), key()
    opened = await open_vault(database, Keyring(old), NOW)
    await add(opened, [NewEntry("prod", EXAMPLE), NewEntry("prod", minted())], NOW)
    async with database.acquire() as connection:
        await connection.execute("update vault_entry set environment = 'stage' where label = $1", PUBLIC_ID)
    with pytest.raises(StoreMismatch, match="was changed or moved"):
        await rotate_key(Vault(database, Keyring(new, [old]), opened.fingerprint))
    assert {entry.key_id for entry in await listed(opened)} == {old.id}


async def test_others_read_and_rotate_during_a_rotation(database: Pool) -> None:
    old, new = key(), key()
    opened = await open_vault(database, Keyring(old), NOW)
    tokens = [NewEntry("prod", Secret(f"token-{number}")) for number in range(2_500)]
    await add(opened, tokens, NOW)
    vault = Vault(database, Keyring(new, [old]), opened.fingerprint)
    first, second, *readings = await asyncio.gather(rotate_key(vault), rotate_key(vault), stored(vault), stored(vault))
    assert isinstance(first, Rotation)
    assert isinstance(second, Rotation)
    assert first.entries + second.entries == 2_500
    assert readings == [Counter(("prod", token.secret) for token in tokens)] * 2
    assert {entry.key_id for entry in await listed(vault)} == {new.id}
