"""Ends requests that take too long, with one timer for all of them.

A timer for each request, as ``asyncio.timeout`` and aiohttp's own ``total`` start one, costs a tenth of the request.
"""

import asyncio
from types import TracebackType
from typing import Final


class Deadline:
    """A context manager that any number of tasks are in at once, each for at most so many seconds.

    A task that stays longer is cancelled, and leaves with ``TimeoutError``. All may stay equally long, so the one that
    came first is the next whose time is up. They are of one event loop.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds: Final = seconds
        self._came: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the tasks run, once one came: to ask for it each time is a system call."""

    def __enter__(self) -> None:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        self._came[_task(loop)] = now = loop.time()
        if self._timer is None:
            self._timer = loop.call_at(now + self._seconds, self._cancel_late, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = _task(self._loop)
        self._came.pop(task, None)
        if task in self._late:
            self._late.discard(task)
            # Somebody else may have cancelled it, too, and then that is what it ends with.
            if task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error

    def close(self) -> None:
        """Stop the timer, once no task is in any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._came:
            task, came = next(iter(self._came.items()))
            if came + self._seconds > loop.time():
                self._timer = loop.call_at(came + self._seconds, self._cancel_late, loop)
                return
            del self._came[task]
            self._late.add(task)
            task.cancel()


def _task(loop: asyncio.AbstractEventLoop | None) -> "asyncio.Task[object]":
    task = asyncio.current_task(loop)
    assert task is not None, "entered by a task"
    return task
