"""Keys and ciphers: what may be stored only encrypted, under which key, and how secrets are told apart without it."""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auditor.credentials.files import opened
from auditor.model.errors import ConfigError, Problem, StoreMismatch
from auditor.model.secret import Secret

KEY_SIZE: Final = 32
"""Bytes of every key."""
NONCE_SIZE: Final = 12
"""Bytes of a nonce of AES-GCM (NIST SP 800-38D, 8.2.2); each is random."""
FINGERPRINT_SIZE: Final = 16
"""Bytes of a fingerprint."""
_KEY_FILE_LIMIT: Final = 1_024


class MasterKey:
    """A key that others are derived from; its ``id`` may be shown."""

    __slots__ = ("cipher", "id")

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        self.id = hashlib.sha256(b"auditor key id\0" + value).hexdigest()[:8]
        """Tells keys apart; nothing of the key follows from it."""
        derivation = HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=b"auditor store encryption 1")
        self.cipher = AESGCM(derivation.derive(value))

    def __repr__(self) -> str:
        return f"MasterKey({self.id})"

    @classmethod
    def parse(cls, text: Secret, place: str) -> Self:
        """Return the key that base64 or hex stands for.

        ``place`` says where the text comes from. Raises ``ConfigError`` where it is no key.
        """
        value = _decoded(text.reveal().strip())
        if value is None:
            raise ConfigError(
                Problem(
                    place,
                    f"must be {KEY_SIZE} random bytes in base64 or hex; openssl rand -base64 {KEY_SIZE} prints them",
                )
            )
        return cls(value)


def _decoded(text: str) -> bytes | None:
    with suppress(ValueError):
        if len(text) == 2 * KEY_SIZE:
            return bytes.fromhex(text)
    with suppress(ValueError, binascii.Error):
        alphabet = text.replace("-", "+").replace("_", "/").rstrip("=")
        value = base64.b64decode(alphabet + "=" * (-len(alphabet) % 4), validate=True)
        if len(value) == KEY_SIZE:
            return value
    return None


@dataclass(frozen=True, slots=True)
class Sealed:
    """Something encrypted, as the database holds it."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


class Keyring:
    """The current key, which encrypts, and previous ones, which still decrypt."""

    __slots__ = ("_keys", "current")

    def __init__(self, current: MasterKey, previous: Sequence[MasterKey] = ()) -> None:
        self.current = current
        self._keys = {key.id: key for key in (*previous, current)}

    def __repr__(self) -> str:
        return f"Keyring({self.current!r}, {len(self.previous_ids)} previous)"

    @property
    def previous_ids(self) -> Sequence[str]:
        """The ids of the previous keys."""
        return [key_id for key_id in self._keys if key_id != self.current.id]

    def seal(self, content: bytes, *row: str) -> Sealed:
        """Encrypt with AES-256-GCM for one row: its table, its key, and whatever else must not be exchanged."""
        nonce = os.urandom(NONCE_SIZE)
        return Sealed(self.current.id, nonce, self.current.cipher.encrypt(nonce, content, _bound_to(row)))

    def unseal(self, sealed: Sealed, *row: str) -> bytes:
        """Decrypt what was sealed for a row.

        Raises ``StoreMismatch`` where the key is not on this ring, or the content was changed or is another row's.
        """
        key = self._keys.get(sealed.key_id)
        what = " ".join(row)
        if key is None:
            raise StoreMismatch(
                f"{what} is encrypted under key {sealed.key_id}, which is not configured (configured: "
                f"{', '.join(self._keys)}); give that key as [encryption] key or in previous_keys"
            )
        try:
            return key.cipher.decrypt(sealed.nonce, sealed.ciphertext, _bound_to(row))
        except (InvalidTag, ValueError):
            raise StoreMismatch(
                f"{what} does not decrypt under key {sealed.key_id}: it was changed or moved in the database; "
                "restore it from a backup, or remove and add it again"
            ) from None


def _bound_to(row: Sequence[str]) -> bytes:
    """Return associated data that no other sequence of words gives."""
    return msgspec.json.encode(["auditor", *row])


class Fingerprinter:
    """Gives each secret its fingerprint: equal for equal secrets, and of no use without the key."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        self._keyed = hmac.new(key, digestmod="sha256")  # to copy it takes less than to begin anew

    def __call__(self, secret: Secret) -> bytes:
        """Return 16 bytes of HMAC-SHA-256."""
        mac = self._keyed.copy()
        mac.update(secret.reveal().encode())
        return mac.digest()[:FINGERPRINT_SIZE]

    def __repr__(self) -> str:
        return "Fingerprinter(…)"


def load_or_create_key_file(path: Path) -> MasterKey:
    """Return the key of a file; where there is none, make one of mode 0600 with a new random key.

    Several processes may do so at once: one makes the file, all get its key. Raises ``ConfigError`` where the file
    cannot be read or made, holds no key, or may be used by others.
    """
    place = str(path)
    try:
        if not path.exists():
            _create(path)
        with opened(path) as file:
            if not file.is_private:
                raise ConfigError(
                    Problem(place, f"has mode {file.mode:04o}, so others may use this key; run chmod 600 {path}")
                )
            content = file.stream.read(_KEY_FILE_LIMIT)
    except OSError as error:
        raise ConfigError(
            Problem(place, f"this key file cannot be read or made: {error.strerror}; see its directory")
        ) from error
    return MasterKey.parse(Secret(content.decode(errors="replace")), place)


def _create(path: Path) -> None:
    """Make a key file that is whole from the moment it is there, and never in the place of another."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_SIZE)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
