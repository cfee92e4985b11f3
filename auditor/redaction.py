"""Cuts secrets out of text by their shape, whoever wrote the text and however often it was quoted on the way.

Known shapes: tokens of today's format (their public id stays), values after an authorization scheme, values under a
key such as ``token`` or ``password``, webhook secrets, passwords in URLs, and URLs that let whoever has them post to
Slack or Teams. Text is looked at as it stands and again
with its percent, JSON and Python escapes undone, so a shape that was encoded, in whole or in part, is still met.

A token of the old format has no shape. It is met under a key or after a scheme, and nowhere else: to know its value
here would mean to hold every stored secret in memory for as long as the program runs, which is the greater risk. What
keeps it out of a log is ``Secret``, which never formats its value.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

HIDDEN: Final = "…"

_DEPTH: Final = 4
"""How many layers of quoting are undone: a body in a message in a traceback in a log line is three."""

_SHOWN: Final = (
    r"(?:dt0[a-z][0-9]{2}\.[a-z0-9]{24}(?:\.(?:…|[a-z0-9]+))?|fp:[0-9a-f]+|…|secret\('?"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|none|null|true|false|[0-9]{1,9})"
)
"""What may stand under a sensitive key: what the auditor itself calls a token (its public id, its fingerprint, the
UUID that API v1 gives), a token of today's format (its own shape cuts its secret part off), and values that say whether
there is one."""

_SHOWN_WHOLE: Final = re.compile(_SHOWN)
_AFTER_KEY: Final = (
    r"""["']?(?:[ \t]*:[ \t]*(?=["'])|[ \t]?=[ \t]?)"""
    rf"""(?!["']?{_SHOWN}(?:["'\s,;&)}}\]]|$)|\{{\s)"""
    r"""(?:"((?:[^"\\\n]|\\.)+)|'((?:[^'\\\n]|\\.)+)|([^\s"'&]+))"""
)
"""A key's separator and its value, quoted or after ``=``. Not an unquoted word after a colon: that is a sentence."""

_WORD: Final = r"""([^\s"'<>&]+)"""

# Each shape begins with plain text that is looked for first, which costs a fraction of a regular expression. Matching
# is done on lower case, and text is consumed no further than it is hidden, so that shapes within one another are met.
_SHAPES: Final = (
    ("dt0", re.compile(r"dt0(?=[a-z][0-9]{2}\.[a-z0-9]{24}\.([a-z0-9]+))")),
    *((key, re.compile(key + _AFTER_KEY)) for key in ("token", "secret", "password", "passwd", "passphrase")),
    ("api-token", re.compile(r"""api-token(?:["']?\s*[:=,]\s*["']?|\s+)""" + _WORD)),
    ("bearer", re.compile(r"bearer\s+(?=" + _WORD + ")")),
    ("basic", re.compile(r"basic\s+(?=" + _WORD + ")")),
    (
        "authorization",
        re.compile(
            r"""authorization["']?\s*[:=,]\s*(?>b?["'])?+(?!(?:api-token|bearer|basic)\s|…)"""
            r"""([^\s"'<>&]+(?:[ \t]+[^\s"'<>&]+)?)"""
        ),
    ),
    ("whsec_", re.compile(r"whsec_([a-z0-9+/=_-]+)")),
    ("hooks.slack", re.compile(r"""hooks\.slack(?:-gov)?\.com/([^\s"'<>]+)""")),
    ("sig=", re.compile(r"""[?&]sig=([^\s"'<>&]+)""")),  # of Azure, and so of Teams' workflows
)
_URL: Final = re.compile(r"""://[^\s"'<>]+""")
_SENSITIVE_KEY: Final = re.compile(r"(?:token|secret|password|passwd|passphrase|authorization)$", re.IGNORECASE)

_ESCAPE: Final = re.compile(
    r"""%(?P<percent>[0-9A-Fa-f]{2})|\\u(?P<u>[0-9A-Fa-f]{4})|\\x(?P<x>[0-9A-Fa-f]{2})"""
    r"""|\\(?P<char>[nrtbf"'/\\])|(?P<colour>\x1b\[[0-9;]*m)"""
)
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class _Span(NamedTuple):
    start: int
    end: int


