"""A Dynatrace environment that takes events, by docs.dynatrace.com: *Events API v2 - POST an event*, *OpenPipeline
Ingest API - POST Built-in security events*, and *Semantic Dictionary, Security events, Detections*.

The built-in endpoint itself takes anything. What is required here is what the app Threats & Exploits shows findings by
and what Dynatrace's own rules for mappings ask, but for ``event.id``, which is made on arrival.
"""

from typing import Any

from aiohttp import web

from tests.alerts.strictness import array, closed, json_of, one_of, text, wrong_with

_PROPERTIES = {
    "type": "object",
    "maxProperties": 100,
    "propertyNames": {"maxLength": 100, "pattern": r"^(?!dt\.)|^dt\.(event|davis|entity)\."},
    "additionalProperties": {"type": "string", "maxLength": 4_096},
}
_EVENT = closed(
    {"eventType": one_of("CUSTOM_ALERT", "CUSTOM_INFO"), "title": text()},
    {
        "properties": _PROPERTIES,
        "timeout": {"type": "integer", "minimum": 1, "maximum": 360},
        "entitySelector": text(),
    },
)
_INSTANT = text(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
_FINDING = {
    "type": "object",
    "properties": {
        "timestamp": _INSTANT,
        "event.kind": {"const": "SECURITY_EVENT"},
        "event.type": {"const": "DETECTION_FINDING"},
        "finding.severity": one_of("critical", "high", "medium", "low", "info"),
        "finding.status": one_of("OPEN", "RESOLVED"),
        "finding.time.created": _INSTANT,
        "dt.security.risk.level": one_of("CRITICAL", "HIGH", "MEDIUM", "LOW", "NONE"),
    },
    "required": [
        *("timestamp", "event.kind", "event.type", "event.provider", "product.name", "product.vendor"),
        *("finding.id", "finding.title", "finding.type", "finding.severity", "finding.status", "finding.time.created"),
        *("dt.security.risk.level", "object.id", "object.name", "object.type"),
    ],
    "additionalProperties": text(),
    # What external products say of compliance goes elsewhere: these are of Dynatrace's own.
    "propertyNames": {"pattern": r"^(?!compliance\.|vulnerability\.|scan\.)"},
}


class _Environment:
    """What both have in common."""

    token = "capability-of-dynatrace"
    path = ""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def wrong(self, body: Any) -> str | None:
        raise NotImplementedError

    def taken(self, body: Any) -> web.StreamResponse:
        raise NotImplementedError

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != f"/e/abc{self.path}":
            return _refused(404, "Not found")
        if request.headers.get("Authorization") != f"Api-Token {self.token}":
            return _refused(403, "Token is missing required scope")
        try:
            body = await json_of(request, 1_000_000)
        except ValueError as error:
            return _refused(400, str(error))
        wrong = self.wrong(body)
        return self.taken(body) if wrong is None else _refused(400, "Constraints violated.", wrong)


class EventsReceiver(_Environment):
    """Events API v2."""

    path = "/api/v2/events/ingest"
    status = "OK"

    def wrong(self, body: Any) -> str | None:
        return wrong_with(body, _EVENT)

    def problems(self) -> int:
        """Return how many problems there are: what is sent again of one is no other while it is open."""
        return len({repr(event) for event in self.events if event["eventType"] == "CUSTOM_ALERT"})

    def taken(self, body: Any) -> web.StreamResponse:
        self.events.append(body)
        result = {"correlationId": "11ed8b1c3bbd68a8", "status": self.status}
        return web.json_response({"reportCount": 1, "eventIngestResults": [result]}, status=201)


class SecurityEventsReceiver(_Environment):
    """The built-in endpoint of OpenPipeline."""

    path = "/platform/ingest/v1/security.events"

    def wrong(self, body: Any) -> str | None:
        return wrong_with(body, array(_FINDING, 1_000, least=1))

    def taken(self, body: Any) -> web.StreamResponse:
        self.events.extend(body)
        return web.Response(status=202)


def _refused(status: int, message: str, *violations: str) -> web.Response:
    error = {"code": status, "message": message, "constraintViolations": [{"message": one} for one in violations]}
    return web.json_response({"error": error}, status=status)
