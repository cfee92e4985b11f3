"""``auditor run`` with scheduled reports: two replicas and real hooks."""

import json
import sys
from collections import Counter
from pathlib import Path

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from auditor.model.secret import Secret
from auditor.store import reports
from auditor.store.connection import Pool
from auditor.store.reports import ReportStatus
from tests.alerts.mail_server import mail_server
from tests.alerts.receivers import receiving
from tests.daemon.stage import CONFIGURATION, running, site, until

REPORTS = """
[reports.often]
every = "2s"
formats = ["html", "jsonl"]
keep = 1
hooks = ["mail", "archive", "file"]

[hooks.mail]
type = "email"
server = "127.0.0.1"
port = {mail}
tls = "off"
sender = "auditor@example.com"
to = ["board@example.com"]

[hooks.archive]
type = "webhook"
url = "{hook}"
secret = {{{{ env = "HOOK_SECRET" }}}}
allow_http = true
only = [{{{{ about = "report_failed" }}}}]

[hooks.file]
type = "command"
argv = ["{python}", "-c", "import sys; open('{filed}', 'ab').write(sys.stdin.buffer.read() + b'\\\\n')"]
"""


async def test_two_replicas_make_one_report_a_slot_keep_the_last_and_hand_each_to_every_hook(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    filed = tmp_path / "filed"

    async def accept(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async with site(tmp_path, database_url) as here, receiving(accept) as receiver, mail_server() as mails:
        here.environ["HOOK_SECRET"] = "whsec_" + "QUFB" * 8
        once = CONFIGURATION.replace('every = "1s"', 'every = "300d"')
        here.write(once + REPORTS.format(mail=mails.port, hook=receiver.url, python=sys.executable, filed=filed))
        async with running(here) as first, running(here) as second:
            await until(lambda: len(receiver.requests) >= 2 and len(mails.envelopes) >= 2, first)
            status, metrics = await first.get("/metrics")
            assert await first.stop() == 0
            assert await second.stop() == 0
    assert status == 200
    made = first.said("report_made") + second.said("report_made")
    names = Counter(name for event in made for name in event["files"])
    assert set(names.values()) == {1}
    assert not first.said("report_failed") + second.said("report_failed")

    documents = [json.loads(body) for _headers, body in receiver.requests]
    assert {document["type"] for document in documents} == {"report.made"}
    slots = Counter(document["data"]["files"][0]["name"] for document in documents)
    assert set(slots.values()) == {1}
    commands = [json.loads(line) for line in filed.read_text().splitlines()]
    assert {command["type"] for command in commands} >= {"report.made"}

    mail = next(mail for mail in mails.mails if "Report often" in mail["Subject"])
    page, lines = mail.iter_attachments()
    assert (page.get_content_type(), lines.get_content_type()) == ("text/html", "application/x-ndjson")
    assert here.environ["OWN_TOKEN"] not in page.get_content()

    kept = sorted(path.name for path in (tmp_path / "state/reports").iterdir())
    assert [Path(name).suffix for name in kept] == [".html", ".jsonl"]
    families = {family.name: family for family in text_string_to_metric_families(metrics)}
    (last,) = families["auditor_report_made_timestamp_seconds"].samples
    assert (last.labels, last.value > 0) == ({"report": "often"}, True)

    async with database.acquire() as connection:
        whole = [one for one in await reports.read(connection, "often", 100) if one.status is ReportStatus.MADE]
    assert len(whole) == len(made)
    assert sorted(Path(file.path).name for one in whole for file in one.files if not file.deleted_at) == kept
