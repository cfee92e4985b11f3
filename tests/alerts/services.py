"""The services that hooks send to, each played by a strict receiver, and hooks that send there."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from yarl import URL

from auditor.alerts import alertmanager, dynatrace_events, dynatrace_security, opsgenie, pagerduty, slack, teams
from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.wording import SHIPPED, Wording
from auditor.credentials.reference import Resolver
from tests.alerts.alertmanager_receiver import AlertmanagerReceiver
from tests.alerts.dynatrace_receivers import EventsReceiver, SecurityEventsReceiver
from tests.alerts.opsgenie_receiver import OpsgenieReceiver
from tests.alerts.pagerduty_receiver import PagerDutyReceiver
from tests.alerts.receivers import Receiver, receiving
from tests.alerts.slack_receiver import SlackReceiver
from tests.alerts.teams_receiver import TeamsReceiver


class Service(Protocol):
    """Takes what its contract allows and refuses everything else, as the service would."""

    async def answer(self, request: web.Request) -> web.StreamResponse: ...


@dataclass(frozen=True)
class Case:
    """A kind of hook with the service that it sends to."""

    kind: HookKind
    service: Callable[[], Service]
    path: str
    """Of the receiver's URL, where the hook's settings hold one."""
    settings: Mapping[str, Any]
    secret: str
    """In ``$SECRET``; with ``{url}`` it is the URL itself."""
    other: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    case.kind.name: case
    for case in (
        Case(
            slack.KIND, SlackReceiver, "/services/T00000000/B00000000/capability", {"url": {"env": "SECRET"}}, "{url}"
        ),
        Case(
            teams.KIND,
            TeamsReceiver,
            "/workflows/1/invoke?api-version=1&sig=capability",
            {"url": {"env": "SECRET"}},
            "{url}",
        ),
        Case(
            pagerduty.KIND,
            PagerDutyReceiver,
            "",
            {"routing_key": {"env": "SECRET"}},
            "capability000000000000000000000k",
        ),
        Case(opsgenie.KIND, OpsgenieReceiver, "", {"key": {"env": "SECRET"}}, "capability-of-opsgenie"),
        Case(
            alertmanager.KIND,
            AlertmanagerReceiver,
            "/prefix",
            {"token": {"env": "SECRET"}},
            "capability-of-alertmanager",
        ),
        Case(
            dynatrace_events.KIND,
            EventsReceiver,
            "/e/abc",
            {"token": {"env": "SECRET"}},
            "capability-of-dynatrace",
        ),
        Case(
            dynatrace_security.KIND,
            SecurityEventsReceiver,
            "/e/abc",
            {"token": {"env": "SECRET"}},
            "capability-of-dynatrace",
        ),
    )
}


@asynccontextmanager
async def hook_to(case: Case, receiver_url: str, wording: Wording = SHIPPED, **settings: Any) -> AsyncIterator[Hook]:
    """Open a hook of a case that sends to a receiver on loopback."""
    url = str(URL(receiver_url).origin()) + case.path
    is_secret = case.secret == "{url}"
    values = {
        "type": case.kind.name,
        "allow_http": True,
        **({} if is_secret else {"url": url}),
        **case.settings,
        **settings,
    }
    resolver = Resolver(Path(), {"SECRET": url if is_secret else case.secret})
    hook = await case.kind.open("team", case.kind.settings.model_validate(values), Surroundings(resolver, wording))
    try:
        yield hook
    finally:
        await hook.close()


@asynccontextmanager
async def connected(name: str, **settings: Any) -> AsyncIterator[tuple[Hook, Any, Receiver]]:
    """Open a hook of a kind and play its service; yields hook, service and the requests that arrived."""
    case = CASES[name]
    service = case.service()
    async with receiving(service.answer) as receiver, hook_to(case, receiver.url, **settings) as hook:
        yield hook, service, receiver
