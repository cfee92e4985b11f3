"""``make soak``: one service for a long time, sweeping every few seconds while everything around it fails in turn.

Prints what it held after each fault, and at the end "soak passed", or "soak failed" with what grew or does not hold.
"""

import asyncio
import os
import sys
import tempfile
from dataclasses import astuple, fields
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final

from auditor.simulator import Fault, Faults
from tests.chaos.held import Held, grown, held
from tests.chaos.server import WAYS, Server, Way
from tests.chaos.stage import PASSING, Stage, stage
from tests.daemon.stage import Running

_TOKENS: Final = 200
_EVERY: Final = "3s"


async def soak(seconds: float) -> int:
    """Hurt for so long; return 1 where something grew or does not hold."""
    began = monotonic()
    seen: list[Held] = []
    late: list[str] = []
    print("minutes", "fault", *(field.name for field in fields(Held)), sep="\t")
    with tempfile.TemporaryDirectory(prefix="auditor-soak-") as name:
        directory = Path(name)
        async with (
            Server.running(directory / "database") as server,
            stage(directory, server.url, tokens=_TOKENS, every=_EVERY) as hurt,
        ):
            hurt.files.append(server.log)
            async with hurt.service(is_forked=False) as service:
                while monotonic() - began < seconds:
                    way = hurt.random.choice(WAYS)
                    try:
                        await _hurt_once(hurt, server, service, way)
                        await hurt.caught_up(service)
                        seen.append(await held(hurt, service))
                    except TimeoutError:
                        late.append(f"minute {_minutes_since(began)}, {way.__name__}: it did not catch up")
                        print(late[-1], await hurt.activity(), *service.events[-20:], sep="\n", flush=True)
                        continue
                    print(_minutes_since(began), way.__name__, *astuple(seen[-1]), sep="\t", flush=True)
                    hurt.log += service.events
                    service.events[:] = service.said("service_started")  # which says where it listens
                code = await service.stop()
            complaints = [*late, *await hurt.complaints(), *_grown(seen)] + [f"it ended with {code}"] * bool(code)
            print(f"{sum(hurt.changes.values())} changes, {len(hurt.taken)} alerts, {len(seen)} rounds of faults")
    print("\n".join(["soak failed:", *complaints]) if complaints else "soak passed: nothing grew, everything holds")
    return bool(complaints)


async def _hurt_once(hurt: Stage, server: Server, service: Running, way: Way) -> None:
    """One fault of the database, while the environment and the hook fail in every way now and then."""
    hurt.hook_fails = hurt.random.choice([0.0, 0.3, 1.0])
    hurt.site.api.set_faults(
        hurt.random.choice(
            [
                None,
                Faults(
                    probability=PASSING,
                    seed=hurt.random.random().hex(),
                    latency_seconds=0.05,
                    drip_seconds=0.001,
                    retry_after_seconds=None,
                ),
                Faults(probability={Fault.PROXY_FORBIDDEN: 0.01}, seed=hurt.random.random().hex()),
            ]
        )
    )
    hurt.flip()
    await hurt.worked(service, hurt.random.randrange(_TOKENS))
    try:
        await way(server, hurt)
    finally:
        hurt.site.api.set_faults(None)
        hurt.hook_fails = 0.0


def _minutes_since(began: float) -> float:
    return round((monotonic() - began) / 60, 1)


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
