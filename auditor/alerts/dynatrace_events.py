"""Hook ``dynatrace-events``: an event in a Dynatrace environment for each alert; the worst of them open problems.

Contract: docs.dynatrace.com, *Events API v2 - POST an event*: ``POST /api/v2/events/ingest`` with scope
``events.ingest``. At most 100 properties, their keys of 100 and values of 4,096 characters; keys under ``dt.`` are
reserved. ``startTime`` of an event that opens a problem must not be older than 6 hours, so that it is left out: an
alert may have waited for longer, and says its time in a property. An event is open for ``timeout`` minutes, 360 at
most. The answer is 201, and says for each event whether it was taken.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from pydantic import Field
from yarl import URL

from auditor.alerts import dynatrace_ingest as ingest
from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.http import Sender
from auditor.alerts.standing import ends
from auditor.alerts.views import alert_view
from auditor.alerts.wording import Wording
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.secret import Secret

_SCOPE: Final = "events.ingest"
_TAKEN: Final = "OK"


class DynatraceEventsSettings(ingest.DynatraceSettings):
    """A ``[hooks.NAME]`` table with ``type = "dynatrace-events"``; the token's scope is ``events.ingest``."""

    problems_from: Severity = Severity.HIGH
    """From this severity up an alert opens a problem (``CUSTOM_ALERT``); others, and good news, are ``CUSTOM_INFO``."""
    open_minutes: int = Field(default=60, ge=1, le=360)
    """How long a problem stays open: Dynatrace closes it then, whatever became of the finding."""
    entity_selector: str | None = Field(default=None, min_length=1)
    """The entities that events belong to, ``type(HOST),tag(auditor)``; by default the environment."""


class DynatraceEvents:
    """One environment."""

    def __init__(
        self, name: str, settings: DynatraceEventsSettings, token: Secret, wording: Wording, sender: Sender
    ) -> None:
        self.name = name
        self._settings = settings
        self._url = URL(settings.url) / "api/v2/events/ingest"
        self._token = token
        self._wording = wording
        self._sender = sender

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send one event; Dynatrace takes a repetition for more of the same while it is open."""
        (alert,) = message.alerts
        answer = await self._sender.post(
            self._url,
            msgspec.json.encode(self._event(message, alert)),
            now,
            headers=ingest.authorization(self._token),
            hints=ingest.hints(_SCOPE),
            quote=ingest.reason,
        )
        try:
            results = msgspec.json.decode(answer.body, type=_Results).event_ingest_results
        except (msgspec.DecodeError, UnicodeDecodeError):
            return str(answer)
        refused = [result.status for result in results if result.status != _TAKEN]
        if refused:
            raise self._sender.failed(self._url, f"{answer}: the event was refused: {ingest.cut(refused[0], 100)!r}")
        return str(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    def _event(self, message: Message, alert: Alert) -> dict[str, Any]:
        words = self._wording.words(message)
        opens_problem = alert.severity.rank >= self._settings.problems_from.rank and not ends(alert)
        event: dict[str, Any] = {
            "eventType": "CUSTOM_ALERT" if opens_problem else "CUSTOM_INFO",
            "title": words.subject,
            "properties": self._properties(words.body.clipped(ingest.TEXT_LIMIT).plain(), alert),
        }
        if opens_problem:
            event["timeout"] = self._settings.open_minutes
        if self._settings.entity_selector:
            event["entitySelector"] = self._settings.entity_selector
        return event

    def _properties(self, description: str, alert: Alert) -> dict[str, str]:
        view = alert_view(alert)
        properties = {
            "dt.event.description": description,
            "auditor.alert_id": alert.id,
            "auditor.at": alert.at.astimezone(UTC).isoformat(),
            "auditor.environment": view.environment,
            "auditor.event": alert.event,
            "auditor.key": view.key,
            "auditor.owner": view.owner,
            "auditor.rule": view.rule,
            "auditor.severity": view.severity,
            "auditor.title": view.title,
            "auditor.token": view.token,
            "auditor.token_name": view.token_name,
        }
        return {key: ingest.cut(value, ingest.TEXT_LIMIT) for key, value in properties.items() if value}


class _Result(msgspec.Struct, frozen=True):
    status: str = _TAKEN


class _Results(msgspec.Struct, frozen=True, rename="camel"):
    event_ingest_results: tuple[_Result, ...] = ()


async def _open(name: str, settings: DynatraceEventsSettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    token = await resolver.resolve(settings.token, f"hooks.{name}.token")
    return DynatraceEvents(name, settings, token, surroundings.wording, await Sender.open(name, settings, resolver))


KIND: Final = HookKind(name="dynatrace-events", settings=DynatraceEventsSettings, open=_open, takes_digests=False)
