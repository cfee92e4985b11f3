"""Signatures of Ed25519 in the form of OpenSSH, which ``ssh-keygen -Y verify`` checks (PROTOCOL.sshsig of OpenSSH)."""

import base64
import binascii
import hashlib
import struct
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from auditor.model.errors import ConfigError, Problem
from auditor.model.secret import Secret

NAMESPACE: Final = "auditor-evidence"
"""What the signature is for: one made for another purpose does not count here."""
KEY_TYPE: Final = "ssh-ed25519"

_MAGIC: Final = b"SSHSIG"
_HASH: Final = "sha512"
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_LINE: Final = 70
_LENGTH: Final = struct.Struct(">I")


class SigningKey:
    """An Ed25519 key that signs packages."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = public_line(key.public_key())
        """As OpenSSH writes it: ``ssh-ed25519 AAAA…``."""

    @classmethod
    def parse(cls, secret: Secret, place: str) -> "SigningKey":
        """Read a key that is given as one word, in base64: its 32 bytes, or an OpenSSH key file without passphrase.

        Raises ``ConfigError``, put to ``place``, which shows nothing of the key.
        """
        mend = (
            "it must be 32 random bytes in base64 (openssl rand -base64 32), or an OpenSSH Ed25519 key without "
            "passphrase in base64 (base64 -w0 FILE)"
        )
        try:
            raw = base64.b64decode(secret.reveal(), validate=True)
        except (ValueError, binascii.Error):
            raise ConfigError(Problem(place, f"is not base64; {mend}")) from None
        if len(raw) == 32:
            return cls(Ed25519PrivateKey.from_private_bytes(raw))
        try:
            key = load_ssh_private_key(raw, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(Problem(place, f"is no signing key; {mend}")) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(Problem(place, f"is a key of another kind than Ed25519; {mend}"))
        return cls(key)

    def sign(self, message: bytes) -> str:
        """Return the signature of a message, as the lines of a ``.sig`` file."""
        signature = _string(KEY_TYPE.encode()) + _string(self._key.sign(_signed(message)))
        blob = (
            _MAGIC
            + _LENGTH.pack(1)
            + _string(_blob(self.public))
            + _string(NAMESPACE.encode())
            + _string(b"")
            + _string(_HASH.encode())
            + _string(signature)
        )
        text = base64.b64encode(blob).decode()
        return "\n".join([_BEGIN, *(text[at : at + _LINE] for at in range(0, len(text), _LINE)), _END, ""])


def public_line(key: Ed25519PublicKey) -> str:
    """Return a public key as OpenSSH writes it, without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def fingerprint(public: str) -> str:
    """Return what ``ssh-keygen -l`` shows of a public key: ``SHA256:…``. Raises ``ValueError`` where it is none."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(_blob(public)).digest()).decode().rstrip("=")


def same_key(one: str, other: str) -> bool:
    """Whether two lines hold the same public key, whatever their comments are. Raises ``ValueError``."""
    return _blob(one) == _blob(other)


def is_signed(message: bytes, signature: str, public: str) -> bool:
    """Whether a signature of a message is well formed, for this purpose, and made by the key of a public one."""
    lines = signature.strip().split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        return False
    try:
        text = "".join(lines[1:-1])
        blob = base64.b64decode(text, validate=True)
        if base64.b64encode(blob).decode() != text:  # other text of the same bytes
            return False
        if blob[:6] != _MAGIC or blob[6:10] != _LENGTH.pack(1):
            return False
        key, namespace, reserved, algorithm, signed = _strings(blob[10:], 5)
        kind, value = _strings(signed, 2)
        if (namespace, reserved, algorithm, kind) != (NAMESPACE.encode(), b"", _HASH.encode(), KEY_TYPE.encode()):
            return False
        if key != _blob(public):
            return False
        key_kind, raw = _strings(key, 2)
        if key_kind != KEY_TYPE.encode():
            return False
        Ed25519PublicKey.from_public_bytes(raw).verify(value, _signed(message))
    except (ValueError, binascii.Error, struct.error, InvalidSignature):
        return False
    return True


def _signed(message: bytes) -> bytes:
    digest = hashlib.sha512(message).digest()
    return _MAGIC + _string(NAMESPACE.encode()) + _string(b"") + _string(_HASH.encode()) + _string(digest)


def _blob(public: str) -> bytes:
    words = public.split()
    if len(words) < 2 or words[0] != KEY_TYPE:
        raise ValueError(f"a public key is written as {KEY_TYPE} AAAA…")
    return base64.b64decode(words[1], validate=True)


def _string(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _strings(blob: bytes, count: int) -> list[bytes]:
    """Read so many strings, which must fill the whole. Raises ``ValueError``."""
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(blob, at)
        at += _LENGTH.size
        if at + length > len(blob):
            raise ValueError("cut short")
        found.append(blob[at : at + length])
        at += length
    if at != len(blob):
        raise ValueError("longer than it says")
    return found
