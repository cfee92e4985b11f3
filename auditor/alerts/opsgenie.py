"""Hook ``opsgenie``: an alert in Opsgenie, or Jira Service Management, for each finding, closed with the finding.

Contract: docs.opsgenie.com, *Alert API*: ``POST /v2/alerts`` creates, and counts up an open alert of the same alias,
whose priority ``PUT /v2/alerts/{alias}/priority?identifierType=alias`` alters; ``POST …/close`` closes it. ``message``
has 130 characters at most, ``alias`` and ``entity`` 512, ``description`` 15,000, ``source`` 100, each of 20 tags 50,
and all ``details`` 8,000. The answer is 202: the request is processed later.
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import msgspec
from pydantic import Field
from yarl import URL

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.http import Answer, Sender, UrlSettings
from auditor.alerts.service import ServiceHook, refusal
from auditor.alerts.standing import ends, key_of
from auditor.alerts.views import alert_view
from auditor.alerts.wording import AlertWordedSettings, Wording
from auditor.credentials.reference import SecretReference
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.secret import Secret
from auditor.outside_text import cut

_ALIAS_LIMIT: Final = 512
_MESSAGE_LIMIT: Final = 130
_DESCRIPTION_LIMIT: Final = 15_000
_DETAIL_LIMIT: Final = 1_000
_TAG_LIMIT: Final = 50
_WORSE: Final = "finding.escalated"
_PRIORITIES: Final = {
    Severity.CRITICAL: "P1",
    Severity.HIGH: "P2",
    Severity.MEDIUM: "P3",
    Severity.LOW: "P4",
    Severity.INFO: "P5",
}
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "; is key that of an API integration that may create alerts?",
    HTTPStatus.FORBIDDEN: "; is key that of an API integration that may create alerts, and url its region's?",
}


class OpsgenieSettings(AlertWordedSettings, UrlSettings):
    """A ``[hooks.NAME]`` table with ``type = "opsgenie"``."""

    key: SecretReference
    """The key of an API integration."""
    url: str = "https://api.opsgenie.com"
    """Where the API is: ``https://api.eu.opsgenie.com`` in the EU, ``https://api.atlassian.com/jsm/ops/integration`` of
    Jira Service Management."""
    teams: tuple[str, ...] = Field(default=(), max_length=50)
    """Names of the teams that respond; by default those of the integration."""
    tags: tuple[str, ...] = Field(default=("auditor",), max_length=17)
    """Tags of every alert, beside environment, rule and severity; of at most 50 characters each."""


class Opsgenie(ServiceHook):
    """One API integration."""

    def __init__(self, name: str, settings: OpsgenieSettings, key: Secret, wording: Wording, sender: Sender) -> None:
        super().__init__(name, wording, sender)
        self._settings = settings
        self._url = URL(settings.url) / "v2/alerts"
        self._key = key

    async def deliver(self, message: Message, now: datetime) -> str:
        """Create or close the alert of a finding; Opsgenie itself tells a repetition by its alias.

        An alert that is open already keeps the priority that it was created with, unless it is told another.
        """
        (alert,) = message.alerts
        alias = key_of(alert, _ALIAS_LIMIT).replace("/", ":")  # it becomes a part of a URL's path
        if ends(alert):
            body = {"source": "auditor", "note": self._wording.words(message).subject}
            answer = await self._send("POST", self._of(alias, "close"), body, now)
            return f"{answer}, close"
        answer = await self._send("POST", self._url, self._creation(message, alert, alias), now)
        if alert.event == _WORSE:
            priority = {"priority": _PRIORITIES[alert.severity]}
            await self._send("PUT", self._of(alias, "priority"), priority, now)
        return f"{answer}, create"

    def _of(self, alias: str, action: str) -> URL:
        return URL(f"{self._url}/{quote(alias, safe='')}/{action}?identifierType=alias", encoded=True)

    async def _send(self, method: str, url: URL, body: dict[str, Any], now: datetime) -> Answer:
        headers = {"Authorization": f"GenieKey {self._key.reveal()}"}
        encoded = msgspec.json.encode(body)
        return await self._sender.send(method, url, encoded, now, headers=headers, hints=_HINTS, quote=refusal)

    def _creation(self, message: Message, alert: Alert, alias: str) -> dict[str, Any]:
        words = self._wording.words(message)
        view = alert_view(alert)
        tags = [*self._settings.tags, f"environment:{view.environment}", f"severity:{view.severity}", view.rule]
        details = {
            "alert_id": alert.id,
            "event": alert.event,
            "key": view.key,
            "token": view.token,
            "token_name": view.token_name,
            "owner": view.owner,
            "rule": view.rule,
        }
        body: dict[str, Any] = {
            "message": cut(words.subject, _MESSAGE_LIMIT),
            "alias": alias,
            "description": words.body.clipped(_DESCRIPTION_LIMIT).plain(),
            "priority": _PRIORITIES[alert.severity],
            "source": "auditor",
            "entity": cut(view.token or view.environment, _ALIAS_LIMIT),
            "tags": [cut(tag, _TAG_LIMIT) for tag in tags if tag],
            "details": {name: cut(value, _DETAIL_LIMIT) for name, value in details.items() if value},
        }
        if self._settings.teams:
            body["responders"] = [{"name": team, "type": "team"} for team in self._settings.teams]
        return body


async def _open(name: str, settings: OpsgenieSettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    key = await resolver.resolve(settings.key, f"hooks.{name}.key")
    return Opsgenie(name, settings, key, surroundings.wording, await Sender.open(name, settings, resolver))


KIND: Final = HookKind(name="opsgenie", settings=OpsgenieSettings, open=_open, takes_digests=False, takes_reports=False)
