import asyncio
import sys

import uvloop

from auditor import processes
from auditor.daemon.child import Child
from tests.daemon.stage import until


def test_process_that_is_gone_does_not_hear_what_is_said_to_it() -> None:
    async def said() -> int:
        async with processes.started([sys.executable, "-c", "pass"], environ={}, stdin=True) as process:
            stdin = process.stdin
            assert stdin is not None
            child = Child(process)
            await process.wait()
            await until(stdin.is_closing)
            child.tell(b"reload\n")
            return await child.ended()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(said()) == 0
