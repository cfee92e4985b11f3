"""A further process, as the one that started it sees it."""

import sys

from auditor import processes
from auditor.daemon.child import Child
from tests.daemon.stage import until


async def test_process_that_is_gone_does_not_hear_what_is_said_to_it() -> None:
    async with processes.started([sys.executable, "-c", "pass"], environ={}, stdin=True) as process:
        stdin = process.stdin
        assert stdin is not None
        child = Child(process)
        await process.wait()
        await until(stdin.is_closing)
        child.tell(b"reload\n")
        assert await child.ended() == 0
