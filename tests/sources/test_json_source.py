import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.sources.base import Source
from auditor.sources.json_file import JsonSettings
from auditor.sources.json_walk import found_in
from tests.sources.reading import EXAMPLE, Write, found, minted, read, source


def opened(directory: Path, path: str = "tokens.json", **settings: Any) -> Source:
    if "environment_field" not in settings:
        settings.setdefault("environment", "prod")
    return source("json", directory, path=path, **settings)


async def test_strings_of_todays_format_are_found_wherever_they_stand(write: Write, tmp_path: Path) -> None:
    document = {"a/b": [{"~deep": EXAMPLE}, "other", 7, None], "c": f" {EXAMPLE} "}
    path = write("tokens.json", json.dumps(document))
    assert await found(opened(tmp_path)) == {
        f"{path}#/a~1b/0/~0deep": ("prod", EXAMPLE),
        f"{path}#/c": ("prod", EXAMPLE),
    }


async def test_whole_document_can_be_one_token(write: Write, tmp_path: Path) -> None:
    path = write("tokens.json", b"\xef\xbb\xbf" + json.dumps(EXAMPLE).encode())
    assert await found(opened(tmp_path)) == {str(path): ("prod", EXAMPLE)}


async def test_path_leads_through_lists_and_any_key(write: Write, tmp_path: Path) -> None:
    document = {
        "tenants": {
            "eu": [{"token": "one", "other": EXAMPLE}, {"token": ["two", "three"]}],
            "us": {"token": "four"},
            "none": {"token": None, "name": "x"},
        }
    }
    path = write("tokens.json", json.dumps(document))
    assert await found(opened(tmp_path, token_field="tenants.*.token")) == {
        f"{path}#/tenants/eu/0/token": ("prod", "one"),
        f"{path}#/tenants/eu/1/token/0": ("prod", "two"),
        f"{path}#/tenants/eu/1/token/1": ("prod", "three"),
        f"{path}#/tenants/us/token": ("prod", "four"),
    }


async def test_environment_is_named_beside_or_around_the_token(write: Write, tmp_path: Path) -> None:
    document = {
        "env": "prod",
        "entries": [{"secret": "one"}, {"env": "stage", "secret": "two"}, {"env": "stage", "in": {"secret": "three"}}],
    }
    write("tokens.json", json.dumps(document))
    both = [
        await found(opened(tmp_path, token_field="entries.secret", environment_field="env")),
        await found(opened(tmp_path, token_field="entries.in.secret", environment_field="env")),
    ]
    assert [list(tokens.values()) for tokens in both] == [[("prod", "one"), ("stage", "two")], [("stage", "three")]]


async def test_token_without_an_environment_is_told(write: Write, tmp_path: Path) -> None:
    path = write("tokens.json", json.dumps([{"env": 7, "secret": "one"}, {"env": "prod", "secret": "two"}]))
    tokens, problem = await read(opened(tmp_path, token_field="secret", environment_field="env"))
    assert [token.secret.reveal() for token in tokens] == ["two"]
    assert problem.startswith(f"{path}#/0/secret: does not say which environment it is for")


async def test_environment_that_is_really_a_token_is_not_shown(write: Write, tmp_path: Path) -> None:
    secret = minted()
    write("tokens.json", json.dumps([{"env": secret, "secret": "prod"}]))
    _tokens, problem = await read(opened(tmp_path, token_field="secret", environment_field="env"))
    assert "is for an environment that is not configured" in problem
    assert secret not in problem


async def test_key_that_is_a_token_is_masked_in_the_place(write: Write, tmp_path: Path) -> None:
    path = write("tokens.json", json.dumps({EXAMPLE: "one"}))
    assert list(await found(opened(tmp_path, token_field="*"))) == [f"{path}#/dt0c01.ST2EY72KQINMH574WMNVI7YN.…"]


async def test_other_things_than_strings_are_told(write: Write, tmp_path: Path) -> None:
    path = write("tokens.json", json.dumps([{"t": 7}, {"t": {"x": 1}}, {"t": "one"}]))
    tokens, problem = await read(opened(tmp_path, token_field="t"))
    assert [token.secret.reveal() for token in tokens] == ["one"]
    assert problem == "; ".join(
        f"{path}#/{number}/t: is not a string; correct token_field or the file" for number in (0, 1)
    )


async def test_json_lines_are_a_stream_with_a_place_for_each(write: Write, tmp_path: Path) -> None:
    lines = ['{"t": "one"}', "", '"two"', '{"t": broken', '[{"t": "three"}]']
    path = write("tokens.jsonl", "\n".join(lines))
    tokens, problem = await read(opened(tmp_path, "tokens.jsonl", token_field="t"))
    assert [(token.location.place, token.secret.reveal()) for token in tokens] == [
        (f"{path}:1#/t", "one"),
        (f"{path}:5#/0/t", "three"),
    ]
    assert problem.startswith(f"{path}:4: is not JSON: ")
    assert "broken" not in problem


async def test_lines_can_be_asked_for_whatever_the_files_name(write: Write, tmp_path: Path) -> None:
    write("tokens.json", f'"{EXAMPLE}"\n"{EXAMPLE}"\n')
    assert len(await found(opened(tmp_path, lines=True))) == 2
    _tokens, problem = await read(opened(tmp_path, lines=False))
    assert "is not JSON" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"a": ', "is not JSON"),
        (b'"\xff"', "not UTF-8"),
        (b'"\\ud800"', "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
async def test_broken_document_is_told_with_its_path(
    write: Write, tmp_path: Path, content: bytes, message: str
) -> None:
    path = write("tokens.json", content)
    _tokens, problem = await read(opened(tmp_path))
    assert problem.startswith(f"{path}: is not JSON")
    assert message in problem


async def test_document_that_is_too_large_is_refused(write: Write, tmp_path: Path) -> None:
    path = write("tokens.json", b"")
    with path.open("r+b") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    _tokens, problem = await read(opened(tmp_path))
    assert problem.startswith(f"{path}: larger than 67108864 bytes")


@pytest.mark.parametrize(
    "settings", [{}, {"environment": "prod", "environment_field": "env"}, {"environment": "p", "token_field": "a..b"}]
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        JsonSettings.model_validate({"type": "json", "path": "x", **settings})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(EXAMPLE),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_every_token_of_a_document_is_found_once_where_its_pointer_says(document: Any) -> None:
    results = list(found_in(document, None, None))
    assert len({result.pointer for result in results}) == len(results)
    assert [_at(document, result.pointer) for result in results] == [EXAMPLE] * len(results)
    assert len(results) == json.dumps(document).count(EXAMPLE) - _keys_that_are_tokens(document)


def _keys_that_are_tokens(document: Any) -> int:
    if isinstance(document, dict):
        return sum((EXAMPLE in key) + _keys_that_are_tokens(value) for key, value in document.items())
    return sum(map(_keys_that_are_tokens, document)) if isinstance(document, list) else 0


def _at(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document
