"""Slack's incoming webhooks, by docs.slack.dev: *Sending messages using incoming webhooks*, *Block Kit*, *Formatting*.

Limits: header text 150, section text 3,000, 50 blocks, ``text`` 40,000, and some 13,000 in all
(``msg_blocks_too_long``). The blocks are read by Slack's own library, too.
"""

import re
from typing import Any

from aiohttp import web
from slack_sdk.models.blocks import Block

from tests.alerts.strictness import array, closed, json_of, one_of, text, wrong_with

_ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
_LINK = re.compile(r"<https?://[^<>|]+\|[^<>|]+>")

_HEADER = closed(
    {
        "type": one_of("header"),
        "text": closed({"type": one_of("plain_text"), "text": text(150)}, {"emoji": {"type": "boolean"}}),
    },
    {"block_id": text(255)},
)
_SECTION = closed(
    {
        "type": one_of("section"),
        "text": closed({"type": one_of("mrkdwn"), "text": text(3_000)}, {"verbatim": {"type": "boolean"}}),
    },
    {"block_id": text(255)},
)
_MESSAGE = closed(
    {"text": text(40_000), "blocks": array({"oneOf": [_HEADER, _SECTION]}, 50, least=1)},
    {"unfurl_links": {"type": "boolean"}, "unfurl_media": {"type": "boolean"}},
)


class SlackReceiver:
    """One channel."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/services/T00000000/B00000000/capability":
            return web.Response(status=404, text="no_service")
        try:
            message = await json_of(request, 1_000_000)
        except ValueError as error:
            return web.Response(status=400, text=f"invalid_payload {error}")
        wrong = wrong_with(message, _MESSAGE)
        if wrong is not None:
            return web.Response(status=400, text=f"invalid_blocks {wrong}")
        for block in Block.parse_all(message["blocks"]):
            block.validate_json()
        texts = [block["text"] for block in message["blocks"]]
        if sum(len(one["text"]) for one in texts) > 13_000:
            return web.Response(status=400, text="msg_blocks_too_long")
        for one in (*(one["text"] for one in texts if one["type"] == "mrkdwn"), message["text"]):
            if _ENTITY.search(one) or re.search("[<>]", _LINK.sub("", one)):
                return web.Response(status=400, text=f"unescaped {one}")
        self.posted.append(message)
        return web.Response(text="ok")
