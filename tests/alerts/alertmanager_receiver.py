"""Alertmanager, by the OpenAPI that it serves itself (``contracts/alertmanager-v2.json``, Apache-2.0, of version 0.25).

What the document leaves open is taken from its source and from trying: an alert needs a label, names of labels have a
form, empty values are dropped, an end is not before its start; the labels are the key, and what ``endsAt`` is not past
fires. Properties that the document does not have are refused here, where Alertmanager passes them over.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import best_match

from tests.alerts.strictness import json_of

_OPENAPI = json.loads((Path(__file__).parent / "contracts" / "alertmanager-v2.json").read_text())
_BODY = _OPENAPI["paths"]["/alerts"]["post"]["parameters"][0]["schema"]
_CONTRACT = Draft4Validator({**_BODY, "definitions": _OPENAPI["definitions"]}, format_checker=FormatChecker())
_ANSWER = _OPENAPI["paths"]["/alerts"]["get"]["responses"]["200"]["schema"]
_GETTABLE = Draft4Validator({**_ANSWER, "definitions": _OPENAPI["definitions"]}, format_checker=FormatChecker())
_MATCHER = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_KNOWN = {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = frozenset[tuple[str, str]]


class AlertmanagerReceiver:
    """One Alertmanager with its alerts."""

    def __init__(self) -> None:
        self.alerts: dict[Labels, dict[str, Any]] = {}
        self.now = datetime.min.replace(tzinfo=UTC)
        """A clock that tests put forward."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer capability-of-alertmanager":
            return web.Response(status=401)
        if request.path != f"/prefix{_OPENAPI['basePath']}alerts":
            return web.Response(status=404)
        if request.method == "GET":
            return self._held(request)
        try:
            alerts = await json_of(request, 1_000_000)
            for alert in alerts:
                _check(alerts, alert)
        except ValueError as error:
            return web.json_response(str(error), status=400)
        for alert in alerts:
            self.alerts[frozenset(alert["labels"].items())] = alert
        return web.Response()

    def _held(self, request: web.Request) -> web.StreamResponse:
        """Answer with what fires, as of the last instant that anything was sent of, and matches."""
        filters = request.query.getall("filter", [])
        matchers = [_MATCHER.fullmatch(text) for text in filters]
        if request.query.keys() > {"filter"} or not all(matchers):
            return web.json_response("bad matcher format", status=400)
        wanted = {match[1]: re.sub(r"\\(.)", r"\1", match[2]) for match in matchers if match}
        found = [
            {
                **alert,
                "fingerprint": "d49e2c4b7ffdbff4",
                "receivers": [{"name": "default"}],
                "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
                "updatedAt": alert["startsAt"],
            }
            for alert in self.alerts.values()
            if wanted.items() <= alert["labels"].items() and alert["labels"] in self.firing(self.now)
        ]
        assert best_match(_GETTABLE.iter_errors(found)) is None
        return web.json_response(found)

    def firing(self, at: datetime) -> list[dict[str, str]]:
        """Return the labels of what fires at an instant."""
        return [alert["labels"] for alert in self.alerts.values() if datetime.fromisoformat(alert["endsAt"]) > at]


def _check(alerts: Any, alert: dict[str, Any]) -> None:
    error = best_match(_CONTRACT.iter_errors(alerts))
    if error is not None:
        raise ValueError(error.message[:200])
    names = [*alert["labels"], *alert.get("annotations", {})]
    if not alert.keys() <= _KNOWN or not alert["labels"] or not all(map(_NAME.fullmatch, names)):
        raise ValueError("invalid label set")
    if not all(alert["labels"].values()):
        raise ValueError("a label is empty")
    if datetime.fromisoformat(alert["endsAt"]) < datetime.fromisoformat(alert["startsAt"]):
        raise ValueError("start time must be before end time")
