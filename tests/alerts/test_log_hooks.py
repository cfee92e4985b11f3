"""Syslog and the systemd journal: a record for each alert, on real sockets, read by strict readers."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from auditor.alerts import journald, syslog
from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.journald import JournaldSettings, journal_entry
from auditor.alerts.rfc5424 import syslog_message
from auditor.alerts.samples import sample_alerts
from auditor.alerts.syslog import SyslogSettings
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Severity
from auditor.model.message import Message
from tests.alerts.log_receivers import datagrams, entry_of, frames_of, record_of, streams
from tests.alerts.receivers import PUBLIC_ID, TOKEN, alert
from tests.dynatrace.lookup_servers import make_certificate

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
OPENED = Message.of_one(sample_alerts(NOW)["finding.opened"])
HOSTILE = f'a"b\\c]d\r\n<0>1 é☂\u202e\x00 {TOKEN}'


async def opened(kind: HookKind, **settings: Any) -> Hook:
    values = kind.settings.model_validate({"type": kind.name, **settings})
    return await kind.open("logs", values, Surroundings(Resolver(Path(), {}), SHIPPED))


async def test_syslog_over_udp_is_a_datagram_with_a_field_for_each_thing_to_search_by() -> None:
    async with datagrams() as (port, arrived):
        hook = await opened(syslog.KIND, transport="udp", server="127.0.0.1", port=port, host_name="h.example.com")
        assert await hook.deliver(OPENED, NOW) == "handed over by udp"
        record = record_of(await arrived.get())
    assert (record.facility, record.severity, record.at) == (16, 2, NOW)
    assert (record.host, record.app, record.event) == ("h.example.com", "auditor", "finding.opened")
    assert record.text == f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    assert record.sd_id == "auditor@32473"
    assert {
        name: record.fields[name] for name in ("id", "severity", "environment", "rule", "token", "key", "owner")
    } == {
        "id": OPENED.id,
        "severity": "critical",
        "environment": "prod",
        "rule": "DT-EXP-01",
        "token": PUBLIC_ID,
        "key": f"prod/{PUBLIC_ID}/DT-EXP-01",
        "owner": "svc-ingest",
    }


async def test_syslog_over_tcp_counts_octets() -> None:
    async with streams() as (port, arrived):
        hook = await opened(syslog.KIND, transport="tcp", server="127.0.0.1", port=port)
        await hook.deliver(Message.of_one(alert(title="Zoë ☂")), NOW)
        (frame,) = frames_of(await arrived.get())
    assert "Zoë ☂" in record_of(frame).text


async def test_syslog_over_tls_is_that_over_tcp(tmp_path: Path) -> None:
    authority, context = make_certificate(tmp_path)
    async with streams(context) as (port, arrived):
        hook = await opened(syslog.KIND, server="127.0.0.1", port=port, ca_file=str(authority))
        assert await hook.deliver(OPENED, NOW) == "handed over by tls"
        (frame,) = frames_of(await arrived.get())
    assert record_of(frame).fields["id"] == OPENED.id


async def test_syslog_tells_nobody_whose_certificate_it_does_not_know(tmp_path: Path) -> None:
    _authority, context = make_certificate(tmp_path)
    async with streams(context) as (port, _arrived):
        hook = await opened(syslog.KIND, server="127.0.0.1", port=port)
        with pytest.raises(DeliveryFailed, match=r"hooks\.logs: 127\.0\.0\.1: certificate refused: .* ca_file\?"):
            await hook.deliver(OPENED, NOW)


async def test_syslog_over_a_unix_socket_is_a_datagram(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with datagrams(path) as (_port, arrived):
        hook = await opened(syslog.KIND, transport="unix", path=str(path), facility="authpriv")
        await hook.deliver(OPENED, NOW)
        assert record_of(await arrived.get()).facility == 10


@pytest.mark.parametrize(("severity", "number"), [("info", 6), ("low", 5), ("medium", 4), ("high", 3), ("critical", 2)])
async def test_severities_become_those_of_syslog(severity: str, number: int, tmp_path: Path) -> None:
    message = Message.of_one(replace(alert(), severity=Severity(severity)))
    async with datagrams(tmp_path / "s") as (_port, arrived):
        await (await opened(syslog.KIND, transport="unix", path=str(tmp_path / "s"))).deliver(message, NOW)
        assert record_of(await arrived.get()).severity == number
    async with datagrams(tmp_path / "j") as (_port, arrived):
        await (await opened(journald.KIND, path=str(tmp_path / "j"))).deliver(message, NOW)
        assert entry_of(await arrived.get())["PRIORITY"] == str(number)


@pytest.mark.parametrize("size", [1, 300])
async def test_text_from_outside_stays_in_its_field_and_within_the_limit(size: int, tmp_path: Path) -> None:
    text = HOSTILE * size
    message = Message.of_one(
        alert(**dict.fromkeys(("token_name", "owner", "title", "message", "rule", "key"), text), locations=[])
    )
    async with datagrams(tmp_path / "s") as (_port, arrived):
        await (await opened(syslog.KIND, transport="unix", path=str(tmp_path / "s"))).deliver(message, NOW)
        sent = await arrived.get()
    record = record_of(sent)
    assert len(sent) <= 2_048
    assert b"\n" not in sent
    assert record.fields["owner"].startswith('a"b\\c]d␍␊<0>1 é')
    async with datagrams(tmp_path / "j") as (_port, arrived):
        await (await opened(journald.KIND, path=str(tmp_path / "j"))).deliver(message, NOW)
        entry = entry_of(await arrived.get())
    assert entry["AUDITOR_OWNER"].startswith('a"b\\c]d␍␊<0>1 é')
    assert TOKEN.removeprefix(PUBLIC_ID) not in f"{sent!r} {entry}"


async def test_journal_entry_has_the_words_and_a_field_for_each_thing_to_search_by(tmp_path: Path) -> None:
    async with datagrams(tmp_path / "j") as (_port, arrived):
        hook = await opened(journald.KIND, path=str(tmp_path / "j"))
        assert await hook.deliver(OPENED, NOW) == "handed over"
        entry = entry_of(await arrived.get())
    assert entry["MESSAGE"] == f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    assert "What to do: " in entry["AUDITOR_TEXT"]
    assert "\n" in entry["AUDITOR_TEXT"]
    assert (entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"]) == ("auditor", "2")
    assert (entry["AUDITOR_ID"], entry["AUDITOR_RULE"]) == (OPENED.id, "DT-EXP-01")


@given(st.text(), st.dictionaries(st.sampled_from(["a", "b"]), st.text()), st.integers(1_024, 4_000))
def test_message_is_of_rfc_5424_whatever_it_says(text: str, fields: dict[str, str], limit: int) -> None:
    text, fields = _encodable(text * 99), {name: _encodable(value) for name, value in fields.items()}
    message = syslog_message(
        priority=130, at=NOW, host=text, app="a", event=text, sd_id="x@1", fields=fields, text=text, limit=limit
    )
    record = record_of(message)
    assert len(message) <= limit
    assert record.fields.keys() == fields.keys()


@given(st.dictionaries(st.sampled_from(["A", "B_1"]), st.text().map(lambda text: _encodable(text))))
def test_entry_reads_as_it_was_written(fields: dict[str, str]) -> None:
    assert entry_of(journal_entry(fields)) == fields


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\ufeff", "")


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_syslog_says_that_nobody_listens(transport: str) -> None:
    hook = await opened(syslog.KIND, transport=transport, server="127.0.0.1", port=1)
    with pytest.raises(DeliveryFailed, match=r"hooks\.logs: 127\.0\.0\.1: no connection"):
        await hook.deliver(OPENED, NOW)


async def test_missing_socket_is_named(tmp_path: Path) -> None:
    for kind, settings in ((journald.KIND, {}), (syslog.KIND, {"transport": "unix"})):
        hook = await opened(kind, path=str(tmp_path / "none"), **settings)
        with pytest.raises(DeliveryFailed, match=r"none: .*No such file or directory"):
            await hook.deliver(OPENED, NOW)


async def test_syslog_server_that_takes_no_handshake_ends_the_attempt() -> None:
    async with streams() as (port, arrived):
        hook = await opened(syslog.KIND, server="127.0.0.1", port=port, timeout_seconds=0.05)
        with pytest.raises(DeliveryFailed, match=r"not handed over within 0.05 s"):
            await hook.deliver(OPENED, NOW)
        await asyncio.wait_for(arrived.get(), 5)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"transport": "unix"}, "needs path"),
        ({"transport": "unix", "path": "/dev/log", "server": "a"}, "neither server nor port"),
        ({"transport": "udp"}, "needs server"),
        ({"server": "a", "path": "/dev/log"}, "no path"),
        ({"transport": "tcp", "server": "a", "ca_file": "ca.pem"}, 'ca_file is for transport = "tls"'),
    ],
)
def test_settings_of_syslog_that_cannot_be_meant_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SyslogSettings.model_validate({"type": "syslog", **settings})


def test_journal_is_that_of_systemd_by_default() -> None:
    assert JournaldSettings(type="journald").path == Path("/run/systemd/journal/socket")
