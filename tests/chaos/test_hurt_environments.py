"""An environment and a hook that answer wrongly, late, in pieces or not at all: nothing is taken for evidence."""

from pathlib import Path

from auditor.model.secret import Secret
from auditor.simulator import Fault, Faults
from tests.chaos.held import held, kept
from tests.chaos.stage import IS_LONG, PASSING, rounds, stage

ONE_BY_ONE = (Fault.PROXY_FORBIDDEN, *PASSING)
"""The first ends a sweep, which only alone leaves the others their turn."""


async def test_environment_and_hook_that_fail_in_every_way(tmp_path: Path, database_url: Secret) -> None:
    async with stage(tmp_path, database_url) as hurt, hurt.service(is_forked=False) as service:
        await hurt.caught_up(service)
        before = await held(hurt, service)
        for number in range(rounds(1)):
            drawn = hurt.random.choice([0.3, 1.0])
            hurt.hook_fails = drawn if number else 1.0  # by chance alone a short run may see no failure
            faults = Faults(
                probability=PASSING,
                seed=f"{hurt.random.random()} {number}",
                latency_seconds=0.05,
                drip_seconds=0.001,
                retry_after_seconds=None,
            )
            one = Faults(
                probability={ONE_BY_ONE[number % len(ONE_BY_ONE)]: 0.05},
                seed=number,
                latency_seconds=0.05,
                drip_seconds=0.001,  # else half a minute for each answer
            )
            for chosen in (faults, one):
                hurt.site.api.set_faults(chosen)
                hurt.flip()
                await service.until("sweep_finished", len(service.said("sweep_finished")) + 1)
            if not number:  # the sweeps that ended may have begun before the flips
                await service.until("delivery_failed")
            if IS_LONG:
                hurt.site.api.set_faults(None)
                hurt.hook_fails = 0.0
                assert (one, await kept(hurt, service, before)) == (one, [])
        hurt.site.api.set_faults(None)
        hurt.hook_fails = 0.0
        assert await kept(hurt, service, before) == []
        assert await service.stop() == 0
        assert any(event["failed"] for event in service.said("sweep_finished"))
        assert await hurt.complaints() == []
