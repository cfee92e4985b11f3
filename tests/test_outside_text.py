"""Text from outside, made fit to be looked at."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.outside_text import clipped, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Zażółć gęślą 令牌 🔑\u00a0", "Zażółć gęślą 令牌 🔑\u00a0"),
        ("a\x00\x1f\x7f", "a␀␟␡"),
        ("\u202a\u2066\u200f\u00ad\u2028\ufeff\U000e0041", "[U+202A][U+2066][U+200F][U+00AD][U+2028][U+FEFF][U+E0041]"),
        ("\x9b\udfff", "[U+009B][U+DFFF]"),
    ],
)
def test_only_what_is_invisible_changes(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_what_is_shown_hides_nothing(text: str) -> None:
    shown = visible(text)

    shown.encode()
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown


def test_cut_text_says_its_length() -> None:
    assert clipped("abcde", 5) == "abcde"
    assert clipped("abcdef" * 1000, 5) == "abcde… (6,000 characters)"
