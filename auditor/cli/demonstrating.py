"""``auditor demo``: plays the demo and says what is seen."""

import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from auditor.cli import exits
from auditor.cli.reporting import destination
from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import console, print_table, severity, text
from auditor.cli.sweeping import print_account
from auditor.demo.play import Act, Demo, staged
from auditor.log import configure
from auditor.model.errors import ConfigError, Problem
from auditor.reports.base import Format
from auditor.reports.registry import format_of
from auditor.store.findings import Happened

SHOWN = 20
"""Findings shown after each sweep; the report has all."""


def demo(session: Session, directory: Path | None, output: Path) -> int:
    """Play the demo in a directory, or in one that is removed again; its report is in the format of the file's name."""
    wanted = format_of(output)
    with destination(output) as report:
        if directory is not None:
            _make_room(directory)
            run_loop(_play(session, directory.resolve(), wanted, report))
        else:
            temporary = Path(tempfile.mkdtemp(prefix="auditor-demo-"))
            try:
                run_loop(_play(session, temporary, wanted, report))
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    out = console()
    out.print(text(f"Report: {output.resolve()}"))
    if directory is not None:
        kept = directory.resolve()
        out.print(text(f"Configuration, sources, database and log: {kept}"))
        state, config = shlex.quote(f"{kept}/state"), shlex.quote(f"{kept}/auditor.toml")
        out.print(text(f"Ask its database again: STATE_DIRECTORY={state} auditor --config {config} findings"))
    _say_what_next()
    return exits.OK


def _make_room(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_empty = not any(directory.iterdir())
    except OSError as error:
        raise ConfigError(
            Problem(str(directory), f"cannot be made: {error.strerror}; choose another --directory")
        ) from error
    if not is_empty:
        raise ConfigError(Problem(str(directory), "is not empty; name a directory that does not exist yet"))


async def _play(session: Session, directory: Path, wanted: Format, report: BinaryIO) -> None:
    with (directory / "auditor.log").open("w", encoding="utf-8") as log_file:
        configure("json", session.log_level or "info", log_file, environ=session.environ)
        try:
            await _show_acts(session, directory, wanted, report)
        finally:  # the file is closed; what goes wrong from here on is for standard error
            session.configure_log("info", "auto")


async def _show_acts(session: Session, directory: Path, wanted: Format, report: BinaryIO) -> None:
    console().print("Setting up three simulated environments, six sources and an embedded PostgreSQL …")
    async with staged(directory, now=now(), environ=session.environ) as demo_:
        _title("First sweep")
        _show(await demo_.sweep())
        _title("A day passes")
        for sentence in demo_.let_a_day_pass():
            console().print(text(f"  {sentence}"))
        _title("Second sweep: what changed")
        _show(await demo_.sweep())
        await demo_.report(wanted, report)
        _show_alerts(demo_)


def _title(words: str) -> None:
    console().print()
    console().print(text(words, "bold"))


def _show(act: Act) -> None:
    print_account(act.summaries, act.open_findings, {})
    if act.happened:
        console().print()
        _show_happened(act.happened[:SHOWN])
    if len(act.happened) > SHOWN:
        console().print(f"… and {len(act.happened) - SHOWN} more")


def _show_happened(happened: Sequence[Happened]) -> None:
    print_table(
        ("Finding", "Severity", "Rule", "Environment", "Token", "Owner", "What"),
        (
            (
                event.transition.value,
                severity(event.severity.value),
                event.rule_id,
                event.environment,
                text(event.label),
                text(event.owner or ""),
                text(event.message),
            )
            for event in happened
        ),
    )


def _show_alerts(demo_: Demo) -> None:
    received, rejected = len(demo_.receiver.received), demo_.receiver.rejected
    verdict = "all with a good signature" if not rejected else f"and rejected {rejected} for their signature"
    console().print(f"\nAlerts: the webhook took {received}, {verdict}.")


def _say_what_next() -> None:
    console().print(
        "\nTo audit a real environment:\n"
        "  1. Copy config/ to a place of yours and edit auditor.toml: the environment's url, the auditor's own token\n"
        "     (any scope will do), and where your tokens are stored.\n"
        "  2. auditor --config auditor.toml check --connect\n"
        "  3. auditor --config auditor.toml sweep --all\n"
        "  4. auditor --config auditor.toml report -o report.html\n"
        "docs/operations.md tells how to leave it running under systemd."
    )
