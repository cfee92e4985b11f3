"""A workflow of Microsoft Teams that posts cards, by learn.microsoft.com and the schema of adaptivecards.io.

*Create incoming webhooks with Workflows*: a message with one attachment; 28 KB at most. Adaptive Cards 1.4, of which
``RichTextBlock`` and ``TextRun`` are what these cards are made of; in a run no Markdown is read.
"""

from typing import Any

from aiohttp import web

from tests.alerts.strictness import array, closed, json_of, one_of, text, wrong_with

_RUN = closed(
    {"type": one_of("TextRun"), "text": text()},
    {
        "weight": one_of("Default", "Lighter", "Bolder"),
        "size": one_of("Default", "Small", "Medium", "Large", "ExtraLarge"),
        "color": one_of("Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"),
        "fontType": one_of("Default", "Monospace"),
        "selectAction": closed({"type": one_of("Action.OpenUrl"), "url": text(pattern="^https?://")}),
    },
)
_ELEMENT = closed(
    {"type": one_of("RichTextBlock"), "inlines": array(_RUN, 1_000, least=1)},
    {
        "id": text(),
        "spacing": one_of("None", "Small", "Default", "Medium", "Large", "ExtraLarge", "Padding"),
    },
)
_CARD = closed(
    {
        "type": one_of("AdaptiveCard"),
        "version": one_of("1.2", "1.3", "1.4"),
        "body": array(_ELEMENT, 10_000, least=1),
    },
    {
        "$schema": one_of("http://adaptivecards.io/schemas/adaptive-card.json"),
        "fallbackText": text(),
        "msteams": closed({"width": one_of("Full")}),
    },
)
_ATTACHMENT = closed(
    {"contentType": one_of("application/vnd.microsoft.card.adaptive"), "content": _CARD},
    {"contentUrl": {"type": "null"}},
)
_MESSAGE = closed({"type": one_of("message"), "attachments": array(_ATTACHMENT, 1, least=1)})


class TeamsReceiver:
    """One workflow."""

    def __init__(self) -> None:
        self.cards: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("sig") != "capability":
            return _refusal(401, "DirectApiAuthorizationRequired", "the signature is wrong")
        try:
            message = await json_of(request, 28 * 1024)
        except ValueError as error:
            return _refusal(400, "TriggerInputSchemaMismatch", str(error))
        wrong = wrong_with(message, _MESSAGE)
        if wrong is not None:
            return _refusal(400, "TriggerInputSchemaMismatch", wrong)
        self.cards.append(message["attachments"][0]["content"])
        return web.Response(status=202)


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def text_of(card: dict[str, Any]) -> str:
    """Return what a card shows, line by line."""
    return "\n".join("".join(run["text"] for run in element["inlines"]) for element in card["body"])
