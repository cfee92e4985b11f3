"""Hook ``pagerduty``: events to PagerDuty, which opens an alert for each finding and resolves it with the finding.

Contract: developer.pagerduty.com, *Events API v2*: ``POST /v2/enqueue``, 512 KB at most; ``summary`` of 1,024
characters, ``dedup_key`` of 255; 202 where the event was taken, 400 where it is invalid, 429 where it must come later.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from yarl import URL

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.http import Sender, UrlSettings
from auditor.alerts.service import ServiceHook, refusal
from auditor.alerts.standing import ends, key_of
from auditor.alerts.views import cleaned
from auditor.alerts.wording import AlertWordedSettings, Wording
from auditor.credentials.reference import SecretReference
from auditor.model.errors import ConfigError, Problem
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.secret import Secret

_KEY_LENGTH: Final = 32
_DEDUP_LIMIT: Final = 255
_DETAILS_LIMIT: Final = 500_000
"""Bytes of ``custom_details``; more are left out but for the text."""
_SEVERITIES: Final = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
    Severity.INFO: "info",
}
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "; is routing_key that of an Events API v2 integration, and url its region's?"
}


class PagerDutySettings(AlertWordedSettings, UrlSettings):
    """A ``[hooks.NAME]`` table with ``type = "pagerduty"``."""

    routing_key: SecretReference
    """The integration key of an *Events API v2* integration, 32 characters."""
    url: str = "https://events.pagerduty.com"
    """Where the Events API is; in the EU service region ``https://events.eu.pagerduty.com``."""


class PagerDuty(ServiceHook):
    """One integration."""

    def __init__(self, name: str, url: URL, routing_key: Secret, wording: Wording, sender: Sender) -> None:
        super().__init__(name, wording, sender)
        self._url = url
        self._routing_key = routing_key

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send one event; PagerDuty itself tells a repetition by its ``dedup_key``."""
        (alert,) = message.alerts
        event: dict[str, Any] = {
            "routing_key": self._routing_key.reveal(),
            "event_action": "resolve" if ends(alert) else "trigger",
            "dedup_key": key_of(alert, _DEDUP_LIMIT),
        }
        if not ends(alert):
            event |= {"client": "auditor", "payload": self._payload(message, alert)}
        answer = await self._sender.post(self._url, msgspec.json.encode(event), now, hints=_HINTS, quote=refusal)
        return f"{answer}, {event['event_action']}"

    def _payload(self, message: Message, alert: Alert) -> dict[str, Any]:
        words = self._wording.words(message)
        details: dict[str, Any] = {"text": words.body.plain(), "alert_id": alert.id, "event": alert.event}
        data = {key: value for key, value in cleaned(alert.data).items() if value not in (None, "", [], {})}
        if len(msgspec.json.encode(details | data)) <= _DETAILS_LIMIT:
            details |= data
        return {
            "summary": words.subject,
            "source": alert.environment,
            "severity": _SEVERITIES[alert.severity],
            "timestamp": alert.at.astimezone(UTC),
            "component": str(details.get("token", alert.environment)),
            "group": alert.environment,
            "class": str(details.get("rule", alert.event)),
            "custom_details": details,
        }


async def _open(name: str, settings: PagerDutySettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    place = f"hooks.{name}.routing_key"
    key = await resolver.resolve(settings.routing_key, place)
    if len(key.reveal()) != _KEY_LENGTH:
        reason = (
            f"what it points to must have {_KEY_LENGTH} characters: the integration key of an Events API v2 integration"
        )
        raise ConfigError(Problem(place, reason))
    url = URL(settings.url) / "v2/enqueue"
    return PagerDuty(name, url, key, surroundings.wording, await Sender.open(name, settings, resolver))


KIND: Final = HookKind(
    name="pagerduty", settings=PagerDutySettings, open=_open, takes_digests=False, takes_reports=False
)
