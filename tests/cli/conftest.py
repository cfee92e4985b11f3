"""Two simulated environments with a configuration that audits them, and a fresh database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.model.secret import Secret
from auditor.store.embedded import Address
from tests.command_line import Site, in_thread
from tests.command_line import site as made
from tests.databases import fresh_database


@pytest.fixture
def site(tmp_path: Path, database_url: Secret) -> Iterator[Site]:
    with made(tmp_path, database_url.reveal()) as ready:
        yield ready


@pytest.fixture(scope="module")
def lasting_site(tmp_path_factory: pytest.TempPathFactory, server: Address) -> Iterator[Site]:
    """One for all tests of a module, which leave it as it is."""
    with (
        in_thread(fresh_database(server)) as (database_url, _act),
        made(tmp_path_factory.mktemp("site"), database_url.reveal()) as ready,
    ):
        yield ready


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Site]:
    """The same with a database that is away, for commands that must not ask for one."""
    with made(tmp_path, "postgresql://auditor@127.0.0.1:1/auditor") as ready:
        yield ready
