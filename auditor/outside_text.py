"""Makes text from outside fit to be looked at: nothing invisible, no secret, no endless length."""

import unicodedata
from typing import Final

from auditor.model.secret import TOKEN_FORMAT

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that change or hide text without a mark of their own: controls, bidirectional and zero-width
formats, lone surrogates, line and paragraph separators."""


def redacted(text: str) -> str:
    """Cut the secret part off whatever has the shape of a whole token, so that a token's name cannot carry one."""
    return TOKEN_FORMAT.sub(r"\1.…", text)


def visible(text: str) -> str:
    """Replace every invisible character by its picture (``␀``) or its number (``[U+202E]``); redact token shapes.

    The result is one line and can be encoded as UTF-8.
    """
    text = redacted(text)
    if text.isprintable():
        return text
    return "".join(_mark(char) if _is_invisible(char) else char for char in text)


def _is_invisible(char: str) -> bool:
    """Whether a character has no mark of its own, or is one of the 66 that no text may hold (Unicode 23.7)."""
    code = ord(char)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return is_noncharacter or unicodedata.category(char) in _INVISIBLE


def _mark(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"[U+{code:04X}]"


def clipped(text: str, limit: int) -> str:
    """Shorten text to ``limit`` characters and say how long it was; redacted first, or half a secret could stay."""
    text = redacted(text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def cut(text: str, limit: int) -> str:
    """Return a text that is clean already, of so many characters at most, with a mark where it was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
