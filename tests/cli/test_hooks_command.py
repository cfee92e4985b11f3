"""``auditor hooks``: list, test and preview."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from auditor.docs import ROOT
from tests.alerts.pagerduty_receiver import PagerDutyReceiver
from tests.alerts.receivers import Answer, Receiver, answering, receiving
from tests.command_line import Site, in_thread

HOOKS = """\
[hooks.chat]
type = "slack"
url = { env = "CHAT" }
allow_http = true
templates = { alert_subject = "subject.j2" }
digest = { high = "1h", rest = "08:00" }
quiet = { start = "20:00", end = "07:00" }
timezone = "Europe/Vienna"

[hooks.on-call]
type = "pagerduty"
routing_key = { env = "PAGER" }
url = "URL"
allow_http = true
min_severity = "critical"
escalation_after = "4h"

[hooks.run]
type = "command"
argv = ["true"]
only = [{ environment = "prod" }]
exempt = [{ about = "resolved" }]
"""
LEAVES = "critical now, high 1h, rest 08:00; not 20:00 to 07:00 unless critical (Europe/Vienna)"
PAGER = "capability000000000000000000000k"


@contextmanager
def serving(files: Site, answer: Answer, hooks: str = HOOKS) -> Iterator[Receiver]:
    """Serve a receiver from a thread, and configure hooks that send to it."""
    with in_thread(receiving(answer)) as (receiver, _act):
        origin = receiver.url.removesuffix("/hook")
        files.configure(more=hooks.replace("URL", origin))
        files.write("subject.j2", "mine: {{ alert.title }}")
        files.environ |= {"CHAT": f"{origin}/services/capability", "PAGER": PAGER}
        yield receiver


def test_hooks_are_listed(files: Site) -> None:
    with serving(files, answering(200)):
        done = files.run("hooks", "list")
        assert [re.split(r" {2,}", line.strip()) for line in done.out.splitlines()] == [
            ["Hook", "Type", "From severity", "Conditions", "Leaves", "Own templates"],
            ["chat", "slack", "low", "none", LEAVES, "alert_subject"],
            ["on-call", "pagerduty", "critical", "none", "unattended for 4h"],
            ["run", "command", "low", "2", "at once"],
        ]
        assert files.run("hooks", "list", "--json").json()[0] == {
            "name": "chat",
            "type": "slack",
            "min_severity": "low",
            "takes_digests": True,
            "conditions": 0,
            "leaves": LEAVES,
            "templates": {"alert_subject": "subject.j2"},
        }


def test_nothing_to_list_is_said(files: Site) -> None:
    assert files.run("hooks", "list").out.startswith("No hooks: ")


def test_test_goes_out_marked_as_one(files: Site) -> None:
    with serving(files, answering(200, "ok")) as receiver:
        done = files.run("hooks", "test", "chat")
    assert (done.exit_code, done.out) == (0, "chat: HTTP 200\n")
    ((_headers, body),) = receiver.requests
    assert "this is a test of hook chat" in json.dumps(json.loads(body)).lower()


def test_test_that_opens_something_closes_it(files: Site) -> None:
    pagerduty = PagerDutyReceiver()
    with serving(files, pagerduty.answer):
        done = files.run("hooks", "test", "on-call")
        assert (done.exit_code, done.out) == (0, "on-call: HTTP 202, trigger\non-call: HTTP 202, resolve\n")
        assert pagerduty.open == {}
        done = files.run("hooks", "test", "on-call", "--leave-open")
        assert done.out.splitlines()[1] == "The test stays open; auditor hooks test on-call ends it."
        assert len(pagerduty.open) == 1
        files.run("hooks", "test", "on-call")
    assert pagerduty.open == {}


def test_test_that_is_not_taken_says_why_and_exits_with_3(files: Site) -> None:
    with serving(files, answering(404, "no_service")):
        done = files.run("hooks", "test", "chat")
    assert done.exit_code == 3
    (complaint,) = done.complaints
    assert complaint.startswith("hooks.chat: 127.0.0.1: HTTP 404: no_service")
    assert "capability" not in done.err + done.out


def test_nobody_listening_is_told_without_the_url(files: Site) -> None:
    with serving(files, answering(200)), socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = files.run(
            "--log-level",
            "debug",
            "hooks",
            "test",
            "chat",
            CHAT=f"http://127.0.0.1:{unused.getsockname()[1]}/capability",
        )
    assert done.exit_code == 3
    assert "no connection" in done.err
    assert "capability" not in done.err


def test_secret_that_is_missing_is_told_with_its_line(files: Site) -> None:
    with serving(files, answering(200)):
        done = files.run("hooks", "test", "on-call", PAGER="")
        line = files.config.read_text().splitlines().index('routing_key = { env = "PAGER" }') + 1
    assert done.exit_code == 2
    assert done.complaints[0].startswith(
        f"{files.config}:{line}: hooks.on-call.routing_key: environment variable PAGER"
    )


@pytest.mark.parametrize("command", ["test", "preview"])
def test_unknown_hook_is_told_with_the_known_ones(files: Site, command: str) -> None:
    with serving(files, answering(200)):
        done = files.run("hooks", command, "chatt")
    assert (done.exit_code, done.complaints) == (2, ['hook chatt: no such hook; did you mean "chat"?'])


def test_preview_shows_what_the_templates_make_of_a_sample(files: Site) -> None:
    with serving(files, answering(200)) as receiver:
        done = files.run("hooks", "preview", "chat", "--event", "finding.escalated")
        assert done.out.startswith("mine: No expiration date\n\nNever expires and holds high-risk scopes.\n")
        assert "Waive: auditor waive prod/dt0c01." in done.out
        assert files.run("hooks", "preview", "chat", "--event", "digest").out.startswith("auditor: 41 alerts in prod: ")
        assert "<strong>Where</strong>" in files.run("hooks", "preview", "chat", "--as", "html").out
        assert "**Where**" in files.run("hooks", "preview", "chat", "--as", "markdown").out
        assert "*Where*" in files.run("hooks", "preview", "chat", "--as", "slack").out
        assert files.run("hooks", "preview", "run", "--event", "digest").json()["type"] == "digest"
    assert receiver.requests == []


def test_every_event_that_the_documents_name_can_be_previewed(files: Site) -> None:
    said = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8").partition("An alert's event is ")[2]
    events = re.findall(r"`([a-z.]+)`", said.partition("Alerts leave")[0])
    assert {"finding.opened", "test"} <= set(events)
    with serving(files, answering(200)):
        for event in events:
            assert files.run("hooks", "preview", "run", "--event", event).json()["type"] == event
        assert "a test of hook chat" in files.run("hooks", "preview", "chat", "--event", "test").out


def test_preview_of_what_cannot_be_is_refused(files: Site) -> None:
    with serving(files, answering(200)):
        done = files.run("hooks", "preview", "on-call", "--event", "digest")
        assert (done.exit_code, done.complaints) == (2, ["hook on-call: takes no digests, as every pagerduty hook"])
        done = files.run("hooks", "preview", "chat", "--event", "finding.opend")
        assert done.complaints == ['--event: unknown event "finding.opend"; did you mean "finding.opened"?']
