"""The service without a process of its own: what no process can be made to do at the right moment."""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.config.load import Config, load
from auditor.daemon.role import Role
from auditor.daemon.service import Service
from auditor.model.errors import StoreUnavailable
from auditor.model.secret import Secret
from tests.daemon.stage import site


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
            await service._serve(config, tasks)

    monkeypatch.setattr(Service, "_opened", lambda _service, _config: Lost())
    async with site(tmp_path, database_url) as here:
        config = load(here.directory / "auditor.toml")
        service = Service(
            lambda: config,
            lambda _config: None,
            lambda _config: pytest.fail("it has no further processes"),
            role=Role.ALL,
            environ=here.environ,
            state=here.directory / "state",
            clock=lambda: datetime.now(UTC),
        )
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
