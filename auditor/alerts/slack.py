"""Hook ``slack``: a message of blocks to an incoming webhook of Slack, or of what understands the same.

Contract: docs.slack.dev, *Sending messages using incoming webhooks* and *Block Kit*: a ``header`` of 150 characters at
most, ``section`` texts of 3,000, 50 blocks; ``verbatim`` keeps Slack from making links and mentions of what it finds.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from yarl import URL

from auditor.alerts.base import HookKind
from auditor.alerts.forms import escaped_for_slack
from auditor.alerts.http import Answer, Sender
from auditor.alerts.service import SecretUrlSettings, ServiceHook, at_secret_url
from auditor.alerts.wording import Wording, Words
from auditor.credentials.reference import SecretReference
from auditor.model.message import Message
from auditor.outside_text import cut

_HEADER_LIMIT: Final = 150
_SECTION_LIMIT: Final = 3_000
_BLOCKS_LIMIT: Final = 50
_TOTAL_LIMIT: Final = 12_000
"""Of all blocks together. Slack documents none and refuses some 13,000 characters (``msg_blocks_too_long``)."""
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.FORBIDDEN: "; may this webhook still post there?",
    HTTPStatus.NOT_FOUND: "; was the webhook removed, or its channel?",
    HTTPStatus.GONE: "; its channel is archived; make a webhook for another",
}


class SlackSettings(SecretUrlSettings):
    """A ``[hooks.NAME]`` table with ``type = "slack"``."""

    url: SecretReference
    """The incoming webhook's URL, ``https://hooks.slack.com/services/…``: whoever has it can post."""


class Slack(ServiceHook):
    """One incoming webhook."""

    def __init__(self, name: str, url: URL, wording: Wording, sender: Sender) -> None:
        super().__init__(name, wording, sender)
        self._url = url

    async def deliver(self, message: Message, now: datetime) -> str:
        """Post the message. Its id is the block id of the header; Slack itself takes a repetition for a new message."""
        candidates = (_blocks(words, message.id) for words in self._wording.shorter_and_shorter(message))
        blocks = next(blocks for blocks in candidates if _fits(blocks))
        text = escaped_for_slack(blocks[0]["text"]["text"])  # what a notification shows
        body = {"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}
        return str(await self._sender.post(self._url, msgspec.json.encode(body), now, hints=_HINTS, quote=_reason))


def _blocks(words: Words, message_id: str) -> list[dict[str, Any]]:
    header = {
        "type": "header",
        "block_id": f"auditor-{message_id}",
        "text": {"type": "plain_text", "text": cut(words.subject, _HEADER_LIMIT), "emoji": False},
    }
    sections = [
        {"type": "section", "text": {"type": "mrkdwn", "text": part, "verbatim": True}}
        for text in words.body.slack()
        for part in _parts(text)
    ]
    return [header, *sections]


def _parts(text: str) -> Iterator[str]:
    """Split a text between its lines so that each part fits into a section."""
    part = ""
    for line in text.split("\n"):
        if part and len(part) + 1 + len(line) > _SECTION_LIMIT:
            yield part
            part = line
        else:
            part = f"{part}\n{line}" if part else line
    yield part


def _fits(blocks: list[dict[str, Any]]) -> bool:
    lengths = [len(block["text"]["text"]) for block in blocks]
    return len(blocks) <= _BLOCKS_LIMIT and max(lengths) <= _SECTION_LIMIT and sum(lengths) <= _TOTAL_LIMIT


def _reason(answer: Answer) -> str:
    """Return the word that Slack refuses with, such as ``invalid_payload`` or ``channel_is_archived``."""
    return answer.body.decode(errors="replace")


KIND: Final = HookKind(name="slack", settings=SlackSettings, open=at_secret_url(Slack))
