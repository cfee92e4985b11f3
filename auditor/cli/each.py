"""Sweeps environments side by side, in one process."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from auditor.config.assembly import Assembly
from auditor.model.errors import SweepUnderWay
from auditor.model.sweep import SweepSummary
from auditor.store.connection import Pool
from auditor.sweep.side_by_side import SideBySide
from auditor.sweep.subject import Progress
from auditor.sweep.sweeper import sweep as sweep_environment


async def sweep_each(
    pool: Pool,
    assembly: Assembly,
    names: Sequence[str],
    *,
    progress: Mapping[str, Progress],
    stopping: asyncio.Event,
    swept: Callable[[SweepSummary], None],
    passed_over: Callable[[str, str], None],
) -> None:
    """Sweep environments side by side; ``swept`` is told how each ended.

    One that another process is sweeping is passed over, and ``passed_over`` is told its name and that reason.
    """
    document = assembly.config.document
    side_by_side = SideBySide(pool, connections=document.database.connections, at_once=document.sweeps.at_once)

    async def one(name: str) -> None:
        async with side_by_side.turns:
            if stopping.is_set():
                return
            subject = await asyncio.to_thread(assembly.subject, name)
            try:
                swept(
                    await sweep_environment(
                        pool, subject, side_by_side=side_by_side, progress=progress[name], stopping=stopping
                    )
                )
            except SweepUnderWay as error:
                passed_over(name, str(error))

    async with asyncio.TaskGroup() as sweeps:
        for name in names:
            sweeps.create_task(one(name))
