"""The service without a process of its own: what no process can be made to do at the right moment."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.config.load import load
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
