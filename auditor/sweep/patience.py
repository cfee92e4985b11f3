"""Work that is given up when somebody asks auditor to stop."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from auditor.model.errors import ungrouped

T = TypeVar("T")


async def unless(stopping: asyncio.Event, work: Coroutine[object, None, T]) -> T | None:
    """Return what the work returns, or None where somebody asked to stop before it was done; then it is cancelled."""
    with ungrouped():
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(work)
            watch = tasks.create_task(_cancel_when(stopping, working))
            await asyncio.wait((working,))
            watch.cancel()
    return None if working.cancelled() else working.result()


async def _cancel_when(stopping: asyncio.Event, task: "asyncio.Task[T]") -> None:
    await stopping.wait()
    task.cancel()
