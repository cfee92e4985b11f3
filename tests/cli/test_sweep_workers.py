"""``auditor sweep --workers``: several processes, told as if by one."""

import signal
import time

import psutil
import pytest

from auditor.cli.sharing import shares
from tests.cli.test_sweep_command import slow_sweep
from tests.command_line import Site, ended
from tests.forking import Command


def workers_of(process: Command) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("weights", "workers", "dealt"),
    [
        ({"a": 5, "b": 4, "c": 3, "d": 2}, 2, [["a", "d"], ["b", "c"]]),
        ({"a": 0, "b": 0, "c": 0}, 2, [["a", "c"], ["b"]]),
        ({"a": 9}, 4, [["a"]]),
        ({"a": 1, "b": 9}, 4, [["b"], ["a"]]),
    ],
)
def test_shares_weigh_about_the_same(weights: dict[str, int], workers: int, dealt: list[list[str]]) -> None:
    assert shares(weights, workers) == dealt


def test_workers_give_one_account_in_the_order_of_the_environments(site: Site) -> None:
    alone = site.run("sweep", "--all", "--json").json()
    done = site.run("sweep", "--all", "--workers", "2", "--json", "--fail-on", "high")
    assert done.exit_code == 1, done.err
    shared = done.json()
    assert [account["environment"] for account in shared["sweeps"]] == ["prod", "staging"]
    for one, other in zip(alone["sweeps"], shared["sweeps"], strict=True):
        assert {**one, **dict.fromkeys(("id", "started_at", "finished_at"))} == {
            **other,
            **dict.fromkeys(("id", "started_at", "finished_at")),
        }
    assert shared["open_findings"] == alone["open_findings"]
    finished = [event["environment"] for event in done.events if event["event"] == "sweep_finished"]
    assert sorted(finished) == ["prod", "staging"]


def test_nothing_is_swept_where_a_worker_cannot_begin(site: Site) -> None:
    (site.directory / "staging.token").unlink()
    done = site.run("sweep", "--all", "--workers", "2")
    assert done.exit_code == 3
    assert "environments.staging.token" in done.err
    assert "Traceback" not in done.err
    assert not [event for event in done.events if event["event"] == "sweep_finished"]


def test_killed_worker_is_told_and_the_others_go_on(site: Site) -> None:
    with slow_sweep(site, "--all", "--workers", "2", "--json") as process:
        while len(workers_of(process)) > 1:  # the one that has only staging to sweep ends
            assert process.poll() is None
            time.sleep(0.02)
        (busy,) = workers_of(process)
        busy.kill()
        done = ended(process)
    assert done.exit_code == 3, done.err
    assert [account["environment"] for account in done.json()["sweeps"]] == ["staging"]
    (died,) = (event for event in done.events if event["event"] == "sweep_worker_died")
    assert (died["exit_code"], died["environments"]) == (-signal.SIGKILL, ["prod"])
    assert "not swept to the end: prod" in done.complaints[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_to_the_command_reaches_every_worker(site: Site, number: signal.Signals) -> None:
    with slow_sweep(site, "--all", "--workers", "2") as process:
        sweeping = workers_of(process)
        assert len(sweeping) == 2
        process.send_signal(number)
        done = ended(process)
    _gone, left = psutil.wait_procs(sweeping, timeout=30)
    assert not left
    if number is signal.SIGTERM:
        assert done.exit_code == 143
        assert done.out.splitlines()[1].split()[:2] == ["prod", "running"]
        assert "Traceback" not in done.err
