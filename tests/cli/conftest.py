"""Two simulated environments with a configuration that audits them, and a fresh database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.model.secret import Secret
from tests.command_line import Site
from tests.command_line import site as made


@pytest.fixture
def site(tmp_path: Path, database_url: Secret) -> Iterator[Site]:
    with made(tmp_path, database_url.reveal()) as ready:
        yield ready


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Site]:
    """The same with a database that is away, for commands that must not ask for one."""
    with made(tmp_path, "postgresql://auditor@127.0.0.1:1/auditor") as ready:
        yield ready
