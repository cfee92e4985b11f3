"""What hooks hear of a finding over its life: thresholds, flapping, its end, and to whom; all by real sweeps."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from auditor.model.finding import Severity
from auditor.policy.routing.route import Route, Topic
from auditor.policy.routing.routing import Destination
from auditor.policy.routing.windows import DigestSettings, QuietHours, Windows
from auditor.simulator import SimulatedToken
from auditor.store.connection import Pool
from tests.sweep.auditing import DAY, Audit, events, only
from tests.sweep.conftest import NOW, Stage

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

HOUR = timedelta(hours=1)
EXPIRING = only("DT-EXP-03")
ENDLESS = only("DT-EXP-01")


@pytest.fixture
async def stage(staged: Staged) -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


def each(hook: str, **more: Any) -> Destination:
    """A hook that gets every finding of a first sweep, too."""
    return Destination(hook=hook, every_first_finding=True, **more)


class Life:
    """One token, and what the hook ``team`` and others hear of it."""

    def __init__(self, audit: Audit, token: SimulatedToken) -> None:
        self.audit = audit
        self.token = token
        audit.tokens.append(token)

    async def hears(self, hook: str = "team", *, after: timedelta = timedelta()) -> Sequence[str]:
        """Sweep some time later; return what a hook hears, as event and severity."""
        await self.audit.sweep(after)
        return await self.told(hook)

    async def told(self, hook: str = "team") -> Sequence[str]:
        messages = await self.audit.told(hook)
        return [f"{alert.event} {alert.severity}" for message in messages for alert in message.alerts]

    def disable(self) -> None:
        self.audit.stage.world.disable(self.token.token.id)

    def enable(self) -> None:
        self.audit.stage.world.enable(self.token.token.id)


def expiring(database: Pool, stage: Stage, *, days: float) -> Life:
    audit = Audit(database, stage, [each("team")], policy=EXPIRING)
    return Life(audit, stage.world.create("deploy", ["metrics.read"], expiration_date=NOW + days * DAY))


def endless(database: Pool, stage: Stage, *destinations: Destination, owner: str = "alice", **more: Any) -> Life:
    audit = Audit(database, stage, destinations, policy=ENDLESS, **more)
    return Life(audit, stage.world.create("deploy", ["metrics.read"], owner=owner))


async def test_token_is_spoken_of_at_each_threshold_of_its_end_exactly_then_and_once(
    database: Pool, stage: Stage
) -> None:
    life = expiring(database, stage, days=60)
    stage.clock.advance(-HOUR)
    assert await life.hears() == []
    heard: list[tuple[int, str]] = []
    for days in (60, 30, 14, 7, 1):
        stage.clock.advance(NOW + (60 - days) * DAY - stage.clock() - timedelta(seconds=1))
        assert await life.hears() == []
        heard.extend((days, event) for event in await life.hears(after=timedelta(seconds=1)))
        assert await life.hears(after=HOUR) == []
    assert heard == [
        (60, "finding.opened info"),
        (30, "finding.escalated low"),
        (14, "finding.escalated medium"),
        (7, "finding.escalated high"),
        (1, "finding.reminder high"),  # nothing uses it: no worse, but nearer
    ]


async def test_thresholds_that_nobody_was_awake_for_are_spoken_of_as_the_tightest_alone(
    database: Pool, stage: Stage
) -> None:
    life = expiring(database, stage, days=70)
    assert await life.hears() == []
    assert await life.hears(after=58 * DAY) == ["finding.opened medium"]  # over 60 and 30, to 12
    assert await life.hears(after=11.5 * DAY) == ["finding.escalated high"]  # over 7, to half a day
    assert await life.hears(after=HOUR) == []
    assert await life.audit.make_due() == 0


async def test_finding_that_comes_and_goes_is_told_as_flapping_once_and_how_it_settled(
    database: Pool, stage: Stage
) -> None:
    life = endless(database, stage, each("team"))
    assert await life.hears() == ["finding.opened high"]
    heard: list[str] = []
    for _time in range(5):
        life.disable()
        heard.extend(await life.hears(after=HOUR))
        life.enable()
        heard.extend(await life.hears(after=HOUR))
    twice = ["finding.resolved high", "finding.reopened high"] * 2
    assert heard == [*twice, "finding.resolved high", "finding.flapping high"]
    life.disable()
    assert await life.hears(after=HOUR) == []
    stage.clock.advance(DAY)
    await life.audit.make_due()
    assert await life.told() == ["finding.resolved high"]  # it has settled, and so
    life.enable()
    assert await life.hears(after=HOUR) == ["finding.reopened high"]


async def test_hook_of_escalations_hears_the_end_of_what_it_was_told_and_of_nothing_else(
    database: Pool, stage: Stage
) -> None:
    life = endless(database, stage, each("team"), Destination(hook="boss", escalation_after=DAY))
    attended = stage.world.create("attended", ["metrics.read"], owner="alice")
    life.audit.tokens.append(attended)
    await life.audit.sweep()
    keys = {
        alert.data["token_name"]: alert.data["key"] for sent in await life.audit.told("team") for alert in sent.alerts
    }
    assert await life.audit.acknowledge(keys["attended"])
    assert await life.told("boss") == []
    stage.clock.advance(DAY)
    await life.audit.make_due()
    assert await life.told("boss") == ["finding.unattended high"]
    life.disable()
    stage.world.disable(attended.token.id)
    assert await life.hears("boss", after=HOUR) == ["finding.resolved high"]
    assert await life.told("team") == ["finding.resolved high"] * 2
    life.enable()
    assert await life.hears("boss", after=HOUR) == []  # until nobody attends to it again


async def test_hook_hears_the_end_of_a_finding_that_has_eased_below_what_it_wants(database: Pool, stage: Stage) -> None:
    life = endless(
        database, stage, each("team", min_severity=Severity.HIGH), each("never", min_severity=Severity.CRITICAL)
    )
    assert await life.hears() == ["finding.opened high"]
    life.audit.policy = only("DT-EXP-01", severity="low")
    assert await life.hears(after=HOUR) == []
    life.disable()
    assert await life.hears(after=HOUR) == ["finding.resolved low"]
    assert await life.told("never") == []
    life.enable()
    assert await life.hears(after=HOUR) == []  # back, and low
    life.disable()
    assert await life.hears(after=HOUR) == []


async def test_hook_hears_the_end_of_a_finding_that_eased_after_a_summary_of_it(database: Pool, stage: Stage) -> None:
    life = endless(database, stage, Destination(hook="team", min_severity=Severity.HIGH))
    assert await life.hears() == ["finding.opened high"]  # in a digest
    life.audit.policy = only("DT-EXP-01", severity="low")
    await life.audit.sweep(HOUR)
    life.disable()
    assert await life.hears(after=HOUR) == ["finding.resolved low"]


async def test_hook_hears_the_end_of_a_finding_whose_owner_is_another_now(database: Pool, stage: Stage) -> None:
    alice = Route(owner=("alice",))
    life = endless(
        database,
        stage,
        each("team", only=[alice]),
        each("beginnings", only=[Route(owner=("alice",), about=(Topic.OPENED,))]),
        each("no ends", exempt=[Route(about=(Topic.RESOLVED,))]),
        each("bob", only=[Route(owner=("bob",))]),
    )
    assert await life.hears() == ["finding.opened high"]
    assert await life.told("no ends") == await life.told("beginnings") == ["finding.opened high"]
    stage.world.change(life.token.token.id, owner="carol")
    life.disable()
    assert await life.hears(after=HOUR) == ["finding.resolved high"]
    for hook in ("beginnings", "no ends", "bob"):
        assert await life.told(hook) == []


NIGHT = Windows(DigestSettings(rest="08:00"), QuietHours(start="11:00", end="14:00", unless=Severity.CRITICAL))


async def test_summary_of_a_first_sweep_waits_for_the_end_of_quiet_hours(database: Pool, stage: Stage) -> None:
    life = endless(
        database,
        stage,
        Destination(hook="team", windows=NIGHT),
        Destination(hook="pager", windows=NIGHT, takes_digests=False),
    )
    for number in range(3):
        life.audit.tokens.append(stage.world.create(f"token {number}", ["metrics.read"], owner="alice"))
    await life.audit.sweep()  # at noon
    assert await life.told("team") == await life.told("pager") == []
    stage.clock.advance(2 * HOUR - timedelta(seconds=1))
    assert await life.audit.make_due() == 0
    stage.clock.advance(timedelta(seconds=1))
    assert await life.audit.make_due() == 2
    (digest,) = await life.audit.told("team")
    assert (digest.is_digest, digest.environment, digest.owner, digest.at) == (True, "prod", "alice", NOW)
    assert events([digest]) == ["finding.opened"] * 4
    assert await life.told("pager") == ["findings.summary high"]
    assert await life.audit.make_due() == 0


async def test_summary_leaves_in_quiet_hours_where_what_it_tells_is_bad_enough(database: Pool, stage: Stage) -> None:
    life = endless(database, stage, Destination(hook="team", windows=NIGHT))
    life.audit.policy = only("DT-EXP-01", severity="critical")
    assert await life.hears() == ["finding.opened critical"]


async def test_owner_whom_nobody_knows_falls_back_to_the_default(database: Pool, stage: Stage) -> None:
    life = endless(
        database,
        stage,
        each("team"),
        owners={"alice": ("alice@example.com",), "*": ("security@example.com",)},
        owner="mallory",
    )
    life.audit.tokens.append(stage.world.create("other", ["metrics.read"], owner="Alice"))
    await life.audit.sweep()
    sent = {message.alerts[0].data["owner"]: message.recipients for message in await life.audit.told("team")}
    assert sent == {"mallory": ("security@example.com",), "Alice": ("alice@example.com",)}
