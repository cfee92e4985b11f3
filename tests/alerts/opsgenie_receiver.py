"""Opsgenie's Alert API, by docs.opsgenie.com: *Create Alert*, *Close Alert* and *Update Alert Priority*.

An alias is the key: creating an alert whose alias is open counts it up, and alters nothing else of it. Closing one
that is not open is taken, too, as everything is processed later.
"""

from collections import Counter
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.alerts.strictness import array, closed, json_of, one_of, text, wrong_with

_ALERT = closed(
    {"message": text(130)},
    {
        "alias": text(512),
        "description": text(15_000),
        "responders": array(closed({"name": text(), "type": one_of("team", "user", "escalation", "schedule")}), 50),
        "tags": array(text(50), 20),
        "details": {"type": "object", "additionalProperties": {"type": "string"}},
        "entity": text(512),
        "source": text(100),
        "priority": one_of("P1", "P2", "P3", "P4", "P5"),
    },
)
_CLOSING = closed({}, {"user": text(100), "source": text(100), "note": text(25_000)})
_PRIORITY = closed({"priority": one_of("P1", "P2", "P3", "P4", "P5")})
_DETAILS_LIMIT = 8_000


class OpsgenieReceiver:
    """One account with its alerts."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.open: Counter[str] = Counter()
        """How often open alerts were created, by alias."""
        self.priorities: dict[str, str] = {}
        """By alias."""
        self.closed: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "GenieKey capability-of-opsgenie":
            return _said(401, "Could not authenticate")
        parts = request.raw_path.partition("?")[0].split("/")
        action = parts[4] if len(parts) == 5 else ""
        try:
            body = await json_of(request, 1_000_000, "PUT" if action == "priority" else "POST")
        except ValueError as error:
            return _said(400, str(error))
        if request.path == "/v2/alerts" and not request.query:
            return self._create(body)
        if parts[:3] == ["", "v2", "alerts"] and request.query == {"identifierType": "alias"}:
            if action == "close":
                return self._close(unquote(parts[3]), body)
            if action == "priority":
                return self._prioritise(unquote(parts[3]), body)
        return _said(404, "Not found")

    def _create(self, body: Any) -> web.StreamResponse:
        wrong = wrong_with(body, _ALERT)
        if (
            wrong is None
            and sum(len(key) + len(value) for key, value in body.get("details", {}).items()) > _DETAILS_LIMIT
        ):
            wrong = "details are too long"
        if wrong is not None:
            return _said(422, "Request body is not processable", {"body": wrong})
        self.created.append(body)
        if body["alias"] not in self.open:
            self.priorities[body["alias"]] = body["priority"]
        self.open[body["alias"]] += 1
        return _said(202, "Request will be processed")

    def _prioritise(self, alias: str, body: Any) -> web.StreamResponse:
        wrong = wrong_with(body, _PRIORITY)
        if wrong is not None:
            return _said(422, "Request body is not processable", {"body": wrong})
        self.priorities[alias] = body["priority"]
        return _said(202, "Request will be processed")

    def _close(self, alias: str, body: Any) -> web.StreamResponse:
        wrong = wrong_with(body, _CLOSING)
        if wrong is not None:
            return _said(422, "Request body is not processable", {"body": wrong})
        self.open.pop(alias, None)
        self.closed.append(alias)
        return _said(202, "Request will be processed")


def _said(status: int, message: str, errors: dict[str, str] | None = None) -> web.Response:
    said = {"message": message, "took": 0.001, "requestId": "43a29c5c-3dbf-4fa4-9c26-f4f71023e120"}
    return web.json_response(said | ({"errors": errors} if errors else {}), status=status)
