"""Names of one token's generations have one stem, and names of different tokens do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.policy.lineage import LONGEST, name_stem


@pytest.mark.parametrize(
    "name",
    [
        "ingest-eu",
        "Ingest-EU",
        "ingest-eu-2026",
        "ingest-eu-2026-03",
        "ingest-eu_2026.03.31",
        "ingest-eu 20260331",
        "ingest-eu-v2",
        "ingest-eu-v2.1.13",
        "ingest-eu (old)",
        "ingest-eu [new]",
        "ingest-eu copy",
        "ingest-eu-rotated-2026-03",
        "ingest-eu-2026q1",
        "ingest-eu-q4",
        "ingest-eu/rev7",
    ],
)
def test_additions_of_a_rotation_are_no_part_of_the_stem(name: str) -> None:
    assert name_stem(name) == "ingest-eu"


@pytest.mark.parametrize(
    "name",
    ["ingest-eu-1", "ingest-eu-2", "ingest-eu-01", "ingest-eu-00042", "ingest-euold", "ingest-eu2026", "ingest-eu-q5",
     "ingest-eu-1999", "renew", "old ingest-eu", "ingest-eu-v", "ingest-eu-2026-1", "ingest-eu-old\n"],
)  # fmt: skip
def test_what_may_tell_two_tokens_apart_stays(name: str) -> None:
    assert name_stem(name) == name


@pytest.mark.parametrize("name", ["", "-old", "(2026)", "v2", "2026-03", "---"])
def test_name_of_nothing_but_additions_is_its_own_stem(name: str) -> None:
    assert name_stem(name) == name


def test_only_letters_of_ascii_become_small() -> None:
    assert name_stem("ÄPI-Ingest-İ-OLD") == "Äpi-ingest-İ"


def test_long_name_is_its_own_stem() -> None:
    assert name_stem("n" * (LONGEST - 4) + "-old") == "n" * (LONGEST - 4)
    assert name_stem("n" * (LONGEST - 3) + "-old") == "n" * (LONGEST - 3) + "-old"


@pytest.mark.parametrize("part", ["-", "-2026-03", "-v1.2", "-2026q1", "-q1-2026", "-v1.2026", "(", "-old)"])
def test_name_of_a_thousand_near_additions_is_looked_at_without_trying_every_reading(part: str) -> None:
    name = (part * LONGEST)[: LONGEST - 1] + "!"
    assert name_stem(name) == name


@given(st.text() | st.lists(st.sampled_from(["-", "old", "2026", "03", "v1", ".", "q1", "(", ")", "x"])).map("".join))
def test_stem_begins_the_name_and_is_its_own_stem(name: str) -> None:
    stem = name_stem(name)
    assert bool(stem) == bool(name)
    assert name.lower().startswith(stem.lower())
    assert name_stem(stem) == stem
