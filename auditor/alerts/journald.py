"""Hook ``journald``: an entry with fields in the systemd journal of this machine for each alert.

Contract: systemd.io, *Native Journal Protocol*: a datagram of fields, ``NAME=value`` and a line feed, or, where a value
holds line feeds, the name, a line feed, the value's length in 64 bits little-endian, the value and a line feed.
``journalctl SYSLOG_IDENTIFIER=auditor AUDITOR_ENVIRONMENT=prod`` finds them.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.datagrams import send_to_socket
from auditor.alerts.record import PRIORITIES, fields_of
from auditor.alerts.wording import AlertWordedSettings, Wording
from auditor.model.errors import DeliveryFailed
from auditor.model.message import Message
from auditor.model.shape import Shape
from auditor.outbound import name_of

_TEXT_LIMIT: Final = 16_000
"""Characters of the text: with all fields far below what a datagram holds (``net.core.wmem_default``, 208 KiB)."""


class JournaldSettings(AlertWordedSettings):
    """A ``[hooks.NAME]`` table with ``type = "journald"``."""

    path: Path = Path("/run/systemd/journal/socket")
    """The journal's socket."""
    identifier: Annotated[
        str,
        Shape("[A-Za-z0-9._-]{1,48}", "must be 1 to 48 letters without accents, digits and ._-"),
    ] = "auditor"
    """``SYSLOG_IDENTIFIER`` of each entry, which ``journalctl -t`` looks for."""
    timeout_seconds: float = Field(default=5, gt=0, le=60)
    """For one attempt."""


class Journald:
    """The journal of this machine."""

    def __init__(self, name: str, settings: JournaldSettings, wording: Wording) -> None:
        self.name = name
        self._settings = settings
        self._wording = wording

    async def deliver(self, message: Message, now: datetime) -> str:
        """Hand over one entry; ``AUDITOR_ID`` tells a repetition."""
        settings = self._settings
        (alert,) = message.alerts
        words = self._wording.words(message)
        entry = journal_entry(
            {
                "MESSAGE": words.subject,
                "PRIORITY": str(PRIORITIES[alert.severity]),
                "SYSLOG_IDENTIFIER": settings.identifier,
                "AUDITOR_TEXT": words.body.clipped(_TEXT_LIMIT).plain(),
                **{f"AUDITOR_{name.upper()}": value for name, value in fields_of(alert).items()},
            }
        )
        try:
            await send_to_socket(settings.path, entry, settings.timeout_seconds)
        except TimeoutError:
            raise self._failed(f"not taken within {settings.timeout_seconds:g} s") from None
        except OSError as error:
            raise self._failed(f"{name_of(error)}; does systemd-journald run, and may auditor write there?") from None
        return "handed over"

    async def close(self) -> None:
        """Do nothing: a socket lives for one entry."""

    def _failed(self, reason: str) -> DeliveryFailed:
        return DeliveryFailed(f"hooks.{self.name}: {self._settings.path}: {reason}")


def journal_entry(fields: Mapping[str, str]) -> bytes:
    """Return the datagram of an entry; names are of ``A-Z0-9_``."""
    pieces: list[bytes] = []
    for name, text in fields.items():
        value = text.encode()
        if b"\n" in value:
            pieces.append(b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value))
        else:
            pieces.append(b"%b=%b\n" % (name.encode(), value))
    return b"".join(pieces)


async def _open(name: str, settings: JournaldSettings, surroundings: Surroundings) -> Hook:
    return Journald(name, settings, surroundings.wording)


KIND: Final = HookKind(name="journald", settings=JournaldSettings, open=_open, takes_digests=False)
