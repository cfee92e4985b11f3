"""Slack, as its channel shows it."""

import pytest

from auditor.alerts.samples import sample_alerts
from auditor.model.errors import ConfigError, DeliveryFailed
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.alerts.receivers import PUBLIC_ID, answering, message, now, receiving
from tests.alerts.services import CASES, connected, hook_to

OPENED = Message.of_one(sample_alerts(SAMPLED_AT)["finding.opened"])


async def test_message_is_a_header_and_sections() -> None:
    async with connected("slack") as (hook, slack, _receiver):
        await hook.deliver(OPENED, now())
    (posted,) = slack.posted
    subject = f"CRITICAL prod: No expiration date: ingest-frankfurt ({PUBLIC_ID})"
    assert posted["text"] == subject
    assert posted["blocks"][0] == {
        "type": "header",
        "block_id": f"auditor-{OPENED.id}",
        "text": {"type": "plain_text", "text": subject, "emoji": False},
    }
    assert posted["blocks"][1] == {
        "type": "section",
        "text": {"type": "mrkdwn", "text": "Never expires and holds high-risk scopes.", "verbatim": True},
    }
    assert posted["blocks"][2]["text"]["text"].startswith(
        f"*Where*: prod, `{PUBLIC_ID}` “ingest-frankfurt”, owner svc-"
    )
    assert (posted["unfurl_links"], posted["unfurl_media"]) == (False, False)


async def test_text_from_outside_mentions_nobody_and_links_nowhere() -> None:
    async with connected("slack") as (hook, slack, _receiver):
        await hook.deliver(message(title="<!here> & <https://evil.example|Slack>", message="*_~ `x"), now())
    (posted,) = slack.posted
    assert posted["text"].startswith("HIGH prod: &lt;!here&gt; &amp; &lt;https://evil.example|Slack&gt;")
    assert posted["blocks"][0]["text"]["text"].startswith("HIGH prod: <!here> & <https://")  # plain text, not mrkdwn
    assert posted["blocks"][1]["text"]["text"] == "∗ˍ∼ ˋx."  # noqa: RUF001


async def test_refusal_says_the_word_that_slack_said() -> None:
    async with receiving(answering(404, "no_service")) as receiver, hook_to(CASES["slack"], receiver.url) as hook:
        with pytest.raises(DeliveryFailed, match="HTTP 404: no_service; was the webhook removed, or its channel"):
            await hook.deliver(OPENED, now())


async def test_url_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(
        ConfigError, match=r"^hooks\.team\.url: what it points to will not do: url must be https"
    ) as raised:
        async with hook_to(CASES["slack"], "http://hooks.slack.com"):
            pass
    assert "capability" not in str(raised.value)
