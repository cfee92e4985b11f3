"""What stands is told again to a hook that forgets: here an Alertmanager that was restarted."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from auditor.alerts.base import Hook
from auditor.alerts.deliveries import drain
from auditor.alerts.refreshing import Refresher
from auditor.model.errors import DeliveryFailed
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.policy.registry import rules
from auditor.policy.waivers import WaiverEntry
from auditor.store.connection import Pool
from auditor.sweep.sweeper import sweep
from tests.alerts.services import connected
from tests.sweep.conftest import NOW, ListSource, Stage, stored

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

HOUR = timedelta(hours=1)
ONE_RULE = {"rules": {rule: {"enabled": False} for rule in rules() if rule != "DT-EXP-01"}}


@dataclass
class Told:
    """An environment of three tokens that never expire, and an Alertmanager that was told of each."""

    stage: Stage
    database: Pool
    hook: Hook
    alertmanager: Any
    secrets: list[str]
    refresher: Refresher

    async def sweep(self, *waivers: WaiverEntry) -> None:
        """Sweep, and deliver what comes of it."""
        source = ListSource("vault", stored(self.secrets))
        subject = self.stage.subject(source, policy=ONE_RULE, hooks={"team": Severity.INFO})
        await sweep(self.database, replace(subject, waivers=waivers))
        await drain(self.database, {"team": self.hook}, clock=self.stage.clock, seconds=20)

    async def refresh(self) -> list[str]:
        """Restart Alertmanager and refresh the hook; return the names of the tokens that fire then."""
        self.alertmanager.alerts.clear()
        await self.refresher.run({"team": self.hook})
        firing = self.alertmanager.firing(self.stage.clock())
        alerts = [alert for alert in self.alertmanager.alerts.values() if alert["labels"] in firing]
        return sorted(alert["annotations"]["token_name"] for alert in alerts)


@asynccontextmanager
async def told(staged: Staged, database: Pool, **settings: Any) -> AsyncIterator[Told]:
    async with staged() as stage, connected("alertmanager", **settings) as (hook, alertmanager, _receiver):
        secrets = [stage.world.create(name, ["metrics.read"], owner=name).secret for name in ("one", "three", "two")]
        scene = Told(stage, database, hook, alertmanager, secrets, Refresher(database, stage.clock))
        await scene.sweep()
        assert len(alertmanager.alerts) == 3
        yield scene


async def test_what_is_open_fires_again_after_a_restart(database: Pool, staged: Staged) -> None:
    async with told(staged, database) as scene:
        before = dict(scene.alertmanager.alerts)
        assert await scene.refresh() == ["one", "three", "two"]
        assert scene.alertmanager.alerts == before


async def test_what_has_ended_or_is_waived_does_not(database: Pool, staged: Staged) -> None:
    terms = {
        "owner": "one",
        "approver": "jane.doe",
        "reason": "r",
        "ticket": "T-1",
        "since": NOW,
        "until": NOW + HOUR * 99,
    }
    waiver = WaiverEntry.model_validate({"id": "w1", **terms, "rules": ["DT-EXP-01"], "only": [{"owner": "one"}]})
    async with told(staged, database) as scene:
        scene.stage.world.disable(scene.stage.world.find(lambda token: token.name == "two")[0].id)
        scene.stage.clock.advance(HOUR)
        await scene.sweep(waiver)
        assert await scene.refresh() == ["three"]


async def test_hook_is_told_again_when_its_time_has_come(database: Pool, staged: Staged) -> None:
    async with told(staged, database, resend_minutes=60) as scene:
        assert len(await scene.refresh()) == 3
        scene.stage.clock.advance(HOUR / 2)
        assert await scene.refresh() == []
        scene.stage.clock.advance(HOUR / 2)
        assert len(await scene.refresh()) == 3


async def test_what_was_last_told_too_long_ago_fires_no_more(database: Pool, staged: Staged) -> None:
    async with told(staged, database, firing_days=1) as scene:
        scene.stage.clock.advance(25 * HOUR)
        assert await scene.refresh() == []


async def test_hook_that_is_told_once_only_is_left_alone(database: Pool, staged: Staged) -> None:
    async with told(staged, database, resend_minutes=0) as scene:
        assert await scene.refresh() == []


class Away:
    """A hook that fails whenever it is told again."""

    refresh_every = HOUR
    stands_for = 9 * HOUR
    name = "team"

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def deliver(self, message: Message, now: datetime) -> str:
        raise AssertionError("never")

    async def refresh(self, alerts: object, now: datetime) -> None:
        raise self.error

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "event"),
    [(DeliveryFailed("hooks.team: away"), "hook_not_refreshed"), (ValueError("a defect"), "hook_failed")],
)
async def test_hook_that_fails_stops_nobody_and_is_told_when_its_time_comes_again(
    database: Pool, staged: Staged, error: Exception, event: str
) -> None:
    async with told(staged, database) as scene:
        scene.hook = Away(error)
        with capture_logs() as logged:
            await scene.refresh()
            await scene.refresh()
            scene.stage.clock.advance(HOUR)
            await scene.refresh()
    assert [line["event"] for line in logged] == [event, event]
