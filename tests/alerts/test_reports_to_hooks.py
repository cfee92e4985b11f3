"""What hooks do with a scheduled report: mail brings it, a webhook may, and whoever comes too late is told so."""

import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.enclosing import as_it_stands, made_alert
from auditor.alerts.registry import kinds
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.store.reports import Report, ReportFile, ReportStatus, Said
from tests.alerts.mail_server import mail_server
from tests.alerts.receivers import receiving

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
PAGE, TABLE = b"<!DOCTYPE html><title>A report</title>" * 20, b"key\r\n"


@pytest.fixture
def made(tmp_path: Path) -> Message:
    """The message of a report of two files."""
    files = []
    for name, media_type, content in (("r.html", "text/html", PAGE), ("r.csv", "text/csv", TABLE)):
        path = tmp_path / name
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        files.append(
            ReportFile(format=name[2:], path=str(path), media_type=media_type, bytes=len(content), sha256=digest)
        )
    report = Report(
        id=1,
        name="monthly",
        slot=NOW,
        period="2026-10",
        asked_at=NOW,
        status=ReportStatus.MADE,
        failures=0,
        problem="",
        made_at=NOW,
        host="audit-1",
        said=Said("2 findings are open, 1 of them critical.", {Severity.CRITICAL: 1, Severity.HIGH: 1}, 0),
        files=files,
    )
    return Message.of_one(made_alert(report, "0b4c4f5e-8a1f-4e0e-9d0c-2f8b1a3c5d7e", NOW))


@asynccontextmanager
async def opened(kind: str, directory: Path, **settings: object) -> AsyncIterator[Hook]:
    member = kinds()[kind]
    resolver = Resolver(directory, {"KEY": f"whsec_{base64.b64encode(b'k' * 32).decode()}"})
    hook = await member.open(
        "hook", member.settings.model_validate({"type": kind, **settings}), Surroundings(resolver, SHIPPED)
    )
    try:
        yield hook
    finally:
        await hook.close()


async def mailed(message: Message, directory: Path, **settings: object) -> Any:
    """The mail that a report becomes."""
    async with (
        mail_server() as server,
        opened(
            "email",
            directory,
            server="127.0.0.1",
            port=server.port,
            tls="off",
            sender="auditor@example.com",
            to=["board@example.com"],
            **settings,
        ) as hook,
    ):
        await hook.deliver(await as_it_stands(message), NOW)
        await hook.deliver(await as_it_stands(message), NOW)
        assert len({envelope.content for envelope in server.envelopes}) == 1  # the same at every attempt
        return server.mails[0]


async def test_mail_brings_the_files(made: Message, tmp_path: Path) -> None:
    mail = await mailed(made, tmp_path)
    assert mail["Subject"] == "Report monthly of 2026-10: 2 findings are open, 1 of them critical"
    attached = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert attached == {"r.html": PAGE, "r.csv": TABLE}
    body = mail.get_body(("plain",)).get_content()
    assert hashlib.sha256(PAGE).hexdigest() in body
    assert "enclosed" not in body


async def test_mail_names_what_is_too_large_and_brings_the_rest(made: Message, tmp_path: Path) -> None:
    mail = await mailed(made, tmp_path, attach_up_to_bytes=100)
    assert [part.get_filename() for part in mail.iter_attachments()] == ["r.csv"]
    said = f"r.html: {len(PAGE)} bytes, SHA-256 {hashlib.sha256(PAGE).hexdigest()}; it is not enclosed: it has"
    assert said in mail.get_body(("plain",)).get_content()


async def test_mail_says_what_is_there_no_more_or_not_what_was_made(made: Message, tmp_path: Path) -> None:
    (tmp_path / "r.html").unlink()
    (tmp_path / "r.csv").write_bytes(b"other")
    mail = await mailed(made, tmp_path)
    assert list(mail.iter_attachments()) == []
    body = mail.get_body(("plain",)).get_content()
    assert "; it is there no more, or only on audit-1, which made it" in body
    assert "; it is not enclosed: it was altered since it was made" in body


@pytest.mark.parametrize(("limit", "embedded"), [(0, [None, None]), (100, [None, TABLE])])
async def test_webhook_gets_hashes_and_what_is_small_where_it_is_asked_for(
    made: Message, tmp_path: Path, limit: int, embedded: list[bytes | None]
) -> None:
    async def accept(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async with (
        receiving(accept) as receiver,
        opened(
            "webhook",
            tmp_path,
            url=receiver.url,
            secret={"env": "KEY"},
            allow_http=True,
            embed_up_to_bytes=limit,
        ) as hook,
    ):
        await hook.deliver(await as_it_stands(made), NOW)
    ((headers, body),) = receiver.requests
    document = json.loads(body)
    assert headers["webhook-id"] == made.id
    assert (document["type"], document["data"]["open"]) == ("report.made", {"critical": 1, "high": 1})
    files = document["data"]["files"]
    assert [file["sha256"] for file in files] == [hashlib.sha256(content).hexdigest() for content in (PAGE, TABLE)]
    assert [base64.b64decode(file["content"]) if "content" in file else None for file in files] == embedded


async def test_command_gets_paths_and_is_told_what_was_deleted(made: Message, tmp_path: Path) -> None:
    (tmp_path / "r.csv").unlink()
    copy = tmp_path / "copy"
    program = f"import sys; open({str(copy)!r}, 'wb').write(sys.stdin.buffer.read())"
    async with opened("command", tmp_path, argv=[sys.executable, "-c", program]) as hook:
        await hook.deliver(await as_it_stands(made), NOW)
    page, table = json.loads(copy.read_bytes())["data"]["files"]
    assert (page["path"], page["bytes"], "note" in page) == (str(tmp_path / "r.html"), len(PAGE), False)
    assert table["note"].startswith("is there no more, or only on audit-1")
