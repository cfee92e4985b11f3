"""Whatever stands in the files of sources: each yields tokens or tells of problems, and never shows a secret."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.secret import TOKEN_FORMAT
from tests.fuzz.mutations import mutated, no_hang, tries
from tests.sources.reading import ENVIRONMENTS, EXAMPLE, read, source

FILES: dict[str, tuple[bytes, ...]] = {
    "csv": (
        f'token,environment,note\n{EXAMPLE},prod,"a, ""b"""\n{EXAMPLE},stage,\n'.encode(),
        f"note;token;environment\r\nx;{EXAMPLE};prod\r\n".encode(),
    ),
    "json": (
        f'{{"tenants":{{"a":{{"token":"{EXAMPLE}","environment":"prod"}},"b":[null,{{"token":1}}]}}}}'.encode(),
        f'{{"token":"{EXAMPLE}","environment":"stage"}}\n["{EXAMPLE}"]\n'.encode(),
    ),
    "dotenv": (f"# tokens\nexport A='{EXAMPLE}'\nB=\"{EXAMPLE}\"\nC={EXAMPLE} # c\nD=\n".encode(),),
    "plain": (f"# tokens\n\n{EXAMPLE}\n  {EXAMPLE}  \n".encode(),),
}
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "csv": ({"token_column": "token", "environment_column": "environment"},),
    "json": (
        {"environment": "prod"},
        {"environment_field": "environment", "token_field": "tenants.*.token"},
        {"environment_field": "environment", "lines": True},
    ),
    "dotenv": ({"environment": "prod"}, {"environment": "prod", "variables": ["*"]}),
    "plain": ({"environment": "prod"},),
}


@pytest.mark.parametrize("kind", FILES)
def test_file_yields_tokens_or_tells_what_is_wrong(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "stored"

    @tries(60)
    @given(mutated(FILES[kind]), st.sampled_from(SETTINGS[kind]))
    def reads(content: bytes, settings: dict[str, Any]) -> None:
        file.write_bytes(content)
        with no_hang():
            tokens, problem = asyncio.run(read(source(kind, tmp_path, path="stored", **settings)))
        assert tokens or problem
        assert not TOKEN_FORMAT.search(problem)
        for token in tokens:
            assert token.environment in ENVIRONMENTS
            assert token.secret.reveal().isprintable()
            assert token.location.place.isprintable()
            assert not TOKEN_FORMAT.search(token.location.place)

    reads()
