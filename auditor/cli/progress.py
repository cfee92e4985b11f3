"""Shows sweeps while they run: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from auditor.cli.showing import console
from auditor.sweep.subject import Progress as SweepProgress

_REDRAW_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 30.0


@contextmanager
def watched(sweeps: Iterable[SweepProgress]) -> Iterator[None]:
    """Show sweeps on standard error for the length of the block, from a thread of its own."""
    done = threading.Event()
    show = _bars if sys.stderr.isatty() else _lines
    watcher = threading.Thread(target=show, args=(list(sweeps), done), name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _bars(sweeps: list[SweepProgress], done: threading.Event) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(errors=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {
            sweep.environment: bars.add_task(sweep.environment, total=None, rate="") for sweep in sweeps
        }
        started = time.monotonic()
        while not done.wait(_REDRAW_SECONDS):
            for sweep in sweeps:
                bars.update(
                    tasks[sweep.environment],
                    completed=sweep.done,
                    total=max(sweep.expected or 0, sweep.enrolled) or None,
                    rate=f"{sweep.done / (time.monotonic() - started):.0f}/s",
                )


def _lines(sweeps: list[SweepProgress], done: threading.Event) -> None:
    started = time.monotonic()
    out = console(errors=True)
    while not done.wait(_LINE_SECONDS):
        for sweep in sweeps:
            expected = f" of about {sweep.expected}" if sweep.expected else ""
            rate = sweep.done / (time.monotonic() - started)
            out.print(f"{sweep.environment}: {sweep.done}{expected} tokens looked up, {rate:.0f} a second")
