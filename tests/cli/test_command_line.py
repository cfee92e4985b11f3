"""What every command has in common: help, exit codes, and how it ends when something unexpected happens."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from auditor import __version__
from auditor.cli.main import app
from auditor.simulator import secrets
from tests.command_line import Site, ended, ordinary_environ, run
from tests.forking import command

NOTHING = ordinary_environ(HOME="/nonexistent")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, member in getattr(command, "commands", {}).items():
        yield from commands(member, (*path, name))


ALL = list(commands(get_command(app)))


def test_every_command_of_the_design_is_there() -> None:
    top = {path[0] for path, _command in ALL if path}
    assert top == {
        *("demo", "sweep", "run", "check", "tokens", "rules", "findings", "policy", "report", "version"),
        *("waive", "waivers", "revocable", "forecast", "hooks", "evidence", "alerts", "ack", "reports", "database"),
    }
    kept = {path[1] for path, _command in ALL if path[:1] == ("tokens",) and len(path) > 1}
    assert kept == {"import", "add", "list", "remove", "rotate-key"}
    assert {path[1] for path, _command in ALL if path[:1] == ("policy",) and len(path) > 1} == {"explain", "diff"}
    assert {path[1] for path, _command in ALL if path[:1] == ("hooks",) and len(path) > 1} == {
        "list",
        "test",
        "preview",
    }


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "auditor" for path, _command in ALL])
def test_help_names_and_explains_every_option(path: tuple[str, ...], command: Any) -> None:
    done = run(*path, "--help", environ=NOTHING | {"COLUMNS": "400"})
    assert (done.exit_code, done.err) == (0, "")
    text = " ".join(done.out.split())
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, parameter.name
            for name in parameter.opts:
                assert re.search(rf" {name}\b.*? {re.escape(parameter.help)}", text), name
    for name, member in getattr(command, "commands", {}).items():
        assert f" {name} {member.help[:40]}" in text  # the rest may be cut to fit


def test_version_is_the_packages() -> None:
    assert run("version", environ=NOTHING).out == f"auditor {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("sweep", "--nosuch"),
        ("sweep", "--fail-on", "awful"),
        ("--log-level", "loud", "rules"),
        ("findings", "--resolved-days", "-1"),
        ("tokens", "remove", "prod"),
        ("rules", "DT-NOT-99"),
        ("--config", "/nonexistent/auditor.toml", "check"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, environ=NOTHING)
    assert done.exit_code == 2
    assert done.err.strip()
    assert "Traceback" not in done.err
    assert done.out == ""


def test_output_that_is_lost_leaves_no_traceback() -> None:
    reader, pipe = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        silent = [command(*arguments, environ=NOTHING, stdout=pipe) for arguments in (["rules"], ["rules", "--json"])]
        told = command("rules", environ=NOTHING, stdout=full)
    finally:
        os.close(pipe)
        os.close(full)
    for done in map(ended, silent):
        assert (done.exit_code, done.err) == (3, "")
    done = ended(told)
    assert done.exit_code == 3
    assert done.err == "auditor: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("closed", "out"),
    [("<&-", "No findings."), (">&-", ""), ("2>&-", "No findings."), ("<&- >&- 2>&-", "")],
)
def test_a_closed_standard_stream_changes_nothing(closed: str, out: str, lasting_site: Site) -> None:
    done = with_closed(closed, lasting_site, "findings")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, out, "")


def test_closed_standard_input_is_an_empty_one(lasting_site: Site) -> None:
    done = with_closed("<&-", lasting_site, "tokens", "add", "prod")
    assert (done.returncode, done.stderr) == (2, "auditor: standard input: holds no token\n")


def with_closed(streams: str, site: Site, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "auditor", "-c", str(site.config), *arguments],
        env=site.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("kind", [RuntimeError, EOFError])  # Typer takes the second for standard input's
def test_unexpected_error_exits_with_3_and_a_traceback_without_secrets(
    site: Site, tmp_path: Path, kind: type[Exception]
) -> None:
    secret = next(secret for secret in secrets(str(tmp_path), 9) if secret.count(".") == 2)
    plug_in(tmp_path / "plugins", f"raise {kind.__name__}('it was {secret}')")
    assert site.run("sweep", "--all").exit_code == 0
    site.environ["PYTHONPATH"] = f"{tmp_path / 'plugins'}:{Path(__file__).parents[2]}"
    done = ended(site.started("report", "--format", "broken"))
    assert done.exit_code == 3
    assert done.complaints == [
        "unexpected error: RuntimeError; this is a defect of auditor, please report it with the traceback"
    ]
    (event,) = done.events
    assert (event["event"], event["level"]) == ("unexpected_error", "critical")
    assert event["exception"][-1]["exc_type"] == kind.__name__
    assert event["exception"][-1]["frames"][-1]["filename"].endswith("broken_plugin.py")
    public, _, hidden = secret.rpartition(".")
    assert public in done.err
    assert hidden not in done.err


def plug_in(directory: Path, body: str) -> None:
    """Install a report format of another package, whose writing does as the body says."""
    (directory / "broken-1.0.dist-info").mkdir(parents=True)
    (directory / "broken-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (directory / "broken-1.0.dist-info" / "entry_points.txt").write_text(
        "[auditor.reports]\nbroken = broken_plugin:FORMAT\n"
    )
    (directory / "broken_plugin.py").write_text(
        "class Broken:\n    name = 'broken'\n    is_binary = False\n\n"
        f"    async def write(self, data, findings, out):\n        out.write(b'half of it')\n        {body}\n\n"
        "FORMAT = Broken()\n"
    )


def test_no_library_is_imported_before_it_is_needed() -> None:
    listing = "import sys, auditor.cli.main; print(sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "asyncpg", "pydantic", "msgspec", "rich", "asyncio"} & set(done.stdout.split("'"))
