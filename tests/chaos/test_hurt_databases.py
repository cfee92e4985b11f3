"""A database that is cut off, restarted, crashed, frozen, slow or full under a service that works."""

from pathlib import Path

from tests.chaos.held import held, kept
from tests.chaos.server import WAYS, Server
from tests.chaos.stage import IS_LONG, TOKENS, rounds, stage


async def test_database_hurt_again_and_again(tmp_path: Path, fast_path: Path) -> None:
    async with (
        Server.running(fast_path) as server,
        stage(tmp_path, server.url) as hurt,
        hurt.service() as service,
    ):
        hurt.files.append(server.log)
        ways = list(WAYS)
        hurt.random.shuffle(ways)
        await hurt.caught_up(service)
        before = await held(hurt, service)
        for number in range(rounds(len(ways))):
            await hurt.worked(service, hurt.random.randrange(TOKENS))
            hurt.flip()
            way = ways[number % len(ways)]
            await way(server, hurt)
            if IS_LONG:
                assert (way.__name__, await kept(hurt, service, before)) == (way.__name__, [])
        assert await kept(hurt, service, before) == []
        assert await service.stop() == 0
        assert not service.words
        assert await hurt.complaints() == []
