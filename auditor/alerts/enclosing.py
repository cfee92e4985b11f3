"""Reports on their way to hooks: what a hook is told of one, and its files for those that take them along."""

import asyncio
import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.policy.wording import iso
from auditor.store.reports import Report

REPORT_MADE: Final = "report.made"
"""The event of an alert that hands over a report; ``data["files"]`` has its files."""

_ENVIRONMENT: Final = "auditor"
_INFO: Final = Severity.INFO


def made_alert(report: Report, alert_id: str, now: datetime) -> Alert:
    """Return what hooks are told of a report that was made."""
    assert report.said is not None
    assert report.made_at is not None
    data: dict[str, Any] = {
        "environment": _ENVIRONMENT,
        "report": report.name,
        "number": report.id,
        "period": report.period,
        "made_at": iso(report.made_at),
        "title": f"Report {report.name}{f' of {report.period}' if report.period else ''}",
        "message": report.said.headline.removesuffix("."),
        "open": report.said.open,
        "waived": report.said.waived,
        "host": report.host,
        "files": [
            {
                "name": Path(file.path).name,
                "format": file.format,
                "media_type": file.media_type,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "path": file.path,
            }
            for file in report.files
        ],
    }
    return Alert(id=alert_id, event=REPORT_MADE, severity=_INFO, environment=_ENVIRONMENT, at=now, data=data)


def is_report(message: Message) -> bool:
    """Whether a message hands over a report."""
    return not message.is_digest and message.alerts[0].event == REPORT_MADE


async def as_it_stands(message: Message) -> Message:
    """Return a report's message with a ``note`` at each file that is not there any more; others as they are."""
    if not is_report(message):
        return message
    return _with_files(message, await asyncio.to_thread(lambda: [_noted(message, file) for file in _files(message)]))


async def enclosed(message: Message, limit: int) -> tuple[Message, Sequence[bytes | None]]:
    """Return a report's message and the contents of its files, as far as they are there and fit.

    ``limit`` is how many bytes they may have in all. A file that is left out is None, and its ``note`` says why.
    """
    return await asyncio.to_thread(_enclosed, message, limit)


def _enclosed(message: Message, limit: int) -> tuple[Message, Sequence[bytes | None]]:
    files: list[Mapping[str, Any]] = []
    contents: list[bytes | None] = []
    left = limit
    for file in _files(message):
        content, note = None, file.get("note")
        if note is None and file["bytes"] > left:
            note = f"is not enclosed: it has {file['bytes']:,} bytes, and all files may have {limit:,}"
        elif note is None:
            content, note = _read(message, file)
        left -= len(content or b"")
        files.append(file if note is None else {**file, "note": note})
        contents.append(content)
    return _with_files(message, files), contents


async def embedded(message: Message, limit: int) -> Message:
    """Return a report's message with the ``content``, in base64, of each file of so many bytes at most."""
    return await asyncio.to_thread(_embedded, message, limit)


def _embedded(message: Message, limit: int) -> Message:
    files: list[Mapping[str, Any]] = []
    for file in _files(message):
        added: dict[str, str] = {}
        if "note" not in file and file["bytes"] <= limit:
            content, note = _read(message, file)
            added = {"note": note or ""} if content is None else {"content": base64.b64encode(content).decode()}
        files.append({**file, **added})
    return _with_files(message, files)


def _read(message: Message, file: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    try:
        content = Path(file["path"]).read_bytes()
    except OSError as error:
        return None, _absent(message, error)
    if hashlib.sha256(content).hexdigest() != file["sha256"]:
        return None, "is not enclosed: it was altered since it was made"
    return content, None


def _noted(message: Message, file: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        os.stat(file["path"])  # noqa: PTH116 -- its error is what is wanted
    except OSError as error:
        return {**file, "note": _absent(message, error)}
    return file


def _absent(message: Message, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        host = message.alerts[0].data["host"]
        return (
            f"is there no more, or only on {host}, which made it: older files are deleted, auditor reports list has all"
        )
    return f"cannot be read: {error.strerror}"


def _files(message: Message) -> Sequence[Mapping[str, Any]]:
    files: Sequence[Mapping[str, Any]] = message.alerts[0].data["files"]
    return files


def _with_files(message: Message, files: Sequence[Mapping[str, Any]]) -> Message:
    alert = message.alerts[0]
    return replace(message, alerts=(replace(alert, data={**alert.data, "files": files}),))
