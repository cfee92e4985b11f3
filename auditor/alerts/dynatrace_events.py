"""Hook ``dynatrace-events``: an event in a Dynatrace environment for each alert; the worst of them open problems.

Contract: docs.dynatrace.com, *Events API v2 - POST an event*: ``POST /api/v2/events/ingest`` with scope
``events.ingest``. At most 100 properties, their keys of 100 and values of 4,096 characters; keys under ``dt.`` are
reserved. ``startTime`` of an event that opens a problem must not be older than 6 hours, so that it is left out: an
alert may have waited for longer, and says its time in a property. The answer is 201, and says for each event whether
it was taken.

An event is open for ``timeout`` minutes, 360 at most, and no request ends it before; "problem-opening events can be
refreshed and therefore kept open by sending the same payload again". So the problem of a finding is kept open by
sending its last alert again, and closes by itself once that stops, with the finding's end.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import msgspec
from pydantic import Field

from auditor.alerts.base import HookKind
from auditor.alerts.dynatrace_ingest import TEXT_LIMIT, DynatraceHook, DynatraceSettings, at_environment
from auditor.alerts.http import Sender
from auditor.alerts.standing import ends
from auditor.alerts.views import alert_view
from auditor.alerts.wording import Wording
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.secret import Secret
from auditor.outside_text import cut

_TAKEN: Final = "OK"
_SENT_WHILE_OPEN: Final = 3
"""How often an event is sent within its ``timeout``: a problem stays open though one of them is lost."""
_SHOWN_STATUS: Final = 100


class DynatraceEventsSettings(DynatraceSettings):
    """A ``[hooks.NAME]`` table with ``type = "dynatrace-events"``; the token's scope is ``events.ingest``."""

    problems_from: Severity = Severity.HIGH
    """From this severity up an alert opens a problem (``CUSTOM_ALERT``); others, and good news, are ``CUSTOM_INFO``."""
    open_minutes: int = Field(default=90, ge=3, le=360)
    """How long a problem stays open after the last that was heard of it: so long after its finding ended it closes. The
    events of open findings are sent three times within it."""
    keep_open_days: float = Field(default=30, ge=0, le=3_660)
    """For so long after its last alert a finding's problem is kept open; 0: it closes after ``open_minutes``, whatever
    became of the finding."""
    entity_selector: str | None = Field(default=None, min_length=1)
    """The entities that events belong to, ``type(HOST),tag(auditor)``; by default the environment."""


class DynatraceEvents(DynatraceHook):
    """The events of one environment."""

    path: ClassVar[str] = "api/v2/events/ingest"
    scope: ClassVar[str] = "events.ingest"

    def __init__(
        self, name: str, settings: DynatraceEventsSettings, token: Secret, wording: Wording, sender: Sender
    ) -> None:
        super().__init__(name, settings, token, wording, sender)
        self._settings = settings
        self.stands_for = timedelta(days=settings.keep_open_days)
        self.refresh_every = (
            timedelta(minutes=settings.open_minutes) / _SENT_WHILE_OPEN if self.stands_for else timedelta()
        )

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send one event; Dynatrace takes a repetition for more of the same while it is open."""
        (alert,) = message.alerts
        return await self._send(alert, now)

    async def refresh(self, alerts: Sequence[Alert], now: datetime) -> None:
        """Send again what opened a problem, as it was sent before."""
        for alert in alerts:
            if self._opens_problem(alert):
                await self._send(alert, now)

    async def _send(self, alert: Alert, now: datetime) -> str:
        answer = await self._ingest(self._event(alert), now)
        try:
            results = msgspec.json.decode(answer.body, type=_Results).event_ingest_results
        except (msgspec.DecodeError, UnicodeDecodeError):
            return str(answer)
        refused = [result.status for result in results if result.status != _TAKEN]
        if refused:
            said = cut(refused[0], _SHOWN_STATUS)
            raise self._sender.failed(self._url, f"{answer}: the event was refused: {said!r}")
        return str(answer)

    def _opens_problem(self, alert: Alert) -> bool:
        return alert.severity.rank >= self._settings.problems_from.rank and not ends(alert)

    def _event(self, alert: Alert) -> dict[str, Any]:
        words = self._wording.words(Message.of_one(alert))
        event: dict[str, Any] = {
            "eventType": "CUSTOM_ALERT" if self._opens_problem(alert) else "CUSTOM_INFO",
            "title": words.subject,
            "properties": _properties(words.body.clipped(TEXT_LIMIT).plain(), alert),
        }
        if self._opens_problem(alert):
            event["timeout"] = self._settings.open_minutes
        if self._settings.entity_selector:
            event["entitySelector"] = self._settings.entity_selector
        return event


def _properties(description: str, alert: Alert) -> dict[str, str]:
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
    return {key: cut(value, TEXT_LIMIT) for key, value in properties.items() if value}


class _Result(msgspec.Struct, frozen=True):
    status: str = _TAKEN


class _Results(msgspec.Struct, frozen=True, rename="camel"):
    event_ingest_results: tuple[_Result, ...] = ()


KIND: Final = HookKind(
    name="dynatrace-events",
    settings=DynatraceEventsSettings,
    open=at_environment(DynatraceEvents),
    takes_digests=False,
    takes_reports=False,
)
