import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from auditor.config.toml_lines import KeyPath, dotted, line_of, lines_of


def paths_in(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key and list position of parsed TOML."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield (*path, key)
        yield from paths_in(inner, (*path, key))


def lines(text: str) -> dict[str, int]:
    found = lines_of(text)
    assert set(found) == set(paths_in(tomllib.loads(text)))
    return {dotted(path): line for path, line in found.items()}


def test_tables_and_keys() -> None:
    assert lines("# first\na = 1\n\n[b]\nc = 2\n[b.d] # ]\n  e = 3\n") == {
        "a": 2,
        "b": 4,
        "b.c": 5,
        "b.d": 6,
        "b.d.e": 7,
    }


def test_arrays_of_tables() -> None:
    text = "[[a]]\nb = 1\n[[a]]\n[a.c]\nd = 2\n[[a.e]]\n[[a.e]]\nf = 3\n"
    assert lines(text) == {
        "a": 1, "a[0]": 1, "a[0].b": 2, "a[1]": 3, "a[1].c": 4, "a[1].c.d": 5, "a[1].e": 6, "a[1].e[0]": 6,
        "a[1].e[1]": 7, "a[1].e[1].f": 8,
    }  # fmt: skip


def test_dotted_and_quoted_keys() -> None:
    text = 'a.b = 1\na . "c.d" = 2\n\'e f\'."g\\"h" = 3\n[x."y]#z"]\n3.14 = 4\n"" = 5\n'
    assert lines(text) == {
        "a": 1, "a.b": 1, 'a."c.d"': 2, '"e f"': 3, '"e f"."g"h"': 3, "x": 4, 'x."y]#z"': 4, 'x."y]#z".3': 5,
        'x."y]#z".3.14': 5, 'x."y]#z".""': 6,
    }  # fmt: skip


def test_inline_tables_and_lists_of_several_lines() -> None:
    text = (
        'a = { b = 1, c = { "d.e" = [1.5, { f = 1979-05-27 07:32:00Z }] } }\n'
        'g = [ # [{\n  "]", # "\n  { h = 1 },\n  [],\n]\n'
        "i = 1\n"
    )
    assert lines(text) == {
        "a": 1, "a.b": 1, "a.c": 1, 'a.c."d.e"': 1, 'a.c."d.e"[0]': 1, 'a.c."d.e"[1]': 1, 'a.c."d.e"[1].f': 1,
        "g": 2, "g[0]": 3, "g[1]": 4, "g[1].h": 4, "g[2]": 5, "i": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    "string",
    [
        '"""\n[x]\ny = 1\n"""',
        "'''\n[x]\ny = \"\n'''",
        '"""\n\\"""\n"""',
        '"""\na"""""',
        "'''\na'''''",
        '"""\n\\\\"""',
        '[\n"""\n] # """,\n]',
    ],
)
def test_long_strings_hide_what_they_hold(string: str) -> None:
    text = f"a = {string} # \" ' [\nb = 1\n"
    assert lines(text)["b"] == text.count("\n")


def test_comments_and_strings_hide_brackets_and_quotes() -> None:
    text = '# it\'s [\na = 1 # """ {\nb = \'it"s\' # \'\nc = "# [" # ]\nd = 1\n'
    assert lines(text) == {"a": 2, "b": 3, "c": 4, "d": 5}


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    assert lines_of("\ufeff[a]\r\nb = 1 # x\r\nc = '''\r\n'''\r\nd = 2") == {
        ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "d"): 5,
    }  # fmt: skip


def test_key_that_is_not_there_is_found_by_what_would_hold_it() -> None:
    found = lines_of("[a]\nb = [\n  1,\n]\n")
    assert line_of(found, ("a", "b", 0)) == 3
    assert line_of(found, ("a", "b", 5, "x")) == 2
    assert line_of(found, ("a", "x", "y")) == 1
    assert line_of(found, ("x",)) is None
    assert line_of(found, ()) is None


def test_paths_are_written_as_in_the_file() -> None:
    assert dotted(("rules", "DT-EXP-01", "only", 0, "a b")) == 'rules.DT-EXP-01.only[0]."a b"'
    assert dotted(()) == ""


KEYS = st.sampled_from(["a", "b-c", "3", '"q.u"', "'l]i'", '"e\\"s"', '"#"', '"["'])
VALUES = st.recursive(
    st.sampled_from(
        [
            "1",
            "-1.5e3",
            "true",
            '"s"',
            "'l'",
            '"# ["',
            "'''\n]\n'''",
            '"""\na"""""',
            "1979-05-27 07:32:00",
            "07:32:00.5",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # ]\n" + "".join(f"{item} ,\n" for item in items) + "]")
        | st.lists(st.tuples(KEYS, inner), max_size=2).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items) + "}"
        )
    ),
    max_leaves=6,
)
DOTTED = st.lists(KEYS, min_size=1, max_size=3).map(" . ".join)
LINES = st.one_of(
    st.tuples(DOTTED, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]} # '"),
    DOTTED.map(lambda key: f"[ {key} ] # ]"),
    DOTTED.map(lambda key: f"[[{key}]]"),
    st.sampled_from(["", "# comment [x]", "\t"]),
)


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text("a.=[]{}\"'#\\,\n 1", max_size=25))
@example('a = """\\\\"""\n[b]')
@example("a = []\n[[b]]\n[b.c]")
def test_every_path_of_what_parses_is_found_and_no_other(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        reject()
    found = lines_of(text)
    assert set(found) == set(paths_in(data))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