def redact(text: str) -> str:
    """Return the text with every secret that has a known shape replaced by ``…``; whole if there is none."""
    spans = list(_secrets(text))
    if _is_quoted(text):
        spans.extend(_quoted_secrets(text))
    if not spans:
        return text
    pieces: list[str] = []
    position = 0
    for start, end in _merged(spans):
        pieces += (text[position:start], HIDDEN)
        position = end
    pieces.append(text[position:])
    return "".join(pieces)


def redact_values(value: object, *, by_key: bool = True) -> object:
    """Return JSON data with its strings redacted, and hidden whole under a sensitive key unless ``by_key`` is false."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            redact(str(key)): HIDDEN if by_key and _hides(str(key), item) else redact_values(item, by_key=by_key)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_values(item, by_key=by_key) for item in value]
    return value


def may_hold_secret(line: str) -> bool:
    """Whether a rendered JSON line has to be looked at closely; false for nearly all, and then it holds none."""
    return _is_quoted(line) or next(_secrets(line), None) is not None


def _hides(key: str, value: object) -> bool:
    return (
        isinstance(value, str)
        and value != ""
        and _SENSITIVE_KEY.search(key) is not None
        and _SHOWN_WHOLE.fullmatch(value.lower()) is None
    )


def _is_quoted(text: str) -> bool:
    return ("\\" in text or "%" in text or "\x1b" in text) and _ESCAPE.search(text) is not None


def _secrets(text: str) -> Iterator[_Span]:
    """Find the secrets in a text as it stands."""
    low = text.lower()
    if len(low) != len(text):  # İ grows when lowered, and then positions would not fit
        low = text.replace("İ", "i").lower()
    for beginning, shape in _SHAPES:
        if beginning in low:
            for match in shape.finditer(low):
                assert match.lastindex is not None
                yield _Span(*match.span(match.lastindex))
    if "@" in low and "://" in low:
        for match in _URL.finditer(low):
            run = match[0]
            colon, at = run.find(":", 3), run.rfind("@")
            if 3 <= colon < at - 1:
                yield _Span(match.start() + colon + 1, match.start() + at)


def _quoted_secrets(text: str) -> Iterator[_Span]:
    """Find the secrets that show only when layers of quoting are undone."""
    plain = text
    starts: Sequence[int] = range(len(text))
    ends: Sequence[int] = range(1, len(text) + 1)
    for _layer in range(_DEPTH):
        if not _is_quoted(plain):
            return
        plain, starts, ends = _unquoted(plain, starts, ends)
        for start, end in _secrets(plain):
            yield _Span(starts[start], ends[end - 1])


def _unquoted(text: str, starts: Sequence[int], ends: Sequence[int]) -> tuple[str, list[int], list[int]]:
    """Undo one layer of quoting, and carry along where each character begins and ends in the first text."""
    pieces: list[str] = []
    new_starts: list[int] = []
    new_ends: list[int] = []
    position = 0
    for match in chain(_ESCAPE.finditer(text), (None,)):
        start = match.start() if match else len(text)
        pieces.append(text[position:start])
        new_starts += starts[position:start]
        new_ends += ends[position:start]
        if match is None:
            break
        position = match.end()
        if match["colour"] is None:
            pieces.append(_meant(match))
            new_starts.append(starts[start])
            new_ends.append(ends[position - 1])
    return "".join(pieces), new_starts, new_ends


def _meant(match: re.Match[str]) -> str:
    code = match["percent"] or match["u"] or match["x"]
    return chr(int(code, 16)) if code else _CONTROL.get(match["char"], match["char"])


def _merged(spans: list[_Span]) -> Iterator[_Span]:
    """Join spans that touch or overlap, in order."""
    spans.sort()
    start, end = spans[0]
    for span in spans[1:]:
        if span.start <= end:
            end = max(end, span.end)
        else:
            yield _Span(start, end)
            start, end = span
    yield _Span(start, end)
