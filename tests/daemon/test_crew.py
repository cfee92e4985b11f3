"""A service of several processes: they share its work, and it answers for all of them."""

import asyncio
import signal
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from auditor.daemon.child import Order
from auditor.daemon.crew import Crew
from auditor.model.secret import Secret
from auditor.simulator import Capacity
from auditor.web.metrics import Metrics
from tests.daemon.stage import CONFIGURATION, ENVIRONMENT, PATIENCE_SECONDS, Running, running, samples_of, site, until

OTHERS = ("east", "north", "west")
CREW = (
    CONFIGURATION.replace('every = "1s"', 'every = "300d"')
    + "\n[sweeps]\nat_once = 2\nworkers = 2\n"
    + "".join(ENVIRONMENT.replace("prod", name).replace("vault", f"vault-{name}") for name in OTHERS)
)


def further(service: Running) -> list[psutil.Process]:
    """Return the further processes of a service."""
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "auditor.cli.service_worker" in child.cmdline()]


async def test_processes_share_sweeps_are_counted_together_and_end_together(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(CREW.replace('[schedules.often]\nevery = "300d"\njitter_seconds = 0\n', ""))
        here.api.set_capacity(Capacity(workers=1, service_seconds=0.3))
        async with running(here) as service:
            await service.until("service_started", role="worker")
            (other,) = further(service)
            here.write(CREW)
            service.signal(signal.SIGHUP)
            await service.until("configuration_reloaded", 2)

            # One process sweeps two environments at once, so that here are two at work.
            await service.until("sweep_started", 1 + len(OTHERS))
            assert not service.said("sweep_finished")
            here.api.set_capacity(None)
            await service.until("sweep_finished", 1 + len(OTHERS), status="complete", found=3)

            other.kill()
            await service.until("worker_process_died", worker=other.pid, how="signal 9")
            await service.until("service_started", 2, role="worker")
            await until(lambda: bool(further(service)), service)
            status, text = await service.get("/metrics")
            (other,) = further(service)
            assert await service.stop() == 0
            assert len(service.said("service_stopped")) == 2
    assert not other.is_running()
    assert status == 200
    assert not service.said("database_unavailable")
    samples = samples_of(text)
    assert samples["auditor_processes",] == 2
    for name in ("prod", *OTHERS):
        assert samples["auditor_sweeps_total", name, "complete"] == 1
        assert samples["auditor_lookups_total", name, "found"] == 3
        assert samples["auditor_environment_concurrency_limit", name] >= 1
    assert service.words == ""


async def test_process_that_is_only_starting_reads_the_configuration_again_as_the_others_do(
    tmp_path: Path, database_url: Secret, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site(tmp_path, database_url) as here, asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        config = str(here.directory / "auditor.toml")
        order = Order(config=config, log_format="json", log_level=None, is_for_journal=False)
        crew, stopping = Crew(1, order, here.environ, Metrics()), asyncio.Event()
        tasks.create_task(crew.run(stopping))
        await until(lambda: crew.processes == 1)
        crew.reload()
        said = ""
        while '"configuration_reloaded"' not in said:
            await asyncio.sleep(0.05)
            said += capsys.readouterr().err
        stopping.set()


async def test_process_that_is_started_anew_goes_by_what_only_a_restart_of_the_service_changes(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(CREW)
        async with running(here, role="worker") as service:  # which sweeps nothing by itself
            await service.until("service_started", 2)
            here.write(CREW.replace('{{ env = "DATABASE_URL" }}', '{{ env = "ANOTHER" }}'))
            service.signal(signal.SIGHUP)
            await service.until("configuration_reloaded", 2)
            (other,) = further(service)
            other.kill()
            await service.until("service_started", 3)
            service.signal(signal.SIGHUP)
            await service.until("configuration_reloaded", 4)
            assert await service.stop() == 0
    assert [(event["worker"], event["how"]) for event in service.said("worker_process_died")] == [
        (other.pid, "signal 9")
    ]


async def test_processes_of_a_killed_service_end_by_themselves(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(CREW)
        async with running(here, role="worker") as service:  # which sweeps nothing by itself
            await service.until("service_started", 2)
            (other,) = further(service)
            service.process.kill()
            await until(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE)


async def test_process_that_cannot_be_started_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.daemon.backoff._FIRST", 0.01)
    order = Order(config="auditor.toml", log_format="json", log_level=None, is_for_journal=False)
    stopping = asyncio.Event()
    crew = Crew(1, order, {"NOT": "a\0word"}, Metrics())  # which no system takes
    with capture_logs() as events:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(crew.run(stopping))
            await until(lambda: len(events) >= 2)
            stopping.set()
    assert {event["event"] for event in events} == {"worker_process_not_started"}
    assert "NUL character" in events[0]["reason"]
    assert events[1]["next_try_seconds"] > events[0]["next_try_seconds"]
    assert crew.processes == 0
