"""What messages say to people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from jinja2 import TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from msgspec.structs import replace
from structlog.testing import capture_logs

from auditor.alerts.samples import sample_alerts, sample_digest, trial_alert
from auditor.alerts.wording import NAMES, SHIPPED, SUBJECT_LIMIT, Source, Wording, parsed
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.policy.rules import exp_01
from tests.alerts.receivers import PUBLIC_ID, TOKEN, alert, digest, message

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
KEY = f"prod/{PUBLIC_ID}/DT-EXP-01"
SAMPLES: Mapping[str, Alert] = {**sample_alerts(NOW), "test": trial_alert("1", "team", NOW)}


def said(event: str) -> str:
    return SHIPPED.words(Message.of_one(SAMPLES[event])).body.plain()


def own(**texts: str) -> Wording:
    return Wording({name: Source(text, f"{name}.j2") for name, text in texts.items()})


def test_message_says_what_where_since_when_why_what_to_do_and_how_to_waive() -> None:
    words = SHIPPED.words(Message.of_one(SAMPLES["finding.escalated"]))
    assert words.subject == f"CRITICAL prod: worse: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    assert words.body.plain().splitlines() == [
        "Never expires and holds high-risk scopes.",
        "",
        f"Where: prod, {PUBLIC_ID} “ingest-frankfurt”, owner svc-ingest",
        "Stored in: deploy: tokens.env:4",
        "Since: 2026-11-14 08:00 UTC",
        "Rule: DT-EXP-01, No expiration date",
        "Severity: critical",
        "",
        f"Why it matters: {exp_01.RULE.rationale}",
        "",
        f"What to do: {exp_01.RULE.remediation}",
        "",
        f"Show: auditor findings show {KEY}",
        f"Acknowledge: auditor ack {KEY} --note …",
        f"Waive: auditor waive {KEY} --owner … --approver … --reason … --ticket … --until YYYY-MM-DD",
    ]


def test_good_news_says_how_it_ended_and_asks_for_nothing() -> None:
    words = SHIPPED.words(Message.of_one(SAMPLES["finding.resolved"]))
    assert words.subject == f"RESOLVED prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    text = words.body.plain()
    assert "Resolved: 2026-11-26 08:00 UTC: the token was looked up, and the rule no longer fires" in text
    assert "waive" not in text
    assert "What to do" not in text


@pytest.mark.parametrize("event", SAMPLES)
def test_every_event_has_words(event: str) -> None:
    assert SAMPLES[event].data["message"][1:] in said(event)


def test_event_that_nobody_wrote_words_for_is_told_by_its_name() -> None:
    words = SHIPPED.words(Message.of_one(replace(alert(), event="coverage.lost", data={"message": "half is left"})))
    assert words.subject == "HIGH prod: Coverage lost"
    assert words.body.plain().startswith("Half is left.\n\nWhere: prod\n")


def test_digest_is_grouped_by_environment_and_owner_worst_first() -> None:
    def one(severity: Severity, environment: str, owner: str | None, **changes: str) -> Alert:
        made = alert(key=f"{environment}/x/{severity}", owner=owner, title="T", rule="DT-EXP-01", rationale="Why.")
        return replace(made, severity=severity, environment=environment, **changes)

    words = SHIPPED.words(
        digest(
            one(Severity.CRITICAL, "stage", "bob"),
            one(Severity.HIGH, "prod", "jane", event="finding.resolved"),
            one(Severity.HIGH, "prod", None),
            one(Severity.MEDIUM, "prod", "jane"),
            one(Severity.LOW, "stage", "bob"),
            more=37,
            environment=None,
        )
    )
    assert words.subject == "auditor: 42 alerts: 1 critical, 2 high, 1 medium, 38 low"
    assert words.body.plain().splitlines() == [
        "42 alerts until 2026-11-24 08:00 UTC: 1 critical, 2 high, 1 medium, 38 low.",
        "",
        "stage, owner bob",
        "- critical T: stage/x/critical",
        "- low T: stage/x/low",
        "",
        "prod, no owner",
        "- high T: prod/x/high",
        "",
        "prod, owner jane",
        "- medium T: prod/x/medium",
        "- resolved T: prod/x/high",
        "",
        "and 37 more: auditor findings",
        "",
        "What to do",
        "- DT-EXP-01 T. Why.",
        "",
        "See what is open: auditor findings",
        "Show one: auditor findings show KEY",
        "Waive one: auditor waive KEY --owner … --approver … --reason … --ticket … --until YYYY-MM-DD",
    ]


def test_digest_that_must_be_shorter_shows_fewer_and_counts_the_rest() -> None:
    many = [alert(key=f"prod/{number}/DT-EXP-01") for number in range(64)]
    texts = [words.body.plain() for words in SHIPPED.shorter_and_shorter(digest(*many, more=36))]
    shown = [sum(line.startswith("- high") for line in text.splitlines()) for text in texts[:7]]
    assert shown == [64, 32, 16, 8, 4, 2, 1]
    assert all(
        f"and {100 - count} more: auditor findings --environment prod" in text
        for count, text in zip(shown, texts[:7], strict=True)
    )
    assert len(texts[-1]) <= 200


@pytest.mark.parametrize(
    ("of", "subject", "command"),
    [
        ({}, "38 alerts in prod: 38 high", "auditor findings --environment prod"),
        (
            {"owner": "ci bot"},
            "38 alerts in prod of ci bot: 38 high",
            "auditor findings --environment prod --owner 'ci bot'",
        ),
        ({"environment": None, "owner": "jane"}, "38 alerts of jane: 38 high", "auditor findings --owner jane"),
        ({"environment": None}, "38 alerts: 38 high", "auditor findings"),
    ],
)
def test_digest_gives_the_command_that_lists_what_all_of_it_is_of(
    of: dict[str, Any], subject: str, command: str
) -> None:
    words = SHIPPED.words(digest(alert(owner="jane"), more=37, **of))
    assert words.subject == f"auditor: {subject}"
    assert f"\nand 37 more: {command}\n" in words.body.plain()


@pytest.mark.parametrize(
    "hostile", ["a\nTo: all@example.com", "deploy password=hunter2hunter2", "a\x1b[2J", "a\u202eb", "a\x01b\x05", TOKEN]
)
def test_text_from_outside_is_one_visible_line_without_secrets(hostile: str) -> None:
    words = SHIPPED.words(
        message(token_name=hostile, owner=hostile, title=hostile, message=hostile, key=f"p/{hostile}/R")
    )
    text = words.body.plain()
    assert "\n" not in words.subject
    assert hostile not in words.subject + text
    assert len(text.splitlines()) == len(
        SHIPPED.words(message(token_name="x", owner="x", title="x", message="x", key="p/x/R")).body.plain().splitlines()
    )
    assert (words.subject + text).replace("\n", "").isprintable()


def test_command_survives_a_shell_whatever_the_key_holds() -> None:
    text = SHIPPED.words(message(key="prod/x; rm -rf ~/DT")).body.plain()
    assert "auditor waive 'prod/x; rm -rf ~/DT' --owner" in text


def test_subject_has_a_limit() -> None:
    subject = SHIPPED.words(message(title="x" * 500)).subject
    assert (len(subject), subject[-1]) == (SUBJECT_LIMIT, "…")


def test_own_template_can_lay_a_part_over_ours() -> None:
    words = own(
        alert='{% extends "auditor/alert" %}{% block why %}Because {{ alert.data.hook | code }}.\n\n{% endblock %}',
        alert_subject="{{ alert.title }} & {{ alert.owner }}",
    ).words(message(title="T", owner="<o>", rationale="…", hook="h"))
    assert words.subject == "T & <o>"
    assert "Because h.\n\nShow" not in words.body.plain()
    assert words.body.plain().startswith("Where: prod")
    assert "Because h." in words.body.plain()
    assert SHIPPED.words(sample_digest(NOW)) == own(alert="x").words(sample_digest(NOW))


@pytest.mark.parametrize("text", ["{{ alert.at.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ [].append(1) }}"])
def test_template_is_in_a_sandbox(text: str) -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        own(alert=text).rendered(message())


@pytest.mark.parametrize(
    "text", ["{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{{ alert.nothing }}", "{{ 1 / 0 }}"]
)
def test_alert_is_not_lost_where_a_template_fails(text: str) -> None:
    with capture_logs() as logged:
        words = own(alert=text).words(message(message="said"))
    assert words == SHIPPED.words(message(message="said"))
    assert [(line["event"], line["log_level"]) for line in logged] == [("template_failed", "error")]


def test_template_that_is_none_tells_its_line() -> None:
    with pytest.raises(TemplateSyntaxError) as raised:
        parsed(Source("one\n{% if %}", "mine.j2"))
    assert (raised.value.lineno, raised.value.filename) == (2, "mine.j2")


def test_there_is_a_template_for_each_name() -> None:
    assert NAMES == ("alert_subject", "alert", "digest_subject", "digest")
