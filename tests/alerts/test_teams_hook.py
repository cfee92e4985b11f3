"""Microsoft Teams, as its channel shows it."""

import pytest

from auditor.alerts.samples import sample_alerts
from auditor.alerts.wording import SHIPPED, Source, Wording
from auditor.model.errors import DeliveryFailed
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.alerts.receivers import answering, message, now, receiving
from tests.alerts.services import CASES, connected, hook_to
from tests.alerts.teams_receiver import text_of

OPENED = Message.of_one(sample_alerts(SAMPLED_AT)["finding.opened"])


async def test_card_says_what_the_plain_text_says() -> None:
    async with connected("teams") as (hook, teams, _receiver):
        await hook.deliver(OPENED, now())
    (card,) = teams.cards
    words = SHIPPED.words(OPENED)
    assert text_of(card).splitlines() == [words.subject, *filter(None, words.body.plain().splitlines())]
    assert card["fallbackText"] == words.subject
    assert card["body"][0]["id"] == f"auditor-{OPENED.id}"
    assert card["body"][0]["inlines"][0]["color"] == "Attention"


async def test_markdown_from_outside_stays_text() -> None:
    async with connected("teams") as (hook, teams, _receiver):
        await hook.deliver(message(message="[x](https://evil.example) **b**"), now())
    (card,) = teams.cards
    assert card["body"][1]["inlines"] == [{"type": "TextRun", "text": "[x](https://evil.example) **b**."}]


async def test_link_of_a_template_can_be_clicked() -> None:
    wording = Wording({"alert": Source("{{ 'https://wiki.example.com/' | link('wiki') }}", "alert.j2")})
    async with connected("teams", wording=wording) as (hook, teams, _receiver):
        await hook.deliver(OPENED, now())
    assert teams.cards[0]["body"][1]["inlines"] == [
        {
            "type": "TextRun",
            "text": "wiki",
            "selectAction": {"type": "Action.OpenUrl", "url": "https://wiki.example.com/"},
        }
    ]


async def test_refusal_says_what_the_workflow_said() -> None:
    answer = answering(404, '{"error": {"code": "WorkflowNotFound", "message": "gone"}}')
    async with receiving(answer) as receiver, hook_to(CASES["teams"], receiver.url) as hook:
        with pytest.raises(DeliveryFailed, match="HTTP 404: WorkflowNotFound: gone; was the workflow removed"):
            await hook.deliver(OPENED, now())
