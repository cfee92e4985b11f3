"""What the service manager hears, on a real socket."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from auditor.daemon.notify import Notifier


class Channel:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def heard(self) -> list[str]:
        return self.socket.recv(65_536).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Channel, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@auditor-test-{os.getpid()}"
    listening = Channel(address.replace("@", "\0", 1))
    yield listening, address
    listening.socket.close()


def test_every_word_arrives_at_a_path_and_at_an_abstract_address(channel: tuple[Channel, str]) -> None:
    listening, address = channel
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("idle")
    assert listening.heard() == ["READY=1", "STATUS=idle"]
    notifier.status("sweeping prod")
    assert listening.heard() == ["STATUS=sweeping prod"]
    notifier.alive()
    assert listening.heard() == ["WATCHDOG=1"]
    notifier.stopping()
    assert listening.heard()[0] == "STOPPING=1"


def test_reloading_says_when_on_the_clock_that_systemd_compares_with(channel: tuple[Channel, str]) -> None:
    listening, address = channel
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier({"NOTIFY_SOCKET": address}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    reloading, monotonic, *_status = listening.heard()
    assert reloading == "RELOADING=1"
    assert before <= int(monotonic.removeprefix("MONOTONIC_USEC=")) <= after


def test_status_of_several_lines_assigns_nothing_else(channel: tuple[Channel, str]) -> None:
    listening, address = channel
    Notifier({"NOTIFY_SOCKET": address}).status("waiting: refused\nDETAIL: READY=1\nREADY=1")
    assert listening.heard() == ["STATUS=waiting: refused DETAIL: READY=1 READY=1"]


def test_nothing_is_said_where_nobody_asked_or_listens(tmp_path: Path) -> None:
    Notifier({}).ready("idle")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("idle")


def test_manager_that_does_not_read_holds_nobody_up(channel: tuple[Channel, str]) -> None:
    listening, address = channel
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other, suppress(BlockingIOError):
        other.connect(address.replace("@", "\0", 1))
        while other.send(b"STATUS=full"):
            pass
    Notifier({"NOTIFY_SOCKET": address}).alive()
    assert listening.heard() == ["STATUS=full"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_fed_twice_as_often_as_asked(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog_seconds == seconds
