"""``make soak``: one service for a long time, sweeping every second while everything around it fails in turn.

Prints what it held from time to time, and says at the end what grew and what does not hold.
"""

import asyncio
import os
import sys
import tempfile
from dataclasses import astuple, fields
from pathlib import Path
from statistics import median

from auditor.simulator import Fault, Faults
from tests.chaos.held import Held, grown, held
from tests.chaos.server import WAYS, Server
from tests.chaos.stage import PASSING, Stage, stage
from tests.daemon.stage import Running


async def soak(seconds: float) -> int:
    """Hurt for so long; return 1 where something grew or does not hold."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    seen: list[Held] = []
    print(*(field.name for field in fields(Held)), sep="\t")
    with tempfile.TemporaryDirectory(prefix="auditor-soak-") as name:
        directory = Path(name)
        async with Server.running(directory / "database") as server, stage(directory, server.url) as hurt:
            hurt.files.append(server.log)
            async with hurt.service() as service:
                while loop.time() - began < seconds:
                    await _hurt_once(hurt, server, service)
                    await hurt.caught_up(service)
                    seen.append(await held(hurt, service))
                    print(*astuple(seen[-1]), sep="\t", flush=True)
                    hurt.log += service.events
                    service.events.clear()
                code = await service.stop()
            complaints = [*await hurt.complaints(), *_grown(seen)] + [f"it ended with {code}"] * bool(code)
            print(f"{sum(hurt.changes.values())} changes, {len(hurt.taken)} alerts, {len(seen)} rounds of faults")
    print("\n".join(complaints) or "everything holds")
    return bool(complaints)


async def _hurt_once(hurt: Stage, server: Server, service: Running) -> None:
    """One fault of the database, while the environment and the hook fail in every way now and then."""
    hurt.hook_fails = hurt.random.choice([0.0, 0.3, 1.0])
    hurt.site.api.set_faults(
        hurt.random.choice(
            [
                None,
                Faults(probability=PASSING, seed=hurt.random.random().hex(), latency_seconds=0.05, drip_seconds=0.001),
                Faults(probability={Fault.PROXY_FORBIDDEN: 0.05}, seed=hurt.random.random().hex()),
            ]
        )
    )
    hurt.flip()
    await hurt.worked(service, hurt.random.randrange(120))
    await hurt.random.choice(WAYS)(server, hurt)
    hurt.site.api.set_faults(None)
    hurt.hook_fails = 0.0


def _grown(seen: list[Held]) -> list[str]:
    """Compare the medians of the second quarter and of the last."""
    quarter = len(seen) // 4
    if not quarter:
        return []
    early, late = (
        Held(*map(median, zip(*map(astuple, part), strict=True)))
        for part in (seen[quarter : 2 * quarter], seen[-quarter:])
    )
    print("second quarter and last:", early, late, sep="\n")
    return grown(early, late)


if __name__ == "__main__":
    sys.exit(asyncio.run(soak(60 * float(os.environ.get("AUDITOR_SOAK_MINUTES", "60")))))
