"""Datagrams to Unix sockets, as the logs of this machine take them."""

import asyncio
import socket
from pathlib import Path


async def send_to_socket(path: Path, datagram: bytes, timeout_seconds: float) -> None:
    """Send one datagram; raises ``OSError``, ``TimeoutError`` where nobody reads for so long."""
    await asyncio.to_thread(_send, path, datagram, timeout_seconds)


def _send(path: Path, datagram: bytes, timeout_seconds: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.settimeout(timeout_seconds)
        to.connect(str(path))
        to.send(datagram)
