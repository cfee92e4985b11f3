"""The embedded database as commands open it."""

import asyncio
from pathlib import Path

import psutil
import pytest

from auditor.config.database import opened
from auditor.config.document import DatabaseSettings
from auditor.credentials.reference import Resolver


async def test_start_that_is_cut_short_leaves_no_process(fast_path: Path) -> None:
    async def open_it() -> None:
        async with opened(DatabaseSettings(), resolver=Resolver(fast_path, {}), state=fast_path, application="tests"):
            raise AssertionError("was not cut short")

    opening = asyncio.create_task(open_it())
    while not running_in(fast_path):  # noqa: ASYNC110 -- the thread tells nobody of its programs
        await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert running_in(fast_path) == []


def running_in(directory: Path) -> list[str]:
    """The command lines that name something in a directory."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(directory) in line]
