import base64
import os
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.errors import ConfigError, StoreMismatch
from auditor.model.secret import Secret
from auditor.store.keys import Fingerprinter, Keyring, MasterKey, Sealed, load_or_create_key_file

ROW = ("vault_entry", "1", "prod")


def key() -> MasterKey:
    return MasterKey(os.urandom(32))


@pytest.mark.parametrize(
    "written",
    [
        lambda value: value.hex(),
        lambda value: value.hex().upper(),
        lambda value: base64.b64encode(value).decode(),
        lambda value: base64.b64encode(value).decode().rstrip("="),
        lambda value: f" {base64.urlsafe_b64encode(value).decode()}\n",
    ],
)
def test_key_may_be_written_in_hex_and_in_either_base64(written: object) -> None:
    assert callable(written)
    value = b"\xfb\xff" + os.urandom(30)
    assert MasterKey.parse(Secret(written(value)), "encryption.key").id == MasterKey(value).id


@pytest.mark.parametrize(
    "text",
    ["", "password", "00" * 31, "00" * 33, "zz" * 32, base64.b64encode(bytes(31)).decode(), "é" * 43, "A" * 43 + "!"],
)
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MasterKey.parse(Secret(text), "encryption.key")
    assert "32 random bytes in base64 or hex" in str(caught.value)
    assert caught.value.problems[0].place == "encryption.key"
    assert not text or text not in str(caught.value)


def test_id_of_a_key_is_short_steady_and_tells_nothing_of_it() -> None:
    value = bytes(range(32))
    assert MasterKey(value).id == MasterKey(value).id == "013f2a03"
    assert MasterKey(value).id != MasterKey(value[::-1]).id
    assert repr(MasterKey(value)) == "MasterKey(013f2a03)"


def test_what_earlier_versions_stored_is_still_understood() -> None:
    value = bytes(range(32))
    ciphertext = bytes.fromhex("342a17a0ce51bdeaff48c4b765ad0674818e19d4c55f4a")
    sealed = Sealed("013f2a03", bytes.fromhex("124322ee80d76581310aceb2"), ciphertext)
    assert Keyring(MasterKey(value)).unseal(sealed, *ROW) == b"content"
    assert Fingerprinter(value)(Secret("example")).hex() == "48feaecaa3e43e69d32a63f24ef1ae23"


@given(st.binary(max_size=200), st.lists(st.text(), max_size=4))
def test_what_was_sealed_for_a_row_unseals_for_it(content: bytes, row: list[str]) -> None:
    keyring = Keyring(key())
    assert keyring.unseal(keyring.seal(content, *row), *row) == content


def test_equal_contents_are_sealed_differently() -> None:
    keyring = Keyring(key())
    first, second = keyring.seal(b"content", *ROW), keyring.seal(b"content", *ROW)
    assert first.nonce != second.nonce
    assert first.ciphertext != second.ciphertext
    assert len(first.nonce) == 12


@pytest.mark.parametrize(
    "row",
    [
        ("vault_entry", "2", "prod"),
        ("vault_entry", "1", "stage"),
        ("keyring", "1", "prod"),
        ("vault_entry", "1prod"),
        ("vault_entry", "1", "prod", ""),
        ("vault_entry", '1","prod'),
    ],
)
def test_content_does_not_unseal_for_another_row(row: tuple[str, ...]) -> None:
    keyring = Keyring(key())
    with pytest.raises(StoreMismatch, match="was changed or moved in the database"):
        keyring.unseal(keyring.seal(b"content", *ROW), *row)


@pytest.mark.parametrize("position", [0, 5, -1])
def test_changed_content_does_not_unseal(position: int) -> None:
    keyring = Keyring(key())
    sealed = keyring.seal(b"content", *ROW)
    changed = bytearray(sealed.ciphertext)
    changed[position] ^= 1
    with pytest.raises(StoreMismatch, match="vault_entry 1 prod does not decrypt"):
        keyring.unseal(Sealed(sealed.key_id, sealed.nonce, bytes(changed)), *ROW)


@pytest.mark.parametrize("sealed", [Sealed("", b"", b""), Sealed("", bytes(12), b"short")])
def test_damaged_content_is_a_mismatch_too(sealed: Sealed) -> None:
    current = key()
    with pytest.raises(StoreMismatch):
        Keyring(current).unseal(Sealed(current.id, sealed.nonce, sealed.ciphertext), *ROW)


def test_previous_key_still_unseals_and_the_current_one_seals() -> None:
    old, new = key(), key()
    sealed = Keyring(old).seal(b"content", *ROW)
    keyring = Keyring(new, [old])
    assert keyring.unseal(sealed, *ROW) == b"content"
    assert keyring.seal(b"content", *ROW).key_id == new.id
    assert keyring.previous_ids == [old.id]


def test_key_that_is_not_there_is_named_with_the_mend() -> None:
    old, new = key(), key()
    with pytest.raises(StoreMismatch) as caught:
        Keyring(new).unseal(Keyring(old).seal(b"content", *ROW), *ROW)
    assert f"under key {old.id}, which is not configured (configured: {new.id})" in str(caught.value)
    assert "previous_keys" in str(caught.value)


def test_current_key_among_the_previous_ones_is_no_previous_key() -> None:
    current = key()
    assert Keyring(current, [current]).previous_ids == []


def test_fingerprints_are_equal_for_equal_secrets_under_one_key_only() -> None:
    value = os.urandom(32)
    fingerprint, other = Fingerprinter(value), Fingerprinter(os.urandom(32))
    secret = secrets.token_urlsafe(16)
    assert fingerprint(Secret(secret)) == Fingerprinter(value)(Secret(secret))
    assert len(fingerprint(Secret(secret))) == 16
    assert fingerprint(Secret(secret)) != fingerprint(Secret(secret + "x"))
    assert fingerprint(Secret(secret)) != other(Secret(secret))


@pytest.mark.parametrize("make", [MasterKey, Fingerprinter])
def test_keys_have_32_bytes(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="32 bytes"):
        make(bytes(31))


def test_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    made = load_or_create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert load_or_create_key_file(path).id == made.id
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_make_a_key_file_at_once_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(load_or_create_key_file, [tmp_path / "master.key"] * 32))
    assert len({key.id for key in keys}) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    load_or_create_key_file(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"{mode:04o}.*chmod 600"):
        load_or_create_key_file(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"A" * 5_000])
def test_key_file_that_holds_no_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="32 random bytes"):
        load_or_create_key_file(path)
    assert path.read_bytes() == content


def test_key_file_without_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read or made: No such file or directory"):
        load_or_create_key_file(tmp_path / "absent" / "master.key")


def test_dangling_link_in_place_of_a_key_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_or_create_key_file(path)
