"""What a service holds of the machine and of the database."""

import asyncio
import signal
from dataclasses import astuple, dataclass, fields
from typing import Final

import psutil

from tests.chaos.stage import Stage
from tests.daemon.stage import Running

_LOOKS: Final = 10


@dataclass(frozen=True)
class Held:
    """What the service holds when it has just caught up."""

    sweeps: float
    rss_mb: float
    descriptors: float
    threads: float
    tasks: float
    connections: float
    """To the database."""
    database_mb: float
    """Of the database on disk, which holds what happened and so grows with it."""


async def held(hurt: Stage, service: Running) -> Held:
    """Ask the machine, the database and the service."""
    asked = len(service.said("tasks"))
    service.signal(signal.SIGUSR2)
    tasks = (await service.until("tasks", asked + 1))["tasks"]
    process = psutil.Process(service.process.pid)
    async with hurt.connected() as connection:
        sweeps = await connection.fetchval("select count(*) from sweep")
        connections = await connection.fetchval(
            "select count(*) from pg_stat_activity where application_name = 'auditor run'"
        )
        size = await connection.fetchval("select pg_database_size(current_database())")
    rss = process.memory_info().rss / 1e6
    return Held(
        sweeps, round(rss, 1), process.num_fds(), process.num_threads(), tasks, connections, round(size / 1e6, 1)
    )


def grown(early: Held, late: Held) -> list[str]:
    """Say what grew by more than a service that works takes now and gives back then."""
    before, after = astuple(early), astuple(late)
    return [
        f"{field.name} grew from {less} to {more}"
        for field, less, more in zip(fields(Held), before, after, strict=True)
        if field.name not in ("sweeps", "database_mb") and more > less * 1.1 + 8
    ]


async def kept(hurt: Stage, service: Running, before: Held) -> list[str]:
    """Let a service catch up, and say what it holds more of than before; not what only a sweep under way needs."""
    await hurt.caught_up(service)
    for _ in range(_LOOKS):
        if not (more := grown(before, await held(hurt, service))):
            break
        await asyncio.sleep(0.1)
    return more
