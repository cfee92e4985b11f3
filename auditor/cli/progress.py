"""Shows sweeps while they run: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

import io
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Final, TextIO

from auditor.cli.showing import console
from auditor.sweep.subject import Progress as SweepProgress

_REDRAW_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 30.0


@contextmanager
def watched(sweeps: Iterable[SweepProgress]) -> Iterator[None]:
    """Show sweeps on standard error for the length of the block, from a thread of its own.

    On a terminal, what is written to ``sys.stderr`` meanwhile, log lines for instance, passes above the bars.
    """
    done = threading.Event()
    if sys.stderr.isatty():
        above = _Above(sys.stderr)
        watcher = threading.Thread(target=_bars, args=(list(sweeps), above, done), name="progress", daemon=True)
    else:
        above = None
        watcher = threading.Thread(target=_lines, args=(list(sweeps), done), name="progress", daemon=True)
    watcher.start()
    try:
        with redirect_stderr(above or sys.stderr):
            yield
    finally:
        done.set()
        watcher.join()
        if above is not None:
            above.end()


class _Above(io.TextIOBase):
    """Standard error while bars are shown: keeps what is written until the bars are drawn below it."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal
        self._kept = ""
        self._lock = threading.Lock()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the stubs
        """The terminal's."""
        return self.terminal.encoding

    def isatty(self) -> bool:
        """Say that what is written here reaches a terminal."""
        return True

    def write(self, text: str) -> int:
        """Keep text; it may come from any thread."""
        with self._lock:
            self._kept += text
        return len(text)

    def take_lines(self) -> str:
        """Return the whole lines that were kept, and keep them no longer."""
        with self._lock:
            lines, newline, self._kept = self._kept.rpartition("\n")
        return lines + newline

    def end(self) -> None:
        """Write what is left to the terminal, where no bars are any more."""
        self.terminal.write(self._kept)
        self.terminal.flush()


def _bars(sweeps: list[SweepProgress], above: _Above, done: threading.Event) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    screen = console(errors=True)
    screen.file = above.terminal
    with Progress(*columns, console=screen, transient=True, auto_refresh=False, redirect_stderr=False) as bars:
        tasks: dict[str, TaskID] = {
            sweep.environment: bars.add_task(sweep.environment, total=None, rate="") for sweep in sweeps
        }
        started = time.monotonic()
        while not done.wait(_REDRAW_SECONDS):
            if lines := above.take_lines():
                screen.out(lines, end="", highlight=False)
            for sweep in sweeps:
                bars.update(
                    tasks[sweep.environment],
                    completed=sweep.done,
                    total=max(sweep.expected or 0, sweep.enrolled) or None,
                    rate=f"{sweep.done / (time.monotonic() - started):.0f}/s",
                )
            bars.refresh()


def _lines(sweeps: list[SweepProgress], done: threading.Event) -> None:
    started = time.monotonic()
    out = console(errors=True)
    while not done.wait(_LINE_SECONDS):
        for sweep in sweeps:
            expected = f" of about {sweep.expected}" if sweep.expected else ""
            rate = sweep.done / (time.monotonic() - started)
            out.print(f"{sweep.environment}: {sweep.done}{expected} tokens looked up, {rate:.0f} a second")
