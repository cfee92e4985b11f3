"""PagerDuty's Events API v2, by developer.pagerduty.com: *Send an Alert Event* and *Events API v2 Overview*.

An event is 512 KB long at most. Events of one ``dedup_key`` are about one alert: a trigger opens it or adds to it, a
resolve closes it, and one of no open alert is dropped.
"""

from collections import Counter
from typing import Any

from aiohttp import web

from tests.alerts.strictness import closed, json_of, one_of, text, wrong_with

_ROUTING_KEY = text(32, least=32)
_PAYLOAD = closed(
    {
        "summary": text(1024),
        "source": text(),
        "severity": one_of("critical", "error", "warning", "info"),
    },
    {
        "timestamp": text(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$"),
        "component": text(),
        "group": text(),
        "class": text(),
        "custom_details": {"type": "object"},
    },
)
_COMMON = {"routing_key": _ROUTING_KEY, "dedup_key": text(255)}
_EVENT = {
    "oneOf": [
        closed(
            {**_COMMON, "event_action": one_of("trigger"), "payload": _PAYLOAD},
            {"client": text(), "client_url": text()},
        ),
        closed({**_COMMON, "event_action": one_of("acknowledge", "resolve")}),
    ]
}


class PagerDutyReceiver:
    """One service with its alerts."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.open: dict[str, dict[str, Any]] = {}
        """Open alerts by their key, as the last trigger left them."""
        self.opened: Counter[str] = Counter()
        """How often an alert was opened, by its key."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/v2/enqueue":
            return web.Response(status=404)
        try:
            event = await json_of(request, 512 * 1024)
            wrong = wrong_with(event, _EVENT)
        except ValueError as error:
            wrong = str(error)
        if wrong is not None:
            said = {"status": "invalid event", "message": "Event object is invalid", "errors": [wrong]}
            return web.json_response(said, status=400)
        self.events.append(event)
        key = event["dedup_key"]
        if event["event_action"] == "resolve":
            self.open.pop(key, None)
        else:
            self.opened[key] += key not in self.open
            self.open[key] = event["payload"]
        said = {"status": "success", "message": "Event processed", "dedup_key": key}
        return web.json_response(said, status=202)
