"""``auditor run`` as a process: what it does, what it says of itself, and how it stops, reloads and recovers."""

import asyncio
import re
import signal
import socket
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil

from auditor.alerts.deliveries import HEARTBEAT
from auditor.model.secret import Secret
from auditor.simulator import Capacity, Fault, Faults, Plan
from auditor.store import embedded, sweeps
from auditor.store.connection import Pool
from auditor.store.ownership import Ownership
from tests.alerts.alertmanager_receiver import AlertmanagerReceiver
from tests.alerts.receivers import receiving
from tests.daemon.stage import CONFIGURATION, ENVIRONMENT, Gate, Running, manager, running, samples_of, site, until

ONCE = CONFIGURATION.replace('every = "1s"', 'every = "300d"')
"""A schedule whose last slot is caught up at the start, and whose next is far away."""


async def value(database: Pool, question: str) -> object:
    async with database.acquire() as connection:
        return await connection.fetchval(question)


async def test_service_sweeps_on_schedule_says_how_it_is_and_ends_in_order(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    began_at = datetime.now(UTC)
    async with database.acquire() as connection:  # what is older than [retention] keeps it
        await connection.execute(
            """
            insert into queue_log (job_id, status, priority, entrypoint, created)
            values (1, 'successful', 0, 'sweep:prod', now() - interval '31 days')
            """
        )
    async with site(tmp_path, database_url) as here:
        with manager(str(tmp_path / "notify")) as manages:
            environ = {"NOTIFY_SOCKET": manages.address, "WATCHDOG_USEC": "200000"}
            async with running(here, is_forked=False, **environ) as service:
                await service.until("sweep_finished", 2, status="complete", found=3)
                await service.until("rows_removed", kind="queue_log")
                assert await service.get("/healthz") == (200, "ok\n")
                assert await service.get("/readyz") == (200, "ready\n")
                status, text = await service.get("/metrics")
                assert await service.stop() == 0
    assert status == 200
    samples = samples_of(text)
    assert samples["auditor_findings_open", "prod", "high"] == 3
    assert samples["auditor_findings_open", "prod", "critical"] == 0
    assert samples["auditor_findings_waived", "prod", "high"] == 0
    assert samples["auditor_sweep_tokens", "prod", "found"] == 3
    assert samples["auditor_sweep_coverage_ratio", "prod"] == 1
    assert samples["auditor_sweep_succeeded", "prod"] == 1
    assert samples["auditor_environment_concurrency_limit", "prod"] == 4
    assert samples["auditor_sweeps_total", "prod", "complete"] >= 2
    assert samples["auditor_lookups_total", "prod", "found"] == 3 * samples["auditor_sweeps_total", "prod", "complete"]
    assert samples["auditor_rows_removed_total", "queue_log"] == 1
    assert samples["auditor_lookup_seconds_count", "prod"] == samples["auditor_lookups_total", "prod", "found"]
    for name in ("auditor_sweep_finished_timestamp_seconds", "auditor_sweep_complete_timestamp_seconds"):
        assert began_at.timestamp() < samples[name, "prod"] <= datetime.now(UTC).timestamp()
    ready, *_later = (message for message in manages.heard if "WATCHDOG" not in message)
    assert ready["READY"] == "1"
    assert re.fullmatch(r"1 environments; idle; next schedule fires \d{4}-\d\d-\d\d \d\d:\d\d UTC", ready["STATUS"])
    assert sum("WATCHDOG" in message for message in manages.heard) >= 2
    assert sum("STOPPING" in message for message in manages.heard) == 1
    assert service.words == ""
    assert not service.said("event_loop_error")


async def test_stop_in_the_middle_of_a_sweep_keeps_what_was_recorded_and_the_next_service_goes_on(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    async with site(tmp_path, database_url, tokens=40) as here:
        here.write(ONCE)
        here.api.set_capacity(Capacity(workers=2, service_seconds=0.1))
        async with running(here) as service:
            await until(lambda: here.api.lookups >= 4, service)
            assert await service.stop() == 0
        found = service.said("sweep_suspended")[0]["recorded"]
        assert isinstance(found, int)
        assert 0 < found < 40
        assert await value(database, "select count(*) from lookup where outcome = 'found'") == found
        here.api.set_capacity(None)
        async with running(here) as service:
            await service.until("sweep_finished", status="complete", found=40)
            assert service.said("sweep_resumed", recorded=found)
            assert not service.said("sweep_enqueued")
            assert await service.stop() == 0
        assert here.api.lookups < 40 + 4


async def test_secret_out_of_reach_at_the_start_ends_the_service_so_that_it_is_started_again(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(CONFIGURATION.replace('{{ env = "OWN_TOKEN" }}', '{{ command = ["false"] }}'))
        async with running(here) as service:
            assert await service.ended() == 3
    assert "environments.prod.token: command false ended with exit code 1" in service.words


async def test_slot_that_comes_while_an_earlier_one_is_swept_is_passed_over(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    async with site(tmp_path, database_url, tokens=30) as here:
        here.api.set_capacity(Capacity(workers=1, service_seconds=0.1))
        async with running(here) as service:
            await service.until("slot_passed_over")
            assert await value(database, "select count(*) from queue_job") == 1
            here.api.set_capacity(None)
            await service.until("sweep_started", 2)
            assert await service.stop() == 0


async def test_sweeps_of_one_slot_begin_each_at_an_instant_of_its_own(tmp_path: Path, database_url: Secret) -> None:
    others = "".join(ENVIRONMENT.replace("prod", f"e{number}").replace("vault", f"v{number}") for number in range(5))
    async with site(tmp_path, database_url) as here:
        here.write(CONFIGURATION.replace("jitter_seconds = 0", "jitter_seconds = 14400") + others)
        async with running(here) as service:
            await service.until("sweep_enqueued", 6)
            assert len({event["delay_seconds"] for event in service.said("sweep_enqueued")}) > 1
            assert await service.stop() == 0


async def test_lookup_that_hangs_does_not_hold_up_the_end(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url) as here:
        here.api.set_faults(Faults(plans=(Plan(then=Fault.LATENCY),), latency_seconds=300))
        async with running(here) as service:
            await until(lambda: here.api.injector.injected[Fault.LATENCY] == 3, service)
            assert await service.stop() == 0


async def test_reload_puts_the_new_configuration_in_force(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url) as here:
        with manager(str(tmp_path / "notify")) as manages:
            async with running(here, NOTIFY_SOCKET=manages.address) as service:
                await service.until("sweep_finished", found=3)
                more = '[sources.more]\ntype = "plain"\npath = "more"\nenvironment = "prod"\n'
                (tmp_path / "more").write_text(here.world.create("one more", ["metrics.read"]).secret)
                here.write(CONFIGURATION + more)
                service.signal(signal.SIGHUP)
                await service.until("configuration_reloaded")
                await service.until("sweep_finished", found=4)
                assert await service.stop() == 0
        said = [next(iter(message)) for message in manages.heard]
        assert said[said.index("RELOADING") + 1] == "READY"


async def test_environment_that_is_configured_no_more_is_gone_from_the_gauges(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(ONCE + ENVIRONMENT.replace("prod", "old").replace("vault", "vault-old"))
        async with running(here) as service:
            await service.until("sweep_finished", 2, status="complete")
            _status, before = await service.get("/metrics")
            here.write(ONCE)
            service.signal(signal.SIGHUP)
            await service.until("configuration_reloaded")
            _status, after = await service.get("/metrics")
            assert await service.stop() == 0
    for name in ("auditor_sweep_complete_timestamp_seconds", "auditor_sweep_succeeded"):
        assert {sample[1] for sample in samples_of(before) if sample[0] == name} == {"prod", "old"}
        assert {sample[1] for sample in samples_of(after) if sample[0] == name} == {"prod"}


async def test_reload_of_a_wrong_configuration_changes_nothing_and_says_what_is_wrong(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url) as here, running(here) as service:
        await service.until("sweep_finished")
        here.write(CONFIGURATION.replace("concurrency", "concurency").replace('format = "json"', 'level = "error"'))
        service.signal(signal.SIGHUP)
        failed = await service.until("reload_failed", 1)
        assert "auditor.toml:" in failed["place"]
        assert "concurrency" in failed["problem"]
        here.write(CONFIGURATION.replace("OWN_TOKEN", "NO_TOKEN").replace('format = "json"', 'level = "error"'))
        service.signal(signal.SIGHUP)
        failed = await service.until("reload_failed", 2)
        assert failed["place"].endswith("environments.prod.token")
        await service.until("sweep_finished", len(service.said("sweep_finished")) + 1, status="complete")
        assert await service.stop() == 0


async def swept_anew(service: Running) -> None:
    """Wait for a sweep that began after now: the first to end may have begun before."""
    await service.until("sweep_finished", len(service.said("sweep_finished")) + 2)


async def test_reload_of_a_wrong_policy_keeps_the_last_good_one_and_says_everything_that_is_wrong(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    policy = tmp_path / "policy.toml"
    open_findings = "select count(*) from finding where status = 'open' and rule_id = 'DT-EXP-01'"
    switched_off = 'name = "next"\n[rules."DT-EXP-01"]\nenabled = false\n'
    with manager(str(tmp_path / "notify")) as manages:
        async with site(tmp_path, database_url) as here, running(here, NOTIFY_SOCKET=manages.address) as service:
            await service.until("sweep_finished", status="complete")
            policy.write_text(switched_off + '[rules."DT-EXP-1"]\n[rules."DT-STA-01"]\ndays = 0\n')
            service.signal(signal.SIGHUP)
            await service.until("reload_failed", 2)
            assert {event["place"]: event["problem"] for event in service.said("reload_failed")} == {
                f"{policy}:4": 'rules.DT-EXP-1: unknown rule; did you mean "DT-EXP-01"?',
                f"{policy}:6": "rules.DT-STA-01.days: must be greater than or equal to 1 (got 0)",
            }
            assert {event["effect"] for event in service.said("reload_failed")} == {"nothing has changed"}
            assert {event["level"] for event in service.said("reload_failed")} == {"error"}
            await swept_anew(service)
            assert await value(database, open_findings) == 3
            policy.unlink()
            service.signal(signal.SIGHUP)
            failed = await service.until("reload_failed", 3)
            assert failed["place"] == str(policy)
            policy.write_text(switched_off)
            service.signal(signal.SIGHUP)
            await service.until("configuration_reloaded")
            await swept_anew(service)
            assert await value(database, open_findings) == 0
            assert await service.stop() == 0
    statuses = [message["STATUS"] for message in manages.heard if "STATUS" in message]
    assert statuses.count("the last reload failed and changed nothing; see the log") == 2


async def test_reload_leaves_what_needs_a_restart_as_it_is_and_says_so_every_time(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url) as here, running(here) as service:
        await service.until("sweep_finished")
        here.write(CONFIGURATION.replace('"MASTER_KEY"', '"OTHER_KEY"').replace('"DATABASE_URL"', '"OTHER_URL"'))
        for number in (1, 2):
            service.signal(signal.SIGHUP)
            await service.until("configuration_reloaded", number)
        assert [event["tables"] for event in service.said("reload_needs_restart")] == [["database", "encryption"]] * 2
        assert not service.said("reload_failed")
        assert await service.stop() == 0


async def test_reload_in_the_middle_of_a_sweep_lets_it_end_with_what_it_began_with(
    tmp_path: Path, database_url: Secret
) -> None:
    async with site(tmp_path, database_url, tokens=20) as here:
        here.write(ONCE)
        here.api.set_capacity(Capacity(workers=1, service_seconds=0.1))
        async with running(here) as service:
            await until(lambda: here.api.lookups >= 1, service)
            for number in (1, 2):
                service.signal(signal.SIGHUP)
                await service.until("configuration_reloaded", number)
            assert not service.said("sweep_finished")
            await service.until("sweep_finished", status="complete", found=20)
            assert await service.stop() == 0
        assert not service.said("event_loop_error")


async def test_service_waits_for_a_database_that_is_away_at_its_start(tmp_path: Path, database_url: Secret) -> None:
    gate = Gate(database_url)
    async with site(tmp_path, gate.url) as here:
        with manager(str(tmp_path / "notify")) as manages:
            async with running(here, NOTIFY_SOCKET=manages.address) as service:
                await service.until("database_unavailable")
                status, why = await service.get("/readyz")
                assert status == 503
                assert "PostgreSQL cannot be reached" in why
                assert (await service.get("/metrics"))[0] == 503
                assert (await service.get("/healthz"))[0] == 200
                assert not manages.has_heard("READY")
                async with gate.opened():
                    await service.until("sweep_finished", status="complete")
                    assert manages.has_heard("READY")
                    assert (await service.get("/readyz"))[0] == 200
                    assert await service.stop() == 0


async def test_database_that_goes_away_undoes_no_reload(tmp_path: Path, database_url: Secret) -> None:
    gate = Gate(database_url)
    async with site(tmp_path, gate.url) as here:
        here.write(ONCE)
        async with running(here) as service:
            async with gate.opened():
                await service.until("sweep_finished")
                here.write()
                service.signal(signal.SIGHUP)
                await service.until("configuration_reloaded")
                await service.until("sweep_finished", 2)
            await service.until("database_unavailable")
            swept = len(service.said("sweep_finished"))
            async with gate.opened():
                await service.until("sweep_finished", swept + 3)
                assert await service.stop() == 0


async def test_service_that_waits_for_its_database_takes_a_new_configuration(
    tmp_path: Path, database_url: Secret
) -> None:
    gate = Gate(database_url)
    async with site(tmp_path, gate.url) as here, running(here) as service:
        await service.until("database_unavailable")
        here.write("[nonsense")
        service.signal(signal.SIGHUP)
        await service.until("reload_failed")
        here.write(CONFIGURATION.replace("prod", "moved"))
        service.signal(signal.SIGHUP)
        await service.until("configuration_reloaded")
        async with gate.opened():
            await service.until("sweep_finished", environment="moved")
            assert await service.stop() == 0
    assert not service.said("sweep_started", environment="prod")


async def test_service_that_waits_for_a_secret_takes_a_new_configuration(tmp_path: Path, database_url: Secret) -> None:
    gate = Gate(database_url)
    secret = tmp_path / "own.token"
    async with site(tmp_path, gate.url) as here:
        here.write(CONFIGURATION.replace('env = "OWN_TOKEN"', 'file = "own.token"'))
        secret.write_text(here.environ["OWN_TOKEN"])
        secret.chmod(0o600)
        async with running(here) as service:
            async with gate.opened():
                await service.until("sweep_finished")
            secret.rename(tmp_path / "moved.token")
            async with gate.opened():
                await service.until("configuration_unusable")
                here.write(CONFIGURATION.replace('env = "OWN_TOKEN"', 'file = "moved.token"'))
                service.signal(signal.SIGHUP)
                await service.until("configuration_reloaded")
                swept = len(service.said("sweep_finished", status="complete"))
                await service.until("sweep_finished", swept + 1, status="complete")
                assert await service.stop() == 0


async def test_service_that_waits_for_its_database_ends_when_asked(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, Gate(database_url).url) as here, running(here) as service:
        await service.until("database_unavailable")
        assert await service.stop() == 0


async def test_service_waits_until_its_database_takes_writes_again(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    async def allow_writes(is_allowed: bool) -> None:
        async with database.acquire() as connection:
            await connection.execute(
                f"""
                set default_transaction_read_only = off;
                do $$ begin execute format(
                    'alter database %I set default_transaction_read_only = {not is_allowed}', current_database()
                ); end $$
                """
            )
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name = 'auditor run'"
            )

    async with site(tmp_path, database_url) as here, running(here) as service:
        await service.until("sweep_finished", status="complete")
        await allow_writes(False)
        await until(
            lambda: any("takes no writes" in e["problem"] for e in service.said("database_unavailable")), service
        )
        await allow_writes(True)
        swept = len(service.said("sweep_finished", status="complete"))
        await service.until("sweep_finished", swept + 1, status="complete")
        assert await service.stop() == 0


async def test_connections_that_are_cut_in_the_middle_of_a_sweep_cost_no_sweep(
    tmp_path: Path, database_url: Secret
) -> None:
    gate = Gate(database_url)
    async with site(tmp_path, gate.url, tokens=20) as here:
        here.write(ONCE)
        here.api.set_capacity(Capacity(workers=1, service_seconds=0.1))
        async with running(here) as service:
            async with gate.opened():
                await until(lambda: here.api.lookups >= 1, service)
            await service.until("sweep_cut_short")
            here.api.set_capacity(None)
            async with gate.opened():
                await service.until("sweep_finished", status="complete", found=20)
                assert await service.stop() == 0


async def test_sweep_waits_for_an_owner_that_is_gone_but_not_yet_known_to_be(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(ONCE)
        async with database.acquire() as connection:
            environment = await sweeps.environment_id(connection, "prod", here.simulator.url("prod"))
        async with running(here) as service:
            async with Ownership(database).of("prod", environment):
                await service.until("sweep_waits")
            await service.until("sweep_finished", status="complete")
            assert await service.stop() == 0
    assert not service.said("sweep_skipped")


async def test_service_survives_a_restart_of_its_database(tmp_path: Path, fast_path: Path) -> None:
    def server() -> embedded.Address:
        return address.__enter__()

    address = embedded.running(fast_path)
    url = Secret((await asyncio.to_thread(server)).url)
    try:
        async with site(tmp_path, url) as here, running(here) as service:
            await service.until("sweep_finished")
            await asyncio.to_thread(address.__exit__, None, None, None)
            await service.until("database_unavailable")
            address = embedded.running(fast_path)
            await asyncio.to_thread(server)
            swept = len(service.said("sweep_finished", status="complete"))
            await service.until("sweep_finished", swept + 2, status="complete")
            assert (await service.get("/readyz"))[0] == 200
            assert await service.stop() == 0
    finally:
        await asyncio.to_thread(address.__exit__, None, None, None)


async def test_service_with_an_embedded_database_leaves_no_process(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url) as here:
        here.write(CONFIGURATION.replace('[database]\nurl = {{ env = "DATABASE_URL" }}\n', ""))
        async with running(here) as service:
            await service.until("sweep_finished", status="complete")
            server = psutil.Process(int((tmp_path / "state/postgres/data/postmaster.pid").read_text().split()[0]))
            assert await service.stop() == 0
        assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE  # nobody here collects orphans
        assert not (tmp_path / "state/postgres/data/postmaster.pid").exists()


async def test_two_services_on_one_database_make_one_sweep_a_slot(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    async with site(tmp_path, database_url) as here, running(here) as one, running(here) as other:
        await until(lambda: sum(len(service.said("sweep_finished")) for service in (one, other)) >= 4)
        assert [await service.stop() for service in (one, other)] == [0, 0]
    slots = Counter(event["slot"] for service in (one, other) for event in service.said("sweep_enqueued"))
    assert set(slots.values()) == {1}
    sweeps = await value(database, "select count(*) from sweep")
    assert sweeps == sum(len(service.said("sweep_started")) for service in (one, other)) <= len(slots)
    assert not one.said("sweep_skipped")
    assert not other.said("sweep_skipped")


async def test_scheduler_and_worker_share_what_one_service_does(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url) as here:
        own = here.environ.pop("OWN_TOKEN")  # which a scheduler does without
        async with running(here, role="scheduler") as scheduler, running(here, role="worker", OWN_TOKEN=own) as worker:
            await worker.until("sweep_finished", 2, status="complete")
            assert (await scheduler.get("/readyz"))[0] == (await worker.get("/readyz"))[0] == 200
            assert [await service.stop() for service in (scheduler, worker)] == [0, 0]
    assert scheduler.said("sweep_enqueued")
    assert not scheduler.said("sweep_started")
    assert not worker.said("sweep_enqueued")


async def test_environment_of_a_killed_worker_is_taken_over_where_it_was(
    tmp_path: Path, database_url: Secret, database: Pool
) -> None:
    async with site(tmp_path, database_url, tokens=40) as here:
        here.write(ONCE)
        here.api.set_capacity(Capacity(workers=1, service_seconds=0.5))
        async with running(here) as killed:
            await until(lambda: here.api.lookups >= 1, killed)
            async with running(here) as other:
                await other.until("service_started")
                killed.process.kill()
                here.api.set_capacity(None)
                # As if the time had passed after which its silence is noticed.
                async with database.acquire() as connection:
                    await connection.execute("update queue_job set heartbeat = heartbeat - $1::interval", HEARTBEAT)
                finished = await other.until("sweep_finished", status="complete", found=40)
                assert other.said("sweep_resumed", sweep=finished["sweep"])
                assert await other.stop() == 0


ALERTMANAGER = """
[hooks.team]
type = "alertmanager"
url = "URL/prefix"
token = {{ env = "ALERTMANAGER_TOKEN" }}
allow_http = true
"""


async def test_service_tells_an_alertmanager_that_was_restarted_what_still_stands(
    tmp_path: Path, database_url: Secret
) -> None:
    alertmanager = AlertmanagerReceiver()
    async with site(tmp_path, database_url) as here, receiving(alertmanager.answer) as receiver:
        here.write(ONCE + ALERTMANAGER.replace("URL", receiver.url.removesuffix("/hook")))
        here.environ["ALERTMANAGER_TOKEN"] = "capability-of-alertmanager"
        async with running(here) as service:
            await service.until("alert_delivered", 3)
            assert await service.stop() == 0
        before = dict(alertmanager.alerts)
        alertmanager.alerts.clear()
        async with running(here) as service:
            await until(lambda: alertmanager.alerts == before, service)
            assert await service.stop() == 0
    assert len(before) >= 3


async def test_endpoint_on_a_unix_socket_is_gone_with_the_service(tmp_path: Path, database_url: Secret) -> None:
    path = tmp_path / "http.sock"
    async with site(tmp_path, database_url) as here:
        here.listen = f"unix:{path}"
        here.write()
        with socket.socket(socket.AF_UNIX) as killed:  # what a service that was killed leaves behind
            killed.bind(str(path))
        async with running(here) as service:
            await service.until("sweep_finished")
            assert await service.get("/readyz") == (200, "ready\n")
            assert path.stat().st_mode & 0o777 == 0o660
            async with running(here) as second:
                assert await second.ended() == 2
            assert "another process listens there" in second.words
            assert await service.get("/healthz") == (200, "ok\n")
            assert await service.stop() == 0
        assert not path.exists()


async def test_port_that_is_taken_ends_it_with_a_message(tmp_path: Path, database_url: Secret) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with site(tmp_path, database_url) as here:
            here.listen = f"127.0.0.1:{taken.getsockname()[1]}"
            here.write()
            async with running(here) as service:
                assert await service.ended() == 2
    assert re.match(
        rf"auditor: web.listen: {here.listen} cannot be listened on: .*address already in use", service.words
    )
    assert service.words.count("\n") == 1


async def test_secret_that_is_missing_ends_it_with_a_message(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url) as here:
        del here.environ["OWN_TOKEN"]
        async with running(here) as service:
            assert await service.ended() == 2
    assert re.match(r"auditor: environments.prod.token: environment variable OWN_TOKEN .*", service.words)
    assert service.words.count("\n") == 1


async def test_database_of_a_newer_auditor_ends_it_with_a_message(tmp_path: Path, database_url: Secret) -> None:
    connection = await asyncpg.connect(database_url.reveal())
    await connection.execute("insert into schema_migration (number, name) values (9999, '9999_future.sql')")
    await connection.close()
    async with site(tmp_path, database_url) as here, running(here) as service:
        assert await service.ended() == 3
    assert "migrated by a newer auditor (9999_future.sql)" in service.words


MANY = """
[sweeps]
at_once = 2
""" + "".join(
    f"""
[environments.e{number}]
url = "{{url}}"
token = {{{{ env = "OWN_TOKEN" }}}}
allow_http = true

[sources.e{number}]
type = "plain"
path = "tokens"
environment = "e{number}"
"""
    for number in range(6)
)


async def test_service_takes_no_more_sweeps_than_can_have_their_turn(tmp_path: Path, database_url: Secret) -> None:
    async with site(tmp_path, database_url, tokens=10) as here:
        here.write(ONCE + MANY)
        here.api.set_capacity(Capacity(workers=2, service_seconds=0.1))
        async with running(here, role="worker") as one, running(here, role="worker") as other:
            await one.until("service_started")
            await other.until("service_started")
            async with running(here, role="scheduler") as scheduler:
                await scheduler.until("sweep_enqueued", 7)
                await until(lambda: bool(one.said("sweep_started") and other.said("sweep_started")), one, other)
            here.api.set_capacity(None)
            await until(lambda: len(one.said("sweep_finished")) + len(other.said("sweep_finished")) == 7, one, other)
            assert [await service.stop() for service in (one, other)] == [0, 0]
