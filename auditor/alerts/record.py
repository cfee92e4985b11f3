"""What logs keep of an alert: one record each, with a field for each thing to search by."""

from collections.abc import Mapping
from typing import Final

from auditor.alerts.views import alert_view
from auditor.model.finding import Alert, Severity

PRIORITIES: Final[Mapping[Severity, int]] = {
    Severity.CRITICAL: 2,
    Severity.HIGH: 3,
    Severity.MEDIUM: 4,
    Severity.LOW: 5,
    Severity.INFO: 6,
}
"""Severities of syslog (RFC 5424 §6.2.1): critical, error, warning, notice, informational."""


def fields_of(alert: Alert) -> Mapping[str, str]:
    """Return the fields of an alert that are not empty, without secrets and each on one line, the shortest first."""
    view = alert_view(alert)
    fields = {
        "id": alert.id,
        "event": view.event,
        "severity": view.severity,
        "environment": view.environment,
        "rule": view.rule,
        "token": view.token,
        "key": view.key,
        "owner": view.owner,
        "token_name": view.token_name,
        "title": view.title,
        "message": view.message,
        "locations": "; ".join(view.locations),
    }
    return {name: value for name, value in fields.items() if value}
