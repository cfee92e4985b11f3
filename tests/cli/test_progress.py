"""Bars and log lines on one terminal."""

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import TextIO

import pytest

from auditor.cli.progress import watched
from auditor.sweep.subject import Progress

_CONTROL = re.compile(r"\x1b\[(\??\d*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


class Terminal:
    """What a person sees who looks at a pseudo-terminal: its lines, and everything that was ever drawn."""

    def __init__(self, descriptor: int, stream: TextIO) -> None:
        self.stream = stream
        self.drawn = ""
        self._descriptor = descriptor
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._descriptor, 65_536):
                self.drawn += data.decode()
        except OSError:  # the other side was closed
            return

    def close(self) -> None:
        self._reader.join()
        os.close(self._descriptor)

    @property
    def lines(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for match in _CONTROL.finditer(self.drawn):
            text, argument, command = match[0], match[1], match[2]
            if text == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif text == "\r":
                column = 0
            elif command == "A":
                row -= int(argument or 1)
            elif command == "K":
                lines[row] = ""
            elif command is None:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        return [line for line in lines if line]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal to connect standard error to."""
    for name in ("NO_COLOR", "TERM", "COLUMNS", "TTY_COMPATIBLE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    near, far = pty.openpty()
    with os.fdopen(far, "w", encoding="utf-8") as stream:
        screen = Terminal(near, stream)
        yield screen
    screen.close()


@contextmanager
def until_drawn(terminal: Terminal, what: str) -> Iterator[None]:
    yield
    pause = threading.Event()
    for _number in range(500):
        if what in terminal.drawn:
            return
        pause.wait(0.02)
    raise AssertionError(f"{what} was not drawn: {terminal.drawn!r}")


def test_lines_pass_above_the_bars_and_the_bars_are_gone_in_the_end(terminal: Terminal) -> None:
    prod, test = Progress("prod", expected=40), Progress("test")
    with redirect_stderr(terminal.stream), watched([prod, test]):
        with until_drawn(terminal, "10/40"):
            prod.enrolled, prod.done = 20, 10
        with until_drawn(terminal, "second"):
            sys.stderr.write("first line\n")
            sys.stderr.write("second line\n")
        with until_drawn(terminal, "30/40"):
            prod.enrolled, prod.done = 40, 30
        *above, bar, other = terminal.lines
        assert above == ["first line", "second line"]
        assert bar.startswith("prod ")
        assert "30/40" in bar
        assert other.startswith("test ")
        sys.stderr.write("last line\n")
    with until_drawn(terminal, "after"):
        terminal.stream.write("after\n")
        terminal.stream.flush()
    assert terminal.lines == ["first line", "second line", "last line", "after"]


def test_lines_are_not_lost_when_the_block_fails(terminal: Terminal) -> None:
    def fail() -> None:
        with redirect_stderr(terminal.stream), watched([Progress("prod")]):
            sys.stderr.write("why\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with until_drawn(terminal, "why"):
        pass
    assert terminal.lines == ["why"]


def test_nothing_is_drawn_where_standard_error_is_no_terminal() -> None:
    stream = StringIO()
    with redirect_stderr(stream), watched([Progress("prod", expected=3)]):
        sys.stderr.write("a line\n")
    assert stream.getvalue() == "a line\n"
