"""Hook ``dynatrace-security``: a security event in Grail for each alert, beside those of other security products.

Contract: docs.dynatrace.com, *OpenPipeline Ingest API - POST Built-in security events*:
``POST /platform/ingest/v1/security.events`` with scope ``openpipeline.events_security`` and a list of events; the
answer is 202, whatever the events say: the endpoint maps nothing. Fields are those of *Semantic Dictionary, Security
events, Detections*, all that the app Threats & Exploits wants of a finding among them, but for ``event.id``, which
Dynatrace makes. What the dictionary has no word for is under ``auditor.``.
"""

from datetime import UTC, datetime
from typing import ClassVar, Final

from auditor.alerts.base import HookKind
from auditor.alerts.dynatrace_ingest import TEXT_LIMIT, DynatraceHook, DynatraceSettings, at_environment
from auditor.alerts.standing import ends, key_of
from auditor.alerts.views import alert_view
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.outside_text import cut
from auditor.policy.wording import iso, iso_or_none

_KEY_LIMIT: Final = 512
_LEVELS: Final = {
    Severity.CRITICAL: "CRITICAL",
    Severity.HIGH: "HIGH",
    Severity.MEDIUM: "MEDIUM",
    Severity.LOW: "LOW",
    Severity.INFO: "NONE",
}


class DynatraceSecuritySettings(DynatraceSettings):
    """A ``[hooks.NAME]`` table with ``type = "dynatrace-security"``; the scope is ``openpipeline.events_security``."""


class DynatraceSecurity(DynatraceHook):
    """The security events of one environment."""

    path: ClassVar[str] = "platform/ingest/v1/security.events"
    scope: ClassVar[str] = "openpipeline.events_security"

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send one event; a repetition is told by ``auditor.alert_id``."""
        (alert,) = message.alerts
        return str(await self._ingest([self._event(message, alert)], now))

    def _event(self, message: Message, alert: Alert) -> dict[str, str]:
        words = self._wording.words(message)
        view = alert_view(alert)
        at = iso(alert.at.astimezone(UTC))
        fields = {
            "timestamp": at,
            "event.kind": "SECURITY_EVENT",
            "event.type": "DETECTION_FINDING",
            "event.name": "Detection finding event",
            "event.provider": "auditor",
            "event.description": words.subject,
            "product.name": "auditor",
            "product.vendor": "auditor",
            "finding.id": key_of(alert, _KEY_LIMIT),
            "finding.title": view.title,
            "finding.description": words.body.clipped(TEXT_LIMIT).plain(),
            "finding.type": view.rule or alert.event,
            "finding.severity": view.severity,
            "finding.status": "RESOLVED" if ends(alert) else "OPEN",
            "finding.time.created": at,  # when it was detected last, not first
            "dt.security.risk.level": _LEVELS[alert.severity],
            "rule.id": view.rule,
            "rule.name": view.title if view.rule else "",
            "object.id": view.token or view.environment,
            "object.name": view.token_name or view.token or view.environment,
            "object.type": "DYNATRACE_TOKEN" if view.token else "DYNATRACE_ENVIRONMENT",
            "auditor.alert_id": alert.id,
            "auditor.environment": view.environment,
            "auditor.event": alert.event,
            "auditor.key": view.key,
            "auditor.owner": view.owner,
            "auditor.since": iso_or_none(view.since) or "",
        }
        return {name: cut(value, TEXT_LIMIT) for name, value in fields.items() if value}


KIND: Final = HookKind(
    name="dynatrace-security",
    settings=DynatraceSecuritySettings,
    open=at_environment(DynatraceSecurity),
    takes_digests=False,
    takes_reports=False,
)
