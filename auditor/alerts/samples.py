"""Messages about nothing that happened: to try templates on, to preview them, and to test hooks with."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from auditor.alerts.enclosing import made_alert
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.policy.rules import exp_01, own_02, use_02
from auditor.policy.sampling import example_of, ordinary_observation, ordinary_token
from auditor.policy.wording import day, iso
from auditor.store.reports import Report, ReportFile, ReportStatus, Said

_ENVIRONMENT: Final = "prod"
_LEFT_OUT: Final = 37
_AGE: Final = timedelta(days=12)
_TOLD_AGAIN: Final = {
    "escalated": "",
    "reopened": "",
    "reminder": "; open since {since}",
    "unattended": "; neither mended nor acknowledged since {since}",
    "flapping": "; back 3 times within 24 hours; told again once it has settled",
}
"""What is said of a finding that is told again, beside what its rule says."""
_RULES: Final = (exp_01.RULE, own_02.RULE, use_02.RULE)


def sample_alerts(now: datetime) -> Mapping[str, Alert]:
    """Return an alert of each kind, by event."""
    opened = _finding("finding.opened", now)
    return {
        alert.event: alert
        for alert in (
            opened,
            *(_finding(f"finding.{topic}", now, words=words) for topic, words in _TOLD_AGAIN.items()),
            replace(opened, event="finding.resolved", data={**opened.data, "resolution": "evidence"}),
            _operational("waiver.lapsing", now, "waiver SEC-1042 of 3 findings ends in 14 days", findings=3),
            _operational("sweep.failed", now, "the environment refused auditor's own token (401)", enrolled=204),
            _operational(
                "delivery.dead",
                now,
                "hook chat did not take 12 alerts, which are given up (hooks.chat: hooks.slack.com: HTTP 404; was the "
                "webhook removed, or its channel?); mend the hook, then run auditor alerts retry --hook chat",
                environment="auditor",
                hook="chat",
                alerts=12,
            ),
            _operational(
                "findings.summary",
                now,
                "first sweep: 12 open findings (2 critical, 10 low); "
                f"auditor findings --environment {_ENVIRONMENT} lists them",
                counts={"critical": 2, "low": 10},
            ),
            _report_failed(now),
            _report(now),
        )
    }


def sample_digest(now: datetime) -> Message:
    """Return a digest of several findings that stands for more than it shows."""
    alerts = [_finding("finding.opened", now, number) for number in range(len(_RULES))]
    alerts.append(
        replace(_finding("finding.resolved", now, 1), id="5", data={**alerts[1].data, "resolution": "missing"})
    )
    alerts.sort(key=lambda alert: -alert.severity.rank)
    counts: dict[Severity, int] = {Severity.LOW: _LEFT_OUT}
    for alert in alerts:
        counts[alert.severity] = counts.get(alert.severity, 0) + 1
    return Message(
        id="00000000-0000-4000-8000-000000000000",
        at=now,
        alerts=tuple(alerts),
        is_digest=True,
        counts=counts,
        more=_LEFT_OUT,
        environment=_ENVIRONMENT,
    )


def trial_alert(alert_id: str, hook: str, now: datetime, *, ends: bool = False) -> Alert:
    """Return what ``auditor hooks test`` sends: no finding, and marked as a test; ``ends`` takes it back."""
    said = f"this is a test of hook {hook}, sent by hand with auditor hooks test; nothing has happened"
    return Alert(
        id=alert_id,
        event="test.ended" if ends else "test",
        severity=Severity.INFO,
        environment="test",
        at=now,
        data={"environment": "test", "hook": hook, "title": f"Test of hook {hook}", "message": said},
    )


def _finding(event: str, now: datetime, number: int = 0, words: str = "") -> Alert:
    rule = _RULES[number]
    violation = example_of(rule)
    assert violation is not None
    token, observation = ordinary_token(), ordinary_observation()
    opened_at = now if event == "finding.opened" else now - _AGE
    data: dict[str, Any] = {
        "key": f"{_ENVIRONMENT}/{observation.label}/{rule.id}",
        "environment": _ENVIRONMENT,
        "token": observation.label,
        "token_name": token.name,
        "owner": token.owner,
        "rule": rule.id,
        "title": rule.title,
        "severity": violation.severity.value,
        "transition": event.removeprefix("finding."),
        "opened_at": iso(opened_at),
        "message": violation.message + words.format(since=day(opened_at)),
        "evidence": violation.evidence,
        "locations": [{"source": place.source, "place": place.place} for place in observation.locations],
        "rationale": rule.rationale,
        "remediation": rule.remediation,
        "resolution": None,
        "waiver": None,
    }
    return Alert(
        id=f"00000000-0000-4000-8000-00000000000{number + 1}",
        event=event,
        severity=violation.severity,
        environment=_ENVIRONMENT,
        at=now,
        data=data,
    )


def _report_failed(now: datetime) -> Alert:
    said = "report monthly: was not made within 1800 s; raise its timeout, or narrow it; it is tried again"
    return _operational("report.failed", now, said, "auditor", title="Report monthly failed", report="monthly")


def _report(now: datetime) -> Alert:
    file = ReportFile(
        format="pdf",
        path="/var/lib/auditor/reports/monthly-2026-11-01T080000Z.pdf",
        media_type="application/pdf",
        bytes=482_113,
        sha256=hashlib.sha256(b"a report").hexdigest(),
    )
    report = Report(
        id=7,
        name="monthly",
        slot=now,
        period="2026-10",
        asked_at=now,
        status=ReportStatus.MADE,
        failures=0,
        problem="",
        made_at=now,
        host="audit-1",
        said=Said("41 findings are open, 4 of them critical.", {Severity.CRITICAL: 4, Severity.HIGH: 37}, 2),
        files=[file],
    )
    return made_alert(report, "00000000-0000-4000-8000-000000000008", now)


def _operational(event: str, now: datetime, message: str, environment: str = _ENVIRONMENT, **more: Any) -> Alert:
    return Alert(
        id="00000000-0000-4000-8000-000000000009",
        event=event,
        severity=Severity.HIGH,
        environment=environment,
        at=now,
        data={"environment": environment, "message": message, **more},
    )
