"""Services that are killed at any moment, alone and beside others: nothing is lost, doubled or ended unproven."""

from pathlib import Path

from auditor.model.secret import Secret
from tests.chaos.stage import TOKENS, rounds, stage


async def test_service_killed_again_and_again(tmp_path: Path, database_url: Secret) -> None:
    async with stage(tmp_path, database_url) as hurt:
        for _ in range(rounds(1)):
            async with hurt.service() as service:
                await hurt.worked(service, hurt.random.randrange(2 * TOKENS))
                hurt.flip()
            await hurt.time_passes()
        await hurt.settle()
        assert await hurt.complaints() + hurt.repeats() == []


async def test_services_beside_another_killed_again_and_again(tmp_path: Path, database_url: Secret) -> None:
    async with stage(tmp_path, database_url) as hurt, hurt.service() as survivor:
        living = await hurt.worker_id(survivor)
        for _ in range(rounds(1)):
            async with hurt.service(hurt.random.choice(["all", "scheduler", "worker"])):
                await hurt.worked(survivor, hurt.random.randrange(2 * TOKENS))
                hurt.flip()
            await hurt.time_passes(living)
        await hurt.caught_up(survivor)
        assert await survivor.stop() == 0
        assert await hurt.complaints() + hurt.repeats() == []
