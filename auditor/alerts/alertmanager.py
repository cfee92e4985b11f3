"""Hook ``alertmanager``: an alert in a Prometheus Alertmanager for each finding, which fires until the finding ends.

Contract: the OpenAPI of Alertmanager's API v2, ``POST /api/v2/alerts``, and *Sending alerts* of prometheus.io. An alert
is the set of its labels. It fires from ``startsAt`` to ``endsAt``, and what is sent of it later counts; one without
``endsAt`` would end by itself after ``resolve_timeout``, so that each finding says how long it may fire, which is
``firing_days`` from its last alert. Severity is a label, for routes: what a finding fired under before must end when it
fires under another, so Alertmanager is asked (``GET /api/v2/alerts``) what it holds of the finding.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator
from yarl import URL

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.http import Answer, Sender, UrlSettings
from auditor.alerts.service import ServiceHook
from auditor.alerts.standing import ends, key_of
from auditor.alerts.views import alert_view
from auditor.alerts.wording import AlertWordedSettings, Wording
from auditor.credentials.reference import SecretReference
from auditor.model.finding import Alert
from auditor.model.message import Message
from auditor.model.secret import Secret
from auditor.model.shape import Shape

_KEY_LIMIT: Final = 512
_OWN_LABELS: Final = frozenset({"alertname", "severity", "environment", "rule", "token", "key"})
_FIRST: Final = "finding.opened"
"""Before this event, Alertmanager cannot hold anything of the finding."""
_DESCRIPTION_LIMIT: Final = 8_000
_HELD_LIMIT: Final = 1_000_000
_BATCH: Final = 100
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "; does it want a token?",
    HTTPStatus.FORBIDDEN: "; does it want another token?",
    HTTPStatus.NOT_FOUND: "; is url where Alertmanager is, without /api/v2?",
}

LabelName = Annotated[
    str,
    Shape(
        "[a-zA-Z_][a-zA-Z0-9_]*",
        "the name of a label must be of letters without accents, digits and _ only, and not begin with a digit",
    ),
]
"""What Prometheus takes for a label's name in every version."""


class AlertmanagerSettings(AlertWordedSettings, UrlSettings):
    """A ``[hooks.NAME]`` table with ``type = "alertmanager"``."""

    url: str
    """Where Alertmanager is, ``https://alertmanager.example.com``, with its route prefix and without ``/api/v2``."""
    token: SecretReference | None = None
    """A bearer token, where what stands before Alertmanager wants one; it may send and read alerts."""
    labels: dict[LabelName, str] = Field(default={})
    """Labels of every alert beside ``alertname`` (``Auditor`` and the rule), ``severity``, ``environment``, ``rule``,
    ``token`` and ``key``, for the routes of Alertmanager."""
    first_sweep: Literal["summary", "each"] = "each"
    """What it gets of an environment's first sweep: each finding, for it keeps a state of each, or one ``summary``."""
    firing_days: float = Field(default=30, gt=0, le=3_660)
    """For so long after its last alert a finding fires that neither ends nor is heard of again."""
    resend_minutes: int = Field(default=60, ge=0, le=1_440)
    """How often open findings are sent again, for an Alertmanager that was restarted knows none; 0: never."""

    @model_validator(mode="after")
    def _leaves_own_labels(self) -> Self:
        taken = sorted(_OWN_LABELS & self.labels.keys())
        if taken:
            raise ValueError(f"labels must not set {', '.join(taken)}: auditor does")
        return self


