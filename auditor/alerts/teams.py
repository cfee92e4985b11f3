"""Hook ``teams``: an adaptive card to a workflow of Microsoft Teams that posts what its webhook gets.

Such workflows (*Post to a channel when a webhook request is received*) take the place of the retired connectors.

Contract: learn.microsoft.com, *Create incoming webhooks with Workflows for Microsoft Teams*, and adaptivecards.io: a
message with one attachment, a card of version 1.4; a message is 28 KB long at most. Text stands in runs
(``TextRun``), in which no Markdown is read. The workflow answers 202 when it has taken the request: that it could post
the card, it tells only in its own run history.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from yarl import URL

from auditor.alerts.base import HookKind
from auditor.alerts.blocks import Block, Line, Run, Shape, Style
from auditor.alerts.http import Answer, Sender
from auditor.alerts.service import SecretUrlSettings, ServiceHook, at_secret_url
from auditor.alerts.wording import Wording, Words
from auditor.credentials.reference import SecretReference
from auditor.model.finding import Severity
from auditor.model.message import Message

_SIZE_LIMIT: Final = 20_000
"""Bytes of a request at most: Teams takes 28 KB of what the workflow makes of it."""
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "; is the url whole, with its sig=…?",
    HTTPStatus.FORBIDDEN: "; is the url whole, with its sig=…?",
    HTTPStatus.NOT_FOUND: "; was the workflow removed?",
}


class TeamsSettings(SecretUrlSettings):
    """A ``[hooks.NAME]`` table with ``type = "teams"``."""

    url: SecretReference
    """The workflow's URL, ``https://….api.powerplatform.com/…`` or ``https://….logic.azure.com/…``, with its ``sig``:
    whoever has it can post."""


class Teams(ServiceHook):
    """One workflow."""

    def __init__(self, name: str, url: URL, wording: Wording, sender: Sender) -> None:
        super().__init__(name, wording, sender)
        self._url = url

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send the card. The message's id is the id of its first element; a repetition is a new message in Teams."""
        candidates = (_body(words, message) for words in self._wording.shorter_and_shorter(message))
        body = next(body for body in candidates if len(body) <= _SIZE_LIMIT)
        return str(await self._sender.post(self._url, body, now, hints=_HINTS, quote=_reason))


def _body(words: Words, message: Message) -> bytes:
    worst = max(message.counts, key=lambda severity: severity.rank)
    title = {"type": "TextRun", "text": words.subject, "weight": "Bolder", "size": "Medium"}
    if worst.rank >= Severity.HIGH.rank:
        title["color"] = "Attention"
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": words.subject,
        "msteams": {"width": "Full"},
        "body": [
            {"type": "RichTextBlock", "id": f"auditor-{message.id}", "inlines": [title]},
            *(element for block in words.body.blocks for element in _elements(block)),
        ],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return msgspec.json.encode({"type": "message", "attachments": [attachment]})


def _elements(block: Block) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(block.lines):
        spacing = "Medium" if number == 0 else "None"
        yield {"type": "RichTextBlock", "spacing": spacing, "inlines": _inlines(block.shape, line)}


def _inlines(shape: Shape, line: Line) -> list[dict[str, Any]]:
    bullet = [{"type": "TextRun", "text": "• "}] if shape is Shape.LIST else []
    return bullet + [_inline(run, is_bold=shape is Shape.HEADING) for run in line]


def _inline(run: Run, *, is_bold: bool) -> dict[str, Any]:
    inline: dict[str, Any] = {"type": "TextRun", "text": run.text}
    if is_bold or run.style is Style.STRONG:
        inline["weight"] = "Bolder"
    elif run.style is Style.CODE:
        inline["fontType"] = "Monospace"
    elif run.style is Style.LINK:
        inline["selectAction"] = {"type": "Action.OpenUrl", "url": run.url}
    return inline


def _reason(answer: Answer) -> str:
    """Return what the workflow's host says: ``{"error": {"code": …, "message": …}}``."""
    try:
        error = msgspec.json.decode(answer.body)["error"]
        return f"{error['code']}: {error['message']}"
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
        return ""


KIND: Final = HookKind(name="teams", settings=TeamsSettings, open=at_secret_url(Teams))
