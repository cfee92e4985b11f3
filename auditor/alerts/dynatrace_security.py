"""Hook ``dynatrace-security``: a security event in Grail for each alert, beside those of other security products.

Contract: docs.dynatrace.com, *OpenPipeline Ingest API - POST Built-in security events*:
``POST /platform/ingest/v1/security.events`` with scope ``openpipeline.events_security`` and a list of events; the
answer is 202. Fields are those of *Semantic Dictionary, Security events, Detection finding*; what it has no word for is
under ``auditor.``.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from yarl import URL

from auditor.alerts import dynatrace_ingest as ingest
from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.http import Sender
from auditor.alerts.standing import key_of
from auditor.alerts.views import alert_view
from auditor.alerts.wording import Wording
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.secret import Secret

_SCOPE: Final = "openpipeline.events_security"
_KEY_LIMIT: Final = 512
_LEVELS: Final = {
    Severity.CRITICAL: "CRITICAL",
    Severity.HIGH: "HIGH",
    Severity.MEDIUM: "MEDIUM",
    Severity.LOW: "LOW",
    Severity.INFO: "NONE",
}


class DynatraceSecuritySettings(ingest.DynatraceSettings):
    """A ``[hooks.NAME]`` table with ``type = "dynatrace-security"``; the scope is ``openpipeline.events_security``."""


class DynatraceSecurity:
    """One environment."""

    def __init__(
        self, name: str, settings: DynatraceSecuritySettings, token: Secret, wording: Wording, sender: Sender
    ) -> None:
        self.name = name
        self._url = URL(settings.url) / "platform/ingest/v1/security.events"
        self._token = token
        self._wording = wording
        self._sender = sender

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send one event; a repetition is told by ``auditor.alert_id``."""
        (alert,) = message.alerts
        answer = await self._sender.post(
            self._url,
            msgspec.json.encode([self._event(message, alert)]),
            now,
            headers=ingest.authorization(self._token),
            hints=ingest.hints(_SCOPE),
            quote=ingest.reason,
        )
        return str(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    def _event(self, message: Message, alert: Alert) -> dict[str, Any]:
        words = self._wording.words(message)
        view = alert_view(alert)
        at = alert.at.astimezone(UTC)
        description = words.body.clipped(ingest.TEXT_LIMIT).plain()
        fields = {
            "timestamp": at.isoformat(),
            "event.kind": "SECURITY_EVENT",
            "event.type": "DETECTION_FINDING",
            "event.name": "Detection finding event",
            "event.provider": "auditor",
            "event.description": words.subject,
            "product.name": "auditor",
            "product.vendor": "auditor",
            "finding.id": key_of(alert, _KEY_LIMIT),
            "finding.title": view.title,
            "finding.description": description,
            "finding.type": view.rule or alert.event,
            "finding.severity": view.severity,
            "finding.time.created": (view.since or at).astimezone(UTC).isoformat(),
            "dt.security.risk.level": _LEVELS[alert.severity],
            "object.id": view.token or view.environment,
            "object.name": view.token_name or view.token or view.environment,
            "object.type": "DYNATRACE_TOKEN" if view.token else "DYNATRACE_ENVIRONMENT",
            "auditor.alert_id": alert.id,
            "auditor.environment": view.environment,
            "auditor.event": alert.event,
            "auditor.key": view.key,
            "auditor.owner": view.owner,
        }
        return {name: ingest.cut(value, ingest.TEXT_LIMIT) for name, value in fields.items() if value}


async def _open(name: str, settings: DynatraceSecuritySettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    token = await resolver.resolve(settings.token, f"hooks.{name}.token")
    return DynatraceSecurity(name, settings, token, surroundings.wording, await Sender.open(name, settings, resolver))


KIND: Final = HookKind(name="dynatrace-security", settings=DynatraceSecuritySettings, open=_open, takes_digests=False)
