"""Secrets made for one test, and the search for them in whatever the program left."""

import base64
import json
import secrets
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

_BASE32 = string.ascii_uppercase + "234567"
_PIECE = 16
"""A piece of a secret of so many characters counts as a leak."""


def new_token() -> str:
    """A token of today's format that nobody has seen."""
    public, hidden = ("".join(secrets.choice(_BASE32) for _ in range(length)) for length in (24, 64))
    return f"dt0c01.{public}.{hidden}"


def old_token() -> str:
    """A token of the old format: nothing of it is public."""
    return secrets.token_urlsafe(16)[:21]


class Planted:
    """Secrets by name. What of each must not show: all of it, less the public id of a token of today's format."""

    def __init__(self) -> None:
        self._hidden: dict[str, str] = {}

    def plant(self, name: str, secret: str) -> str:
        """Note a secret, and return it."""
        self._hidden[name] = secret.rpartition(".")[2] if secret.startswith("dt0c01.") else secret
        return secret

    def leaks(self, evidence: Mapping[str, bytes]) -> list[str]:
        """Say which secret is where, and in what form; empty where there is none."""
        return [
            f"{name} in {where}, {form}"
            for where, content in evidence.items()
            for name, hidden in self._hidden.items()
            for form, needle in _forms(hidden)
            if needle in content
        ]


def _forms(hidden: str) -> Iterator[tuple[str, bytes]]:
    """What a secret looks like, whole or in part, as it is and encoded."""
    plain = hidden.encode()
    for start in range(0, max(len(plain) - _PIECE, 0) + 1, _PIECE // 2):
        yield "as it is", plain[start : start + _PIECE]
    if hidden != hidden.lower():
        yield "in lower case", plain[:_PIECE].lower()
    for before in range(3):  # where in a group of three bytes it begins, in a longer text that was encoded whole
        encoded = base64.b64encode(bytes(before) + plain)
        middle = encoded[4 if before else 0 : -4][:_PIECE]
        yield "in base64", middle
        yield "in base64 for URLs", middle.replace(b"+", b"-").replace(b"/", b"_")
    piece = plain[:_PIECE]
    yield "in hexadecimal", piece.hex().encode()
    yield "in hexadecimal", piece.hex().upper().encode()
    yield "percent-encoded", "".join(f"%{byte:02X}" for byte in piece).encode()
    yield "percent-encoded", "".join(f"%{byte:02x}" for byte in piece).encode()
    yield "in JSON's escapes", "".join(f"\\u{byte:04x}" for byte in piece).encode()
    yield "in JSON's escapes", "".join(f"\\u{byte:04X}" for byte in piece).encode()
    yield "in JSON's escapes", json.dumps(hidden)[1:-1].encode()


def files_in(directory: Path, *, without_folder: str) -> dict[str, bytes]:
    """The names and the content of all files under a directory, less one of its folders."""
    return {
        f"file {path.relative_to(directory)}": f"{path}\n".encode() + path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and directory / without_folder not in path.parents
    }
