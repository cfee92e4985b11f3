"""Tells systemd how the service is, in the protocol of ``sd_notify(3)``; says nothing where nobody asked."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_PATIENCE_SECONDS: Final = 0.5
"""How long a service manager that does not read may hold the service up."""


class Notifier:
    """The way to the service manager: ``$NOTIFY_SOCKET``, or nowhere."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environ)
        """How often systemd wants to hear that all is well, at least; None when it does not."""

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is done."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """The configuration is being read again."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reloading")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._send("STOPPING=1\nSTATUS=stopping: finishing what is under way")

    def status(self, status: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send(f"STATUS={_line(status)}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_PATIENCE_SECONDS)
            channel.connect(self._address)
            channel.sendall(message.encode())


def _line(text: str) -> str:
    """Return text as one line: the next would be another assignment."""
    return " ".join(text.split())


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Half of what the unit's ``WatchdogSec=`` allows, as sd_watchdog_enabled(3) advises."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and int(microseconds) else None
