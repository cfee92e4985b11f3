"""``auditor sweep`` as a user meets it: what it takes, what it prints, what it ends with."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from auditor.model.secret import Secret
from auditor.simulator import Fault, Faults, Plan, secrets
from tests.alerts.alertmanager_receiver import AlertmanagerReceiver
from tests.alerts.receivers import receiving
from tests.command_line import CONFIGURATION, Site, ended, in_thread
from tests.forking import Command


def test_sweep_of_all_prints_an_account_that_adds_up(site: Site) -> None:
    done = site.run("sweep", "--all")
    assert done.exit_code == 0, done.err
    header, *rows = [line.split() for line in done.out.splitlines()]
    accounts = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(accounts) == ["prod", "staging"]
    assert accounts["prod"] | {"Sweep": "complete", "Enrolled": "3", "Found": "3", "high": "2"} == accounts["prod"]
    assert accounts["staging"] | {"Enrolled": "1", "Found": "1", "high": "0"} == accounts["staging"]


def test_sweep_as_json_has_the_account_and_what_is_open(site: Site) -> None:
    gone = next(secrets(str(site.directory), 1))
    with (site.directory / "prod.txt").open("a") as file:
        file.write(gone + "\n")
    document = site.run("sweep", "prod", "--json").json()
    (account,) = document["sweeps"]
    assert {
        "environment": "prod",
        "status": "complete",
        "enrolled": 4,
        "found": 3,
        "missing": 1,
        "refused": 0,
        "failed": 0,
        "reasons": {},
        "source_problems": {},
    }.items() <= account.items()
    assert {"id", "started_at", "finished_at", "policy_digest", "self_lookup"} <= account.keys()
    assert document["open_findings"] == {"prod": {"high": 2, "low": 2}}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "configured are prod, staging"),
        (("prd",), 'did you mean "prod"?'),
        (("prod", "staging", "prd"), 'did you mean "prod"?'),
        (("prod", "--all"), "configured are prod, staging"),
    ],
)
def test_sweep_needs_known_environments_or_all(files: Site, arguments: tuple[str, ...], told: str) -> None:
    done = files.run("sweep", *arguments)
    assert (done.exit_code, told in done.complaints[0]) == (2, True)


def test_environment_named_twice_is_swept_once(site: Site) -> None:
    assert len(site.run("sweep", "prod", "prod", "--json").json()["sweeps"]) == 1


@pytest.mark.parametrize(("least", "exit_code"), [("low", 1), ("high", 1), ("critical", 0)])
def test_fail_on_exits_with_1_when_such_a_finding_is_open(site: Site, least: str, exit_code: int) -> None:
    assert site.run("sweep", "prod", "--fail-on", least).exit_code == exit_code


def test_fail_on_looks_only_at_what_was_swept(site: Site) -> None:
    assert site.run("sweep", "prod").exit_code == 0
    assert site.run("sweep", "staging", "--fail-on", "high").exit_code == 0


def test_failing_lookup_exits_with_3_and_its_reason(site: Site) -> None:
    plan = Plan(token_id=site.tokens["prod"][0].token.id, then=Fault.SERVER_ERROR)
    site.in_simulator(lambda: site.simulator.environments["prod"].set_faults(Faults(plans=(plan,))))
    done = site.run("sweep", "--all", "--fail-on", "low")
    assert done.exit_code == 3
    assert "prod: 1 not audited: HTTP 503" in done.out.splitlines()
    assert done.out.splitlines()[1].split()[:7] == ["prod", "incomplete", "3", "2", "0", "0", "1"]


def test_refused_token_of_our_own_fails_the_sweep_and_says_so(site: Site) -> None:
    site.write("prod.token", "dt0c01.none")
    done = site.run("sweep", "--all")
    assert done.exit_code == 3
    rows = [line.split()[:2] for line in done.out.splitlines()]
    assert rows[1:3] == [["prod", "failed"], ["staging", "complete"]]
    assert any("HTTP 401" in line for line in done.out.splitlines())


def test_source_that_cannot_be_read_is_named_and_the_others_are_swept(site: Site) -> None:
    (site.directory / "prod.txt").unlink()
    (site.directory / "prod.txt").mkdir()
    added = site.run("tokens", "import", "prod", stdin=site.tokens["prod"][0].secret.encode())
    assert added.exit_code == 0
    done = site.run("sweep", "prod")
    assert done.exit_code == 3
    assert done.out.splitlines()[1].split()[:4] == ["prod", "incomplete", "1", "1"]
    assert f"prod: source list: {site.directory}/prod.txt: cannot be read: Is a directory" in done.out


def test_empty_source_is_a_problem_unless_allowed(site: Site) -> None:
    site.write("prod.txt", "# none yet\n\n")
    done = site.run("sweep", "prod")
    assert done.exit_code == 3
    assert "allow_empty = true" in done.out
    site.configure(CONFIGURATION.replace('path = "prod.txt"', 'path = "prod.txt"\nallow_empty = true'))
    done = site.run("sweep", "prod")
    assert (done.exit_code, done.out.splitlines()[1].split()[:3]) == (0, ["prod", "complete", "0"])


def test_database_that_is_away_exits_with_3_and_a_clear_message(files: Site) -> None:
    for arguments in (("sweep", "--all"), ("findings",), ("report",), ("tokens", "list")):
        done = files.run(*arguments)
        assert (done.exit_code, done.out) == (3, "")
        assert len(done.complaints) == len(done.err.splitlines()) == 1
        assert done.complaints[0].startswith("PostgreSQL cannot be reached: ")
        assert "[database] url" in done.complaints[0]


def test_database_that_refuses_exits_with_3_and_a_clear_message(site: Site) -> None:
    url = site.environ["DATABASE_URL"].replace("postgresql:///test", "postgresql:///nosuch")
    done = site.run("sweep", "--all", DATABASE_URL=url)
    assert done.exit_code == 3
    assert done.complaints[0].startswith('PostgreSQL refused: database "nosuch')


def test_without_a_url_an_embedded_database_serves_and_stops(files: Site, tmp_path: Path) -> None:
    files.configure(CONFIGURATION.replace('url = { env = "DATABASE_URL" }', ""))
    assert files.run("sweep", "--all").exit_code == 0
    assert len(files.run("findings", "--json").json()) == 5
    assert not (tmp_path / "state" / "postgres" / "data" / "postmaster.pid").exists()


@contextmanager
def slow_sweep(site: Site, *arguments: str) -> Iterator[Command]:
    """A sweep in a process of its own that is in the middle of its lookups, and would take long to end."""
    tokens = [site.worlds["prod"].create(f"token {n}", ["metrics.read"]) for n in range(60)]
    site.store("prod", tokens)
    site.configure(CONFIGURATION.replace("attempts = 1", "attempts = 1\nconcurrency = 2"))
    environment = site.simulator.environments["prod"]
    faults = Faults(plans=(Plan(faults=(None,) * 4, then=Fault.LATENCY),), latency_seconds=20)
    site.in_simulator(lambda: environment.set_faults(faults))
    process = site.forked("sweep", *(arguments or ("prod",)))
    try:
        while environment.injector is None or not environment.injector.injected:
            assert process.poll() is None, ended(process)
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_a_sweep_in_order(site: Site, number: signal.Signals, exit_code: int) -> None:
    with slow_sweep(site) as process:
        if number is signal.SIGTERM:  # while we are at it: an environment has one owner at a time
            second = site.run("sweep", "--all", "--json")
            assert second.exit_code == 3
            assert 'environment "prod" is being swept by another process' in second.complaints[0]
            assert [account["environment"] for account in second.json()["sweeps"]] == ["staging"]
        process.send_signal(number)
        done = ended(process)
    assert done.exit_code == exit_code
    assert "Traceback" not in done.err
    assert not [event for event in done.events if event["level"] == "critical"]
    row = done.out.splitlines()[1].split()
    assert row[:2] == ["prod", "running"]
    enrolled, found, missing, refused, failed = map(int, row[2:7])
    assert found >= 4
    assert enrolled == found + missing + refused + failed
    assert "prod: stopped before its end; the next sweep goes on where this one was" in done.out


async def test_second_signal_ends_a_sweep_that_cannot_end_in_order(site: Site, database_url: Secret) -> None:
    with slow_sweep(site) as process:
        connection = await asyncpg.connect(database_url.reveal())
        try:
            async with connection.transaction():
                await connection.execute("lock table sweep")
                process.send_signal(signal.SIGINT)
                while b"Once more to stop at once" not in process.stderr.readline():
                    assert process.poll() is None
                process.send_signal(signal.SIGINT)
                done = ended(process)
        finally:
            await connection.close()
    assert (done.exit_code, done.out) == (130, "")
    assert "Traceback" not in done.err


def test_killed_sweep_is_closed_by_the_next_and_nothing_is_counted_twice(site: Site) -> None:
    with slow_sweep(site) as process:
        process.kill()
        assert ended(process).exit_code == -signal.SIGKILL
    site.in_simulator(lambda: site.simulator.environments["prod"].set_faults(None))
    assert site.run("sweep", "prod").exit_code == 0
    document = site.run("report", "--format", "json").json()
    assert document["environments"][0]["last_sweep"]["enrolled"] == 60
    assert document["findings_count"] == 60 + 1  # one of each token, and one of the owner of all


async def test_database_that_goes_away_in_a_sweep_is_told_without_a_traceback(site: Site, database_url: Secret) -> None:
    with slow_sweep(site) as process:
        connection = await asyncpg.connect(database_url.reveal())
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await connection.close()
        done = ended(process)
    assert done.exit_code == 3
    assert re.match('PostgreSQL cannot be reached: |the connection that owns environment "prod"', done.complaints[0])
    assert len(done.complaints) == 1
    assert "Traceback" not in done.err


def test_sweep_tells_an_alertmanager_that_was_restarted_what_still_stands(site: Site) -> None:
    alertmanager = AlertmanagerReceiver()
    with in_thread(receiving(alertmanager.answer)) as (receiver, _act):
        url = receiver.url.replace("/hook", "/prefix")
        hook = f'[hooks.team]\ntype = "alertmanager"\nurl = "{url}"\ntoken = {{ env = "AM" }}\nallow_http = true\n'
        site.configure(more=hook)
        site.environ["AM"] = "capability-of-alertmanager"
        site.run("sweep", "prod")
        before = dict(alertmanager.alerts)
        alertmanager.alerts.clear()
        site.run("sweep", "prod")
    assert before
    assert alertmanager.alerts == before
