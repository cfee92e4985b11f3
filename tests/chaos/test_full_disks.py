"""A disk without room, in truth: the one of the state directory, with PostgreSQL in it, and the one of reports."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from auditor.model.secret import Secret
from tests.chaos.held import held, kept
from tests.chaos.server import Server
from tests.chaos.stage import IS_LONG, Stage, rounds, stage
from tests.daemon.stage import Running

REPORT = """
[reports.often]
every = "2s"
formats = ["json"]
keep = 3
"""
TROUBLE = {"database_unavailable", "sweep_cut_short", "slot_not_taken"}


def reconfigure(hurt: Stage, *, is_embedded: bool = False) -> Path:
    """Have a report made again and again, perhaps from an embedded PostgreSQL; return where it goes."""
    file = hurt.site.directory / "auditor.toml"
    text = file.read_text()
    file.write_text((text.replace('url = { env = "DATABASE_URL" }', "") if is_embedded else text) + REPORT)
    return Path(hurt.site.environ["STATE_DIRECTORY"], "reports")


async def made(service: Running) -> None:
    """Wait for a report that is begun after now."""
    await service.until("report_made", len(service.said("report_made")) + 2)


def assert_whole(reports: Path) -> None:
    """No report is cut short, and nothing unfinished is left."""
    assert [file.name for file in reports.iterdir() if file.suffix != ".json" or not file.stat().st_size] == []


async def test_report_that_found_no_room_is_made_when_there_is_some(tmp_path: Path, database_url: Secret) -> None:
    async with stage(tmp_path, database_url) as hurt:
        reports = reconfigure(hurt)
        async with hurt.service() as service:
            await service.until("report_made")
            process = psutil.Process(service.process.pid)
            _soft, hard = process.rlimit(psutil.RLIMIT_FSIZE)
            # An ordinary user has no small disk, but a process may be forbidden to write files, and those it starts.
            process.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
            await service.until("report_failed")
            process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
            await service.until("report_made", len(service.said("report_made")) + 1)
            assert await service.stop() == 0
        assert "File too large" in service.said("report_failed")[0]["problem"]
        assert_whole(reports)


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Have a disk of 256 MB for the length of the block."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.splitlines()[0]
        pytest.skip(f"no small disk can be mounted here: {said}; run as root, with CAP_SYS_ADMIN")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free; return the file to delete."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as out:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    out.write(bytes(size))
    return filler


@pytest.mark.skipif(not IS_LONG, reason="takes half a minute, and root; make chaos runs it")
async def test_disk_of_the_state_directory_that_is_full_again_and_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with Server.running(disk / "postgres") as server, stage(tmp_path, server.url) as hurt:
            hurt.site.environ["STATE_DIRECTORY"] = str(disk)
            hurt.files.append(server.log)
            reports = reconfigure(hurt, is_embedded=True)
            async with hurt.service() as service:
                await hurt.caught_up(service)
                before = await held(hurt, service)
                for _ in range(min(rounds(1), 10)):
                    filler = await asyncio.to_thread(fill, disk)
                    begun = len(service.events)
                    while sum(event["event"] in TROUBLE for event in service.events[begun:]) < 5:
                        hurt.flip()
                        await asyncio.sleep(0.05)
                    filler.unlink()
                    await made(service)
                    assert await kept(hurt, service, before) == []
                assert await service.stop() == 0
            assert_whole(reports)
            assert await hurt.complaints() == []
