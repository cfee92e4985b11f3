"""Puts the parts together that a configuration describes: clients, hooks, sources, policies; ready to sweep."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from auditor.alerts.base import Hook
from auditor.alerts.base import Surroundings as HookSurroundings
from auditor.config.feeds import read_feeds
from auditor.config.keys import keyring_of
from auditor.config.load import Config
from auditor.config.routing import routing_of
from auditor.config.timetable import slots_of
from auditor.credentials.reference import Resolver
from auditor.dynatrace.client import Client
from auditor.dynatrace.limit import Limit
from auditor.model.errors import ConfigError, together, ungrouped
from auditor.policy.base import Feeds
from auditor.policy.engine import Policy
from auditor.policy.lateness import Deadlines
from auditor.policy.registry import rules_of
from auditor.policy.routing.routing import Routing
from auditor.sources.base import Source, Surroundings
from auditor.store.connection import Pool
from auditor.store.vault import Vault, open_vault
from auditor.sweep.due import Due
from auditor.sweep.reminding import Watched
from auditor.sweep.subject import Subject

_AT_ONCE: Final = 8
"""How many secrets are resolved at a time, each perhaps by a command."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A configuration whose parts are open."""

    config: Config
    vault: Vault
    clients: Mapping[str, Client]
    hooks: Mapping[str, Hook]
    routing: Routing
    clock: Callable[[], datetime]
    sources: Sequence[Source]

    def subject(self, name: str) -> Subject:
        """Return an environment ready to be swept; feeds are read anew, so that today's leavers count today.

        Blocks for as long as reading the feeds takes.
        """
        environment = self.config.document.environments[name]
        stack = self.config.policies.by_environment[name]
        feeds, problems = read_feeds(stack.document.feeds, stack.directory)
        for problem in problems:
            log.warning("feed_unread", environment=name, place=problem.place, problem=problem.message)
        return Subject(
            name=name,
            url=environment.url,
            client=self.clients[name],
            sources=[source for source in self.sources if not source.environments() or name in source.environments()],
            environments=frozenset(self.config.document.environments),
            policy=Policy(
                stack.document,
                list(rules_of(stack.document).values()),
                feeds=feeds,
                environment_kind=environment.kind,
            ),
            self_lookup=environment.self_lookup,
            inventory=environment.inventory,
            lookups_per_sweep=environment.lookups_per_sweep,
            slots=slots_of(name, self.config.document.schedules.values()),
            fingerprint=self.vault.fingerprint,
            routing=self.routing,
            clock=self.clock,
            waivers=self.config.waivers,
        )

    def due(self, pool: Pool) -> Due:
        """Return what makes the alerts that are due between the sweeps of the configured environments."""
        watched: list[Watched] = []
        for name, environment in self.config.document.environments.items():
            document = self.config.policies.by_environment[name].document
            rules = rules_of(document)
            # No feed bears upon when a finding is late.
            policy = Policy(document, list(rules.values()), feeds=Feeds(), environment_kind=environment.kind)
            watched.append(Watched(name, rules, Deadlines(policy, name)))
        return Due(pool, self.routing, watched)


@asynccontextmanager
async def assembled(
    config: Config,
    pool: Pool,
    *,
    resolver: Resolver,
    state: Path,
    clock: Callable[[], datetime],
    environments: Sequence[str],
    limits: MutableMapping[str, Limit] | None = None,
    with_hooks: bool = True,
) -> AsyncIterator[Assembly]:
    """Open what sweeping these environments takes, for the length of the block, and what delivering to hooks takes.

    ``limits`` are what was learned of environments so far, by url, and takes in what is learned from now on.
    Resolves secrets but sends nothing to any environment or hook. Raises ``ConfigError`` where secrets cannot be had,
    with all of them, and ``StoreMismatch`` where the database was made under another encryption key.
    """
    async with AsyncExitStack() as stack:
        keyring = await keyring_of(config.document.encryption, resolver=resolver, state=state)
        vault = await open_vault(pool, keyring, clock())
        clients: dict[str, Client] = {}
        hooks: dict[str, Hook] = {}

        async def open_client(name: str) -> None:
            clients[name] = await stack.enter_async_context(await client_of(config, name, resolver, clock, limits))

        async def open_hook(name: str) -> None:
            hook_kind, hook_settings = config.hooks[name]
            hook = await hook_kind.open(name, hook_settings, HookSurroundings(resolver, config.wordings[name]))
            stack.push_async_callback(hook.close)
            hooks[name] = hook

        hook_names = list(config.hooks) if with_hooks else []
        await _side_by_side(
            [partial(open_client, name) for name in environments] + [partial(open_hook, name) for name in hook_names]
        )
        surroundings = Surroundings(config.directory, resolver.environ, frozenset(config.document.environments), vault)
        yield Assembly(
            config=config,
            vault=vault,
            clients={name: clients[name] for name in environments},
            hooks={name: hooks[name] for name in hook_names},
            routing=routing_of(config.document, config.hooks, config.owners),
            clock=clock,
            sources=[
                source_kind.open(name, source_settings, surroundings)
                for name, (source_kind, source_settings) in config.sources.items()
            ],
        )


async def _side_by_side(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do these works, a few at a time; raises one ``ConfigError`` with the problems of all, in their order."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def error_of(work: Callable[[], Awaitable[None]]) -> ConfigError | None:
        async with turns:
            try:
                await work()
            except ConfigError as error:
                return error
        return None

    with ungrouped():
        async with asyncio.TaskGroup() as tasks:
            done = [tasks.create_task(error_of(work)) for work in works]
    if errors := [error for task in done if (error := task.result()) is not None]:
        raise together(errors)


async def client_of(
    config: Config,
    name: str,
    resolver: Resolver,
    clock: Callable[[], datetime],
    limits: MutableMapping[str, Limit] | None = None,
) -> Client:
    """Return an environment's client, to be opened; raises ``ConfigError`` where its token cannot be had."""
    settings = config.document.environments[name]
    if settings.ca_file is not None:
        settings = settings.model_copy(update={"ca_file": config.directory / settings.ca_file})
    credential = await resolver.resolve(settings.token, f"environments.{name}.token")
    client = Client(name, settings, credential, clock=clock, limit=limits.get(settings.url) if limits else None)
    if limits is not None:
        limits[settings.url] = client.limit
    return client