class Alertmanager(ServiceHook):
    """One Alertmanager."""

    def __init__(
        self, name: str, settings: AlertmanagerSettings, token: Secret | None, wording: Wording, sender: Sender
    ) -> None:
        super().__init__(name, wording, sender)
        self.refresh_every = timedelta(minutes=settings.resend_minutes)
        self.stands_for = timedelta(days=settings.firing_days)
        self._more_labels = settings.labels
        self._url = URL(settings.url) / "api/v2/alerts"
        self._token = token

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send how things stand since the alert; Alertmanager itself tells a repetition by its labels."""
        (alert,) = message.alerts
        sent = self._alert(alert)
        held = [] if alert.event == _FIRST else await self._held(alert, sent["labels"], now)
        if ends(alert):
            alerts = [_ended(one, alert) | {"annotations": sent["annotations"]} for one in held]
        else:
            alerts = [sent, *(_ended(one, alert) for one in held if one.labels != sent["labels"])]
        if not alerts:
            return "nothing fires"
        return str(await self._post(alerts, now))

    async def refresh(self, alerts: Sequence[Alert], now: datetime) -> None:
        """Send what fires again, as it was sent before."""
        for start in range(0, len(alerts), _BATCH):
            await self._post([self._alert(alert) for alert in alerts[start : start + _BATCH]], now)

    async def _post(self, alerts: Sequence[dict[str, Any]], now: datetime) -> Answer:
        body = msgspec.json.encode(alerts)
        return await self._sender.post(self._url, body, now, headers=self._headers, hints=_HINTS, quote=_reason)

    async def _held(self, alert: Alert, labels: Mapping[str, str], now: datetime) -> Sequence["_Held"]:
        """Return what Alertmanager holds with the labels of an alert, whatever the severity among them."""
        key = key_of(alert, _KEY_LIMIT)
        matcher = key.replace("\\", "\\\\").replace('"', '\\"')
        answer = await self._sender.get(
            self._url % {"filter": f'key="{matcher}"'},
            now,
            limit=_HELD_LIMIT,
            headers=self._headers,
            hints=_HINTS,
            quote=_reason,
        )
        try:
            held = msgspec.json.decode(answer.body, type=list[_Held])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._sender.failed(self._url, f"{answer}: its list of alerts cannot be read") from None
        # Another hook may tell the same Alertmanager of the finding, with labels of its own.
        return [one for one in held if one.labels | {"severity": labels["severity"]} == labels]

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.reveal()}"} if self._token else {}

    def _alert(self, alert: Alert) -> dict[str, Any]:
        words = self._wording.words(Message.of_one(alert))
        view = alert_view(alert)
        at = alert.at.astimezone(UTC)
        annotations = {
            "summary": words.subject,
            "description": words.body.clipped(_DESCRIPTION_LIMIT).plain(),
            "owner": view.owner,
            "token_name": view.token_name,
            "alert_id": alert.id,
        }
        return {
            "labels": self._labels(alert),
            "annotations": {name: value for name, value in annotations.items() if value},
            "startsAt": min(view.since or at, at),
            "endsAt": at + self.stands_for,
        }

    def _labels(self, alert: Alert) -> dict[str, str]:
        view = alert_view(alert)
        labels = {
            "alertname": f"Auditor {view.rule}" if view.rule else f"Auditor {alert.event.removesuffix('.ended')}",
            "severity": view.severity,
            "environment": view.environment,
            "rule": view.rule,
            "token": view.token,
            "key": key_of(alert, _KEY_LIMIT),
        }
        return self._more_labels | {name: value for name, value in labels.items() if value}


class _Held(msgspec.Struct, frozen=True, rename="camel"):
    """An alert as Alertmanager holds it."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime


def _ended(held: _Held, alert: Alert) -> dict[str, Any]:
    """Return what ends an alert that Alertmanager holds, as of another about the same."""
    at = alert.at.astimezone(UTC)
    return {
        "labels": held.labels,
        "annotations": held.annotations,
        "startsAt": min(held.starts_at, at),
        "endsAt": at,
    }


def _reason(answer: Answer) -> str:
    """Return what Alertmanager says of alerts that it refuses: a JSON text."""
    try:
        return msgspec.json.decode(answer.body, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


async def _open(name: str, settings: AlertmanagerSettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    token = None if settings.token is None else await resolver.resolve(settings.token, f"hooks.{name}.token")
    return Alertmanager(name, settings, token, surroundings.wording, await Sender.open(name, settings, resolver))


KIND: Final = HookKind(
    name="alertmanager", settings=AlertmanagerSettings, open=_open, takes_digests=False, takes_reports=False
)
