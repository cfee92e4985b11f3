"""The service without a process of its own: what no process can be made to do at the right moment."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from auditor.config.load import Config, load
from auditor.daemon.role import Role
from auditor.daemon.service import Service
from auditor.model.errors import StoreUnavailable
from auditor.model.secret import Secret
from auditor.store.connection import Pool
from tests.daemon.stage import CONFIGURATION, Gate, Site, site, until


def service_at(here: Site) -> Service:
    return Service(
        lambda: load(here.directory / "auditor.toml"),
        lambda _config: None,
        lambda _config: pytest.fail("it has no further processes"),
        role=Role.ALL,
        environ=here.environ,
        state=here.directory / "state",
        clock=lambda: datetime.now(UTC),
    )


async def serve(service: Service) -> None:
    async with asyncio.TaskGroup() as tasks:
        await service._serve(service._load(), tasks)


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[None]:
    """Have it serve for the length of the block, and end by itself after it."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(service))
        yield


class Lost:
    """A database that is opened for long, and goes away when that is cancelled."""

    async def __aenter__(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise StoreUnavailable("PostgreSQL went away") from None

    async def __aexit__(self, *_error: object) -> None: ...


async def test_failure_ends_the_service_though_the_database_goes_away_meanwhile(
    tmp_path: Path, database_url: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise RuntimeError("no watchdog")

    async def serve() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            await service._serve(service._load(), tasks)

    monkeypatch.setattr(Service, "_opened", lambda _service, _config: Lost())
    async with site(tmp_path, database_url) as here:
        service = service_at(here)
        with pytest.raises(ExceptionGroup) as raised:
            await serve()
    assert [str(error) for error in raised.value.exceptions] == ["no watchdog"]


async def test_reload_that_is_asked_for_while_the_configuration_is_read_comes_after_it(
    tmp_path: Path, database_url: Secret
) -> None:
    reads: list[Config] = []

    def read() -> Config:
        if not reads:
            os.kill(os.getpid(), signal.SIGHUP)
        reads.append(load(tmp_path / "auditor.toml"))
        return reads[-1]

    def set_up_log(config: Config) -> None:
        if config is not reads[0]:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as it is while the interpreter of such a process starts
    try:
        async with site(tmp_path, database_url) as here, asyncio.timeout(60):
            service = Service(
                read,
                set_up_log,
                lambda _config: pytest.fail("it has no further processes"),
                role=Role.ALL,
                environ=here.environ,
                state=here.directory / "state",
                clock=lambda: datetime.now(UTC),
            )
            await service.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(reads) == 2


async def test_service_whose_database_hangs_ends_when_asked(
    tmp_path: Path, database_url: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.daemon.service._END_SECONDS", 0.1)
    monkeypatch.setattr("auditor.daemon.service._GIVE_UP_SECONDS", 0.1)
    gate = Gate(database_url)
    async with site(tmp_path, gate.url) as here, gate.opened():
        service = service_at(here)
        with capture_logs() as events:
            async with serving(service):
                await until(lambda: any(event["event"] == "sweep_finished" for event in events))
                gate.is_passing.clear()
                service._stop()
    assert {event["event"] for event in events if event["log_level"] == "error"} - {"sweep_cut_short"} == {
        "stop_cut_short"
    }


async def test_service_whose_database_hangs_at_its_start_ends_when_asked(
    tmp_path: Path, database_url: Secret, database: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.daemon.service._GIVE_UP_SECONDS", 0.1)
    gate = Gate(database_url)
    async with site(tmp_path, gate.url) as here, gate.opened():
        service = service_at(here)
        async with database.acquire() as connection, connection.transaction():
            await connection.execute("lock table schema_migration")  # which keeps it from the rest of its start
            async with serving(service):
                await until(lambda: service._connected is not None)
                gate.is_passing.clear()
                service._stop()


SLOW = CONFIGURATION.replace('{{ env = "OWN_TOKEN" }}', '{{ command = ["/bin/sh", "-c", "touch asked; sleep 600"] }}')


async def test_service_that_waits_for_a_secret_at_its_start_ends_when_asked(
    tmp_path: Path, database_url: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with site(tmp_path, database_url) as here:
        here.write(SLOW)
        service = service_at(here)
        async with serving(service):
            await until((tmp_path / "asked").exists)
            service._stop()


async def test_service_that_waits_for_a_secret_in_a_reload_ends_when_asked(
    tmp_path: Path, database_url: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with site(tmp_path, database_url) as here:
        service = service_at(here)
        with capture_logs() as events:
            async with serving(service):
                await until(lambda: any(event["event"] == "sweep_finished" for event in events))
                here.write(SLOW)
                service._reload.set()
                await until((tmp_path / "asked").exists)
                service._stop()
    assert not [event for event in events if event["log_level"] == "error"]


async def test_reload_that_fails_as_nobody_expects_changes_nothing(tmp_path: Path, database_url: Secret) -> None:
    def fail() -> Config:
        raise ZeroDivisionError

    async with site(tmp_path, database_url) as here:
        service = service_at(here)
        with capture_logs() as events:
            async with serving(service):
                await until(lambda: any(event["event"] == "sweep_finished" for event in events))
                service._load = fail
                service._reload.set()
                await until(lambda: any(event["event"] == "reload_failed" for event in events))
                swept = len([event for event in events if event["event"] == "sweep_finished"])
                await until(lambda: len([event for event in events if event["event"] == "sweep_finished"]) > swept)
                service._stop()
    (failed,) = [event for event in events if event["event"] == "reload_failed"]
    assert failed["problem"].startswith("ZeroDivisionError; this is a defect of auditor")
