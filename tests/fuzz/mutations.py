"""Makes wrong input of right one: what parsers have to survive lies close to what they expect.

``AUDITOR_FUZZ_SECONDS`` has each test try other inputs until so many seconds are over; ``make fuzz`` sets it.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from time import monotonic
from types import FrameType
from typing import Final, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

TestFunction = TypeVar("TestFunction", bound=Callable[..., None])

_SECONDS: Final = float(os.environ.get("AUDITOR_FUZZ_SECONDS", "0"))
_MOST_EDITS: Final = 6
_HANGS_AFTER_SECONDS: Final = 60
"""A thousand times what the slowest input takes."""

_HUGE: Final = (b"[" * 3_000, b'{"a":' * 2_000, b"9" * 400, b"A" * 70_000)
ODD_BYTES: Final = (
    *b"\x00 \xff \xc3\x28 \xef\xbb\xbf \xed\xa0\x80 \xe2\x80\xa8 \x85".split(b" "),
    *rb"' \" '' { } [ ] , : = # \ \u0000 \ud800 null true -1 1e999 1e-999 NaN -9223372036854775809".split(b" "),
    *b"0001-01-01T00:00:00Z 9999-12-31T23:59:59.999999-23:59 =cmd() <script>".split(b" "),
    *(b'"', b'"""', b"\r", b"\n", b"\r\n"),
    *_HUGE,
)
ODD_TOML: Final = (
    r'""',
    r'"\u0000"',
    r'"*"',
    r'"["',
    r'"(a+)+$"',
    r'"../../x"',
    r'"/dev/null"',
    r'"\ud7ff"',
    r'"critical"',
    r'"dt0c01.*"',
    "1",
    "-1",
    "0",
    "1e999",
    "nan",
    "-inf",
    "0.1",
    "true",
    "9223372036854775807",
    "99999999999999999999999",
    "2026-02-28",
    "0001-01-01T00:00:00-23:59",
    "12:00:00",
    "[]",
    '[""]',
    "[[]]",
    "[1, 2]",
    "{}",
    '{ env = "X" }',
    "{ env = 1 }",
    "{ command = [] }",
    "{ a.b.c = 1 }",
    '{ file = "x", env = "X" }',
    "[" * 60 + "]" * 60,
    f'"{"x" * 5_000}"',
)


def tries(examples: int) -> Callable[[TestFunction], TestFunction]:
    """Try so many inputs, and then as many others until the time is over that the environment gives."""
    once = settings(
        max_examples=examples,
        # Why a failing input fails is for its reader: to explain it takes many times as long as to find it.
        phases=[phase for phase in Phase if phase is not Phase.explain],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )

    def decorated(test: TestFunction) -> TestFunction:
        tried = once(test)

        @wraps(tried)
        def again_and_again(*arguments: object, **named: object) -> None:
            ends = monotonic() + _SECONDS
            tried(*arguments, **named)
            while monotonic() < ends:
                tried(*arguments, **named)

        return again_and_again  # type: ignore[return-value]  # it takes what the test takes

    return decorated


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail for an input on which the block does not end."""

    def fail(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"this input took {_HANGS_AFTER_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(_HANGS_AFTER_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def mutated(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """Draw one of some texts with pieces of it cut, replaced or doubled, perhaps cut short."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, _MOST_EDITS))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        data[start:end] = draw(st.sampled_from(ODD_BYTES) | st.binary(max_size=8) | st.just(bytes(data[start:end]) * 2))
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@st.composite
def with_other_values(draw: st.DrawFn, text: str) -> bytes:
    """Draw a TOML text in which a few lines have another value, are gone, or stand twice; mostly it still parses."""
    lines = text.splitlines()
    written = [number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    for number in draw(st.lists(st.sampled_from(written), min_size=1, max_size=3)):
        key, equals, _value = lines[number].partition("=")
        what = draw(st.integers(0, 9))
        if what == 0:
            lines[number] = ""
        elif what == 1:
            lines[number] += "\n" + lines[number]
        elif equals:
            lines[number] = f"{key}= {draw(st.sampled_from(ODD_TOML))}"
        else:
            lines[number] = draw(
                st.sampled_from(["[x]", "[[rule]]", "[rules]", "[risk.scopes]", "[environments.prod]"])
            )
    return "\n".join(lines).encode()
