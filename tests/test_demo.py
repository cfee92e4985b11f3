"""``auditor demo``: plays to its end, shows what it promises, and leaves nothing behind but the report."""

import re
import shlex
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import html5lib
import psutil
import pytest

from auditor.cli.demonstrating import SHOWN
from auditor.demo.play import staged
from tests.command_line import Ended, ended, ordinary_environ, run
from tests.forking import command


@dataclass(frozen=True)
class Played:
    """Two demos that ran side by side: one in a directory to keep, one in the temporary directory."""

    directory: Path
    kept: Ended
    report: Path
    passing: Ended
    temporary: Path
    environ: dict[str, str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    base = tmp_path_factory.mktemp("demo")
    temporary = base / "tmp"
    temporary.mkdir()
    environ = ordinary_environ(TMPDIR=str(temporary), HOME=str(base / "home"))
    keeping = command(
        "demo", "--directory", str(base / "kept"), "--output", str(base / "kept.md"), environ=environ, directory=base
    )
    passing = command("demo", environ=environ, directory=base)
    return Played(base / "kept", ended(keeping), base / "demo-report.html", ended(passing), temporary, environ)


def test_demo_runs_to_its_end(played: Played) -> None:
    for done in (played.kept, played.passing):
        assert (done.exit_code, done.err) == (0, "")
        assert "␊" not in done.out
    assert f"Configuration, sources, database and log: {played.directory}" in played.kept.out.splitlines()


def test_name_of_its_report_tells_the_format(played: Played) -> None:
    assert played.directory.with_suffix(".md").read_text().startswith("# ")
    assert played.report.read_text().lstrip().startswith("<!doctype html>")


def test_kept_database_can_be_asked_as_it_is_said(played: Played) -> None:
    (line,) = (line for line in played.kept.out.splitlines() if line.startswith("Ask its database again: "))
    state, program, *arguments = shlex.split(line.removeprefix("Ask its database again: "))
    name, _equals, value = state.partition("=")
    done = run(*arguments, "--json", environ=ordinary_environ(**{name: value}))
    assert (program, done.exit_code) == ("auditor", 0)
    assert {"production", "staging"} <= {finding["environment"] for finding in done.json()}


def test_both_sweeps_are_shown_with_accounts_that_add_up(played: Played) -> None:
    first, second = (
        part.splitlines()[2:5]
        for part in re.split(r"^(?:First|Second) sweep.*$", played.passing.out, flags=re.MULTILINE)[1:]
    )
    for rows in (first, second):
        assert [row.split()[0] for row in rows] == ["production", "staging", "managed"]
        for row in rows:
            enrolled, found, missing, refused, failed = map(int, row.split()[2:7])
            assert enrolled == found + missing + refused + failed
    assert sum(int(row.split()[2]) for row in first) == 204
    assert first[0].split()[1] == "incomplete"
    assert "production: 1 not audited: HTTP 503" in played.passing.out
    assert int(second[0].split()[4]) == 2  # the revoked ones are missing


def test_findings_open_and_resolve(played: Played) -> None:
    first, second = played.passing.out.split("A day passes")
    assert re.search(r"^opened +critical +DT-SCP-01 +", first, re.MULTILINE)
    assert "resolved" not in first
    assert re.search(r"^resolved +high +DT-EXP-01 +production", second, re.MULTILINE)
    assert re.search(r"^opened +high +DT-NET-01 +production .*198\.51\.100\.23", second, re.MULTILINE)


def test_every_alert_arrives_with_a_good_signature(played: Played) -> None:
    match = re.search(
        r"^Alerts: the webhook took (\d+), all with a good signature\.$", played.passing.out, re.MULTILINE
    )
    assert match
    assert int(match[1]) >= 10  # of each first sweep one summary, then each alert


def test_report_is_one_valid_page_that_asks_for_nothing(played: Played) -> None:
    assert f"Report: {played.report}" in played.passing.out.splitlines()
    page = html5lib.HTMLParser(strict=True, tree=html5lib.getTreeBuilder("etree")).parse(
        played.report.read_text(encoding="utf-8")
    )
    targets = [element.get(name) for element in page.iter() for name in ("src", "href", "action", "srcset", "poster")]
    assert all(target.startswith(("#", "data:")) for target in targets if target is not None)
    text = "".join(page.itertext())
    assert "never expires" in text
    assert "production" in text


def test_nothing_is_left_behind(played: Played) -> None:
    assert list(played.temporary.iterdir()) == []
    assert not (played.directory / "state" / "postgres" / "data" / "postmaster.pid").exists()
    assert running_under(played.directory.parent) == []


def test_kept_directory_can_be_used_and_tells_all_that_the_sweeps_found(played: Played) -> None:
    environ = played.environ | {"STATE_DIRECTORY": str(played.directory / "state")}
    config = ("--config", str(played.directory / "auditor.toml"))
    assert run(*config, "check", environ=environ).exit_code == 0
    found = run(*config, "findings", "--json", environ=environ).json()
    assert len(found) > 100
    assert (played.directory / "auditor.log").read_text().count('"sweep_finished"') == 6
    again = run("demo", "--directory", str(played.directory), environ=environ | {"PWD": str(played.directory)})
    assert again.exit_code == 2
    assert "is not empty" in again.complaints[0]


def test_same_seed_gives_the_same_findings(played: Played) -> None:
    assert listed(played.kept) == listed(played.passing)


def listed(done: Ended) -> list[list[str]]:
    """What the tables of findings say: transition, severity, rule, environment, token."""
    return [line.split()[:5] for line in done.out.splitlines() if re.match("opened|escalated|resolved|reopened", line)]


async def test_demo_is_the_same_on_any_day(played: Played, tmp_path: Path) -> None:
    new_year = datetime(2031, 12, 31, 23, 59, 59, 999_999, UTC)
    async with staged(tmp_path, now=new_year, environ=played.environ) as demo:
        acts = [await demo.sweep()]
        demo.let_a_day_pass()
        acts.append(await demo.sweep())
        assert demo.receiver.rejected == 0
    shown = [
        [event.transition.value, event.severity.value, event.rule_id, event.environment, event.label]
        for act in acts
        for event in act.happened[:SHOWN]
    ]
    assert shown == listed(played.passing)


@pytest.fixture
def interrupted(tmp_path: Path) -> Ended:
    (tmp_path / "tmp").mkdir()
    process = command("demo", environ=ordinary_environ(TMPDIR=str(tmp_path / "tmp")), directory=tmp_path)
    assert process.stdout.readline().startswith(b"Setting up")
    process.send_signal(signal.SIGINT)
    return ended(process)


def test_interrupted_demo_leaves_nothing_behind_either(interrupted: Ended, tmp_path: Path) -> None:
    assert interrupted.exit_code == 130
    assert "Traceback" not in interrupted.err
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert running_under(tmp_path) == []


def test_demo_says_at_once_that_its_output_cannot_be_written(tmp_path: Path) -> None:
    done = run("demo", "--output", str(tmp_path / "none" / "report.html"), environ=ordinary_environ())
    assert (done.exit_code, done.out) == (2, "")
    (tmp_path / "file").touch()
    done = run(
        "demo", "--directory", str(tmp_path / "file"), "-o", str(tmp_path / "r.html"), environ=ordinary_environ()
    )
    assert done.exit_code == 2
    assert "cannot be made" in done.complaints[0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def running_under(directory: Path) -> list[str]:
    """The command lines of processes that have anything to do with a directory."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(directory) in words:
            found.append(words)
    return found
