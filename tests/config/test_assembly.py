"""What a configuration describes is opened side by side, and all that is wrong with it is told."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.config.assembly import Assembly, assembled
from auditor.config.load import load
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError
from auditor.store.connection import Pool

NAMES = ("west", "east")
ENVIRONMENT = """
[environments.{name}]
url = "https://{name}.live.dynatrace.com"
token = {{ command = ["/bin/sh", "-c", "{command}"] }}
"""
REST = """
[policy]
files = ["policy.toml"]

[sources.vault]
type = "plain"
path = "tokens"
environment = "west"
"""
HOOK = """
[hooks.team]
type = "webhook"
url = "https://hooks.example.com"
secret = { env = "NOT_SET" }
"""


def opening(directory: Path, pool: Pool, text: str) -> AbstractAsyncContextManager[Assembly]:
    path = directory / "auditor.toml"
    path.write_text(REST + text)
    (directory / "policy.toml").write_text('name = "test"\n')
    return assembled(
        load(path),
        pool,
        resolver=Resolver(directory, {"PATH": "/usr/bin:/bin"}),
        state=directory / "state",
        clock=lambda: datetime(2026, 7, 1, tzinfo=UTC),
        environments=NAMES,
    )


async def test_secrets_are_resolved_side_by_side(tmp_path: Path, database: Pool) -> None:
    one, other = NAMES
    waits = "touch {path}/{mine}; until [ -e {path}/{theirs} ]; do sleep 0.01; done; echo word"
    text = "".join(
        ENVIRONMENT.format(name=mine, command=waits.format(path=tmp_path, mine=mine, theirs=theirs))
        for mine, theirs in ((one, other), (other, one))
    )
    async with opening(tmp_path, database, text) as assembly:
        assert tuple(assembly.clients) == NAMES


async def test_all_secrets_that_cannot_be_had_are_told_in_order(tmp_path: Path, database: Pool) -> None:
    first, second = NAMES
    text = ENVIRONMENT.format(name=first, command="sleep 0.1; exit 3") + ENVIRONMENT.format(
        name=second, command="exit 4"
    )
    with pytest.raises(ConfigError) as raised:
        await opening(tmp_path, database, text + HOOK).__aenter__()
    assert [problem.place for problem in raised.value.problems] == [
        f"environments.{first}.token",
        f"environments.{second}.token",
        "hooks.team.secret",
    ]
