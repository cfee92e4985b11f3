"""A PostgreSQL of a test's own, and the ways in which it can be hurt."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

import psutil

from auditor.model.secret import Secret
from auditor.store import embedded
from tests.chaos.stage import Stage
from tests.daemon.stage import PATIENCE_SECONDS

_TABLES: Final = ("lookup", "sweep", "finding_event", "delivery")
"""Whose writes may be slow or refused: of sweeps under way, their account, transitions, and deliveries."""


class Server:
    """One that runs."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.url = Secret("")

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path) -> AsyncIterator[Self]:
        """Run one for the length of the block."""
        async with AsyncExitStack() as stack:
            server = cls(directory, stack)
            await server.start()
            yield server

    async def start(self) -> None:
        """Start it, or see that it runs."""
        serving = embedded.running(self._directory)
        address = await asyncio.to_thread(serving.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, serving.__exit__, None, None, None)
        self.url = Secret(address.url)

    async def end(self, how: signal.Signals) -> None:
        """End it while it is in use: SIGINT as an administrator would, SIGQUIT without a checkpoint."""
        postmaster = psutil.Process(self._postmaster)
        postmaster.send_signal(how)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while postmaster.is_running() and postmaster.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 -- no child
                await asyncio.sleep(0.01)

    @property
    def processes(self) -> Iterator[psutil.Process]:
        """The postmaster and its children."""
        postmaster = psutil.Process(self._postmaster)
        yield postmaster
        yield from postmaster.children()

    @property
    def log(self) -> Path:
        """What it logs."""
        return self._directory / "log"

    @property
    def _postmaster(self) -> int:
        return int((self._directory / "data" / "postmaster.pid").read_text().splitlines()[0])


async def cut(_server: Server, hurt: Stage) -> None:
    """Cut every connection."""
    async with hurt.connected() as connection:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname <> ''"
        )


async def restart(server: Server, _hurt: Stage) -> None:
    """Stop it in order and start it again."""
    await server.end(signal.SIGINT)
    await server.start()


async def crash(server: Server, _hurt: Stage) -> None:
    """End it at once, as a power cut would; it recovers when it is started."""
    await server.end(signal.SIGQUIT)
    await server.start()


async def freeze(server: Server, _hurt: Stage) -> None:
    """Stop every process of the server for a moment."""
    processes = list(server.processes)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        await asyncio.sleep(0.1)


async def slow(_server: Server, hurt: Stage) -> None:
    """Make every write to a table take its time."""
    await _hinder(hurt, "perform pg_sleep(0.1)", hurt.random.choice(_TABLES))


async def full(_server: Server, hurt: Stage) -> None:
    """Refuse the writes to a table as a full disk does: with SQLSTATE 53100."""
    refusal = "raise 'could not extend file: No space left on device' using errcode = '53100'"
    await _hinder(hurt, refusal, hurt.random.choice(_TABLES))


async def step(_server: Server, hurt: Stage) -> None:
    """Step its clock by a day. It is asked for the times of queued jobs alone, which are a day off then."""
    async with hurt.connected() as connection:
        await connection.execute(
            """
            update queue_job set created = created + $1, updated = updated + $1, heartbeat = heartbeat + $1,
                execute_after = execute_after + $1
            """,
            hurt.random.choice([-1, 1]) * timedelta(days=1),
        )


async def _hinder(hurt: Stage, how: str, table: str) -> None:
    """Do so before each statement that writes to a table, until it has happened."""
    async with hurt.connected() as connection:
        # A sequence counts what is rolled back, too.
        await connection.execute(
            f"""
            create sequence if not exists hindered;
            create or replace function hinder() returns trigger language plpgsql as
                $$ begin perform nextval('hindered'); {how}; return null; end $$;
            create trigger hinder before insert or update on "{table}" execute function hinder();
            """
        )
        before = await connection.fetchval("select last_value from hindered")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await connection.fetchval("select last_value from hindered") < before + 2:
                    hurt.flip()
                    await hurt.hurry()
                    await asyncio.sleep(0.05)
        finally:
            await connection.execute(f'drop trigger hinder on "{table}"')


Way = Callable[[Server, Stage], Awaitable[None]]
WAYS: Final[tuple[Way, ...]] = (cut, restart, crash, freeze, slow, full, step)
