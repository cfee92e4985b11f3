"""Plays the demo: serves the organisation, sweeps it, lets a day pass, sweeps again, writes the report."""

import base64
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from auditor.alerts.deliveries import drain
from auditor.config.assembly import Assembly, assembled
from auditor.config.database import opened
from auditor.config.load import load
from auditor.credentials.reference import Resolver
from auditor.demo.organisation import Organisation, change, found, write
from auditor.demo.receiver import Receiver, receiving
from auditor.model.finding import Severity
from auditor.model.secret import Secret
from auditor.model.sweep import SweepSummary
from auditor.reports.base import Format
from auditor.reports.reading import snapshot
from auditor.simulator import Fault, Faults, Plan, Simulator, serve
from auditor.store import findings
from auditor.store.connection import Pool
from auditor.store.findings import Happened
from auditor.store.vault import NewEntry, add
from auditor.sweep.sweeper import sweep

_DELIVER_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Act:
    """One round of sweeps over every environment."""

    summaries: Sequence[SweepSummary]
    happened: Sequence[Happened]
    """What happened to findings, worst first; the same order every time."""
    open_findings: Mapping[str, Mapping[Severity, int]]


class Demo:
    """The organisation with auditor set up on it."""

    def __init__(
        self, organisation: Organisation, pool: Pool, assembly: Assembly, receiver: Receiver, config: Path
    ) -> None:
        self._organisation = organisation
        self._pool = pool
        self._assembly = assembly
        self.receiver = receiver
        self.config = config

    async def sweep(self) -> Act:
        """Sweep every environment and deliver the alerts."""
        summaries = [
            await sweep(self._pool, self._assembly.subject(name))
            for name in self._assembly.config.document.environments
        ]
        await self._assembly.due(self._pool).make(self._organisation.clock())
        await drain(
            self._pool,
            self._assembly.hooks,
            clock=self._organisation.clock,
            seconds=_DELIVER_SECONDS,
            routing=self._assembly.routing,
        )
        async with self._pool.acquire() as connection:
            happened = await findings.happened(connection, [summary.id for summary in summaries])
            counts = await findings.count_open(connection, self._organisation.clock())
        # Lookups end in any order, and so do findings that are equally bad.
        happened = sorted(happened, key=lambda event: (-event.severity.rank, event.label, event.rule_id))
        return Act(summaries, happened, counts)

    def let_a_day_pass(self) -> Sequence[str]:
        """Change the organisation; returns what happened, in sentences."""
        return change(self._organisation)

    async def report(self, wanted: Format, out: BinaryIO) -> None:
        """Write the report of how things stand."""
        async with snapshot(
            self._pool,
            now=self._organisation.clock(),
            resolved_days=30,
            configured=self._assembly.config.urls,
            schedules=[f"{name}: {one.told}" for name, one in self._assembly.config.document.schedules.items()],
        ) as (data, stream):
            await wanted.write(data, stream, out)


@asynccontextmanager
async def staged(directory: Path, *, now: datetime, environ: Mapping[str, str]) -> AsyncIterator[Demo]:
    """Set the organisation up in a directory, with an embedded database beside it, for the length of the block."""
    organisation = found(now)
    webhook_secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    async with serve(organisation.worlds) as simulator, receiving(webhook_secret) as receiver:
        _break_one_lookup(organisation, simulator)
        urls = {name: simulator.url(name) for name in organisation.worlds}
        config_path = write(organisation, directory, urls, receiver.url, webhook_secret)
        config = load(config_path)
        resolver = Resolver(config.directory, environ)
        state = directory / "state"
        async with (
            opened(config.document.database, resolver=resolver, state=state, application="auditor demo") as pool,
            assembled(
                config,
                pool,
                resolver=resolver,
                state=state,
                clock=organisation.clock,
                environments=list(config.document.environments),
            ) as assembly,
        ):
            await _fill_vault(organisation, assembly)
            yield Demo(organisation, pool, assembly, receiver, config_path)


def _break_one_lookup(organisation: Organisation, simulator: Simulator) -> None:
    plan = Plan(token_id=organisation.unlucky, then=Fault.SERVER_ERROR)
    simulator.environments["production"].set_faults(Faults(plans=(plan,)))


async def _fill_vault(organisation: Organisation, assembly: Assembly) -> None:
    entries = [NewEntry("production", Secret(token.secret), "break-glass tokens") for token in organisation.for_vault]
    await add(assembly.vault, entries, organisation.clock())
