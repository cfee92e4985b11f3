"""A simulated environment, a source in memory and a policy, joined to a subject of a sweep."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

import pytest

from auditor.credentials.reference import SecretReference
from auditor.dynatrace.client import Client
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.model.errors import SourceError
from auditor.model.finding import Severity
from auditor.model.secret import Secret
from auditor.model.token import Location, StoredToken
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules_of
from auditor.policy.routing.routing import Destination, Routing
from auditor.simulator import Capacity, Environment, Faults, SteppedClock, World, serve
from auditor.sources.base import Source
from auditor.sweep.subject import Subject

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def routing_to(hooks: Mapping[str, Severity]) -> Routing:
    """Hooks that get every alert of a severity or worse at once, those of a first sweep, too."""
    return Routing(
        [Destination(hook=hook, min_severity=least, every_first_finding=True) for hook, least in hooks.items()]
    )


OF_THE_OWNER = 1
"""Findings beside one of each token: they have one owner, who holds too many."""
SLOW = Capacity(workers=4, service_seconds=0.05, queue=10_000)
"""So slow that a test can act while lookups are under way."""


class ListSource:
    """A source whose tokens stand in a list; may break after them."""

    def __init__(
        self, name: str, tokens: Iterable[StoredToken], *, breaks: str | None = None, batch: int = 100
    ) -> None:
        self.name = name
        self._tokens = list(tokens)
        self._breaks = breaks
        self._batch = batch

    def environments(self) -> Sequence[str]:
        return sorted({token.environment for token in self._tokens})

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        for start in range(0, len(self._tokens), self._batch):
            yield self._tokens[start : start + self._batch]
        if self._breaks:
            raise SourceError(self._breaks)


def stored(secrets: Iterable[str], *, source: str = "vault", environment: str = "prod") -> list[StoredToken]:
    return [
        StoredToken(environment, Secret(secret), Location(source, f"line {number}"))
        for number, secret in enumerate(secrets, 1)
    ]


class Stage:
    """One simulated environment with its clock, to be swept again and again while its world changes."""

    def __init__(
        self, api: Environment, world: World, clock: SteppedClock, client: Client, url: str, own: Secret
    ) -> None:
        self.api = api
        self.world = world
        self.clock = clock
        self.client = client
        self.url = url
        self.own = own

    def subject(
        self,
        *sources: Source,
        policy: Mapping[str, object] | None = None,
        self_lookup: bool = False,
        hooks: Mapping[str, Severity] | None = None,
    ) -> Subject:
        return subject_of(
            self.client, self.url, self.clock, *sources, policy=policy, self_lookup=self_lookup, hooks=hooks
        )


def secrets_of(stage: Stage, number: int) -> list[str]:
    """Make so many tokens that never expire and return their secrets."""
    return [stage.world.create(f"t{index}", ["metrics.read"]).secret for index in range(number)]


def subject_of(
    client: Client,
    url: str,
    clock: SteppedClock,
    *sources: Source,
    policy: Mapping[str, object] | None = None,
    self_lookup: bool = False,
    hooks: Mapping[str, Severity] | None = None,
    name: str = "prod",
) -> Subject:
    document = PolicyDocument.model_validate({"name": "test", **(policy or {})})
    return Subject(
        name=name,
        url=url,
        client=client,
        sources=sources,
        environments=frozenset({"prod", "other"}),
        policy=Policy(document, list(rules_of(document).values()), feeds=Feeds(), environment_kind=None),
        self_lookup=self_lookup,
        fingerprint=lambda secret: hashlib.sha256(secret.reveal().encode()).digest()[:16],
        routing=routing_to(hooks or {}),
        clock=clock,
    )


def client_of(url: str, own: Secret, clock: SteppedClock, **settings: object) -> Client:
    environment = EnvironmentSettings.model_validate(
        {"url": url, "token": SecretReference(env="UNUSED"), "allow_http": True, "attempts": 1, **settings}
    )
    return Client("prod", environment, own, clock=clock)


@asynccontextmanager
async def _stage(
    *, faults: Faults | None = None, capacity: Capacity | None = None, **settings: object
) -> AsyncIterator[Stage]:
    clock = SteppedClock(NOW)
    world = World((), clock=clock)
    own = Secret(world.create("auditor", ["metrics.read"]).secret)
    async with serve({"prod": world}, faults=faults, capacity=capacity) as simulator:
        url = simulator.url("prod")
        async with client_of(url, own, clock, **settings) as client:
            yield Stage(simulator.environments["prod"], world, clock, client, url, own)


@pytest.fixture
def staged() -> Callable[..., AbstractAsyncContextManager[Stage]]:
    """Opens a stage: ``async with staged(faults=…, attempts=…) as stage``."""
    return _stage
