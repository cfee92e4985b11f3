import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.model.errors import StoreUnavailable
from auditor.model.secret import Secret
from auditor.store.connection import Pool
from auditor.store.keys import Keyring, MasterKey
from auditor.store.vault import NewEntry, Vault, add, open_vault
from tests.sources.reading import EXAMPLE, found, minted, read, source

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def vault(database: Pool) -> Vault:
    return await open_vault(database, Keyring(MasterKey(os.urandom(32))), NOW)


async def test_every_entry_is_a_token_for_its_environment(vault: Vault, tmp_path: Path) -> None:
    old = minted()
    await add(vault, [NewEntry("prod", Secret(EXAMPLE)), NewEntry("stage", Secret(old))], NOW)
    assert await found(source("encrypted", tmp_path, vault=vault)) == {
        "entry dt0c01.ST2EY72KQINMH574WMNVI7YN": ("prod", EXAMPLE),
        f"entry fp:{vault.fingerprint(Secret(old)).hex()}": ("stage", old),
    }


async def test_large_store_comes_in_batches(vault: Vault, tmp_path: Path) -> None:
    await add(vault, [NewEntry("prod", Secret(f"token-{number}")) for number in range(1_500)], NOW)
    assert [len(batch) async for batch in source("encrypted", tmp_path, vault=vault).read()] == [1000, 500]


async def test_entry_that_does_not_decrypt_is_told_and_hides_nothing(
    vault: Vault, database: Pool, tmp_path: Path
) -> None:
    await add(vault, [NewEntry("prod", Secret(EXAMPLE)), NewEntry("prod", Secret("one"))], NOW)
    async with database.acquire() as connection:
        await connection.execute("update vault_entry set environment = 'stage' where label like 'dt0c01%'")
    tokens, problem = await read(source("encrypted", tmp_path, vault=vault))
    assert [token.secret.reveal() for token in tokens] == ["one"]
    assert problem.startswith("entry dt0c01.ST2EY72KQINMH574WMNVI7YN: vault_entry ")
    assert "was changed or moved in the database" in problem


async def test_empty_store_is_a_problem(vault: Vault, tmp_path: Path) -> None:
    _tokens, problem = await read(source("encrypted", tmp_path, vault=vault))
    assert problem.startswith("no token found in the encrypted store; ")


async def test_database_that_is_not_open_is_told(tmp_path: Path) -> None:
    _tokens, problem = await read(source("encrypted", tmp_path))
    assert "the database, which is not open" in problem


async def test_database_that_goes_away_is_no_fault_of_the_source(vault: Vault, database: Pool, tmp_path: Path) -> None:
    opened = source("encrypted", tmp_path, vault=vault)
    database.terminate()
    with pytest.raises(StoreUnavailable):
        await read(opened)
