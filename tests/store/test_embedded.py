"""The embedded PostgreSQL: made, shared, stopped by the last to leave."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from auditor.model.errors import StoreUnavailable
from auditor.store.embedded import Address, running

_HOLDER = """
import sys, time
from pathlib import Path
from auditor.store.embedded import running
with running(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def tmp_path(fast_path: Path) -> Path:
    return fast_path


def is_up(directory: Path) -> bool:
    return (directory / ".s.PGSQL.5432").exists()


def holder(directory: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


async def ask(address: Address, question: str) -> object:
    connection = await asyncpg.connect(address.url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def test_data_survives_a_stop_and_the_last_to_leave_stops_the_server(tmp_path: Path) -> None:
    with running(tmp_path) as address:
        asyncio.run(ask(address, "create table kept as select 7 as n"))
    assert not is_up(tmp_path)
    with running(tmp_path) as address:
        assert asyncio.run(ask(address, "select n from kept")) == 7
    assert not is_up(tmp_path)


def test_processes_share_one_server_and_a_killed_one_does_not_keep_it_up(tmp_path: Path) -> None:
    with running(tmp_path) as address:
        first, second = holder(tmp_path), holder(tmp_path)
        assert asyncio.run(ask(address, "select 1")) == 1
        first.communicate("\n", timeout=30)
        second.send_signal(signal.SIGKILL)
        second.communicate(timeout=30)
        assert is_up(tmp_path)
    assert not is_up(tmp_path)


def test_leaving_early_keeps_the_server_for_the_others(tmp_path: Path) -> None:
    with running(tmp_path):
        other = holder(tmp_path)
    assert is_up(tmp_path)
    other.communicate("\n", timeout=30)
    assert not is_up(tmp_path)


def test_a_cluster_cut_short_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")
    with running(tmp_path) as address:
        assert asyncio.run(ask(address, "select 1")) == 1


@pytest.mark.parametrize("temporary", ["t", "long" * 30])
def test_long_state_directory_gets_a_short_socket_directory_of_our_own(
    tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / temporary).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / temporary))
    directory = tmp_path / ("long" * 30) / "state"
    with running(directory) as address:
        assert address.socket_directory != directory
        assert address.socket_directory.stat().st_mode & 0o077 == 0
        assert asyncio.run(ask(address, "select 1")) == 1
    assert not address.socket_directory.exists()


def test_only_the_user_of_the_operating_system_may_connect(tmp_path: Path) -> None:
    with running(tmp_path) as address:
        url = address.url.replace("user=auditor", "user=postgres")

        async def connect_as_another() -> None:
            await asyncpg.connect(url)

        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            asyncio.run(connect_as_another())


def test_a_path_that_is_no_directory_is_refused_with_the_place_and_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(StoreUnavailable, match=rf"{path}.*\[database\] url"), running(path):
        pass


def test_nothing_above_the_directory_is_opened_to_others(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with running(private / "state"):
        assert private.stat().st_mode & 0o777 == 0o700
    assert (private / "state").stat().st_mode & 0o077 == 0
