"""A real PostgreSQL for every test that asks: one server a process of the run, a migrated database that is as new."""

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from auditor.model.secret import Secret
from auditor.store import embedded
from auditor.store.connection import Pool
from auditor.store.database import connected
from auditor.store.migrate import migrate
from tests.databases import Database, Databases, execute, note_types, remember_types, url_of

settings.register_profile("at any speed", deadline=None)  # no test may fail for the load of the machine
settings.load_profile("at any speed")
remember_types()
gc.disable()  # until all tests are collected: what is made meanwhile stays
_shared: list[asyncio.AbstractEventLoop] = []
_ROOM = 2_000_000_000
_LONG = (
    "test_crew",
    "test_demo",
    "test_hurt_databases",
    "test_page_in_browser",
    "test_pdf_report",
    "test_secrets",
    "test_sweep_workers",
)


@pytest.fixture(scope="session")
def _asyncio_loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Run tests on the loop that commands run on: a sweep takes a fifth less of this process's time.

    This is a fixture of pytest-asyncio. Its hook for the same gives this to async tests alone, so that a test that is
    none, but has an async fixture, would end the loop and what lives on it.
    """
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


@pytest.fixture(scope="session", autouse=True)
async def _shared_loop() -> None:
    """Note the loop that tests share; a module may have another, on which something of its own goes on."""
    _shared.append(asyncio.get_running_loop())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """End what a test left running, and set the loop back: all tests share it, as they share connections."""
    yield
    for loop in _shared:
        loop.set_debug(False)
        loop.set_exception_handler(None)
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Write the tables that strategies of text read, while the processes that run the tests still look for them.

    In a new clone each process would else spend a second on its own.
    """
    if session.config.pluginmanager.hasplugin("dsession"):
        st.text().validate()


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from going through modules and tests, and what tests make, again and again."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes seconds: at the end one process would do it while the others have nothing left."""
    items.sort(key=lambda item: item.path.stem not in _LONG)


@pytest.fixture(scope="session")
def server() -> Iterator[embedded.Address]:
    """An embedded PostgreSQL whose template database is migrated."""
    with _fast_directory() as directory, embedded.running(directory) as address:
        asyncio.run(_make_template(address))
        yield address


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A directory for a PostgreSQL of a test's own."""
    with _fast_directory() as directory:
        yield directory


@contextmanager
def _fast_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="auditor-test-", dir=_fast_place()) as directory:
        yield Path(directory)


def _fast_place() -> Path | None:
    """Return a directory in memory where there is one with room; a database is copied there in a fifth of the time."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM:
        return memory
    return None


async def _make_template(address: embedded.Address) -> None:
    # Nothing here has to survive the machine, and a database is made for each test.
    settings = ("fsync", "full_page_writes", "synchronous_commit")
    await execute(
        address,
        *(f"alter system set {setting} = off" for setting in settings),
        "select pg_reload_conf()",
        "create database migrated",
    )
    async with (
        connected(url_of(address, "migrated"), application="tests", connections=1) as pool,
        pool.acquire() as connection,
    ):
        await migrate(connection)
        note_types(await connection.fetchval("select array_agg(oid) from pg_type where oid >= 16384"))
    async with connected(url_of(address, "migrated"), application="tests", connections=1):
        pass  # leaves a file of what every connection reads first, which each copy of the database then has, too


@pytest.fixture(scope="session")
async def databases(server: embedded.Address) -> AsyncIterator[Databases]:
    """The databases that tests have one after another."""
    lasting = Databases(server)
    yield lasting
    await lasting.close()


@pytest.fixture
async def _database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.one() as database:
        yield database


@pytest.fixture
def database_url(_database: Database) -> Secret:
    """The URL of a migrated database that is as new."""
    return _database.url


@pytest.fixture
def database(_database: Database) -> Pool:
    """A pool on a migrated database that is as new."""
    return _database.pool
