"""``auditor``: its commands, the options that all of them take, and what an error looks like."""

import errno
import gc
import os
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from auditor import __version__
from auditor.cli import exits
from auditor.cli.commands import alerts, database, evidence, findings, hooks, policy, reports, tokens, waivers
from auditor.cli.commands.invocation import (
    Environments,
    Given,
    Json,
    LogFormat,
    LogLevel,
    SeverityName,
    finish,
    session,
)
from auditor.daemon.role import Role
from auditor.model.errors import AuditorError, ConfigError, ungrouped

app = typer.Typer(
    name="auditor",
    help="Audit stored Dynatrace API tokens against policy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (tokens, alerts, findings, waivers, policy, evidence, hooks, reports, database):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


class VerdictName(StrEnum):
    """Verdicts on revoking a token as the command line takes them."""

    SAFE = "safe"
    LIKELY_SAFE = "likely_safe"
    RISKY = "risky"
    DO_NOT_REVOKE = "do_not_revoke"
    GONE = "gone"
    UNKNOWN = "unknown"


@app.callback()
def _global(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Configuration file.",
            envvar="AUDITOR_CONFIG",
            show_default="/etc/auditor/auditor.toml",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Log from this level up, whatever the configuration says.")
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="How log lines look, whatever the configuration says.")
    ] = None,
) -> None:
    Given.config = config
    Given.log_level = log_level
    Given.log_format = log_format


@app.command()
def version() -> None:
    """Print the version."""
    print(f"auditor {__version__}")


@app.command()
def demo(
    directory: Annotated[
        Path | None, typer.Option(help="Keep the demo's files here instead of a directory that is removed.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the report goes, in the format as which its name ends.")
    ] = Path("demo-report.html"),
) -> None:
    """Audit a simulated organisation: three environments, some 200 tokens, two sweeps; needs nothing installed."""
    from auditor.cli import demonstrating

    finish(demonstrating.demo(session(), directory, output))


@app.command()
def sweep(
    environments: Annotated[list[str] | None, typer.Argument(help="Environments to sweep.")] = None,
    all_environments: Annotated[bool, typer.Option("--all", help="Sweep every configured environment.")] = False,
    fail_on: Annotated[
        SeverityName | None,
        typer.Option(help="Exit with 1 when a finding of this severity or worse is open, and no waiver covers it."),
    ] = None,
    deliver_seconds: Annotated[
        float, typer.Option(min=0, help="Spend at most so long on delivering alerts; the rest waits for the next run.")
    ] = 60,
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Processes that share the environments; one environment is never divided."),
    ] = 1,
    as_json: Json = False,
) -> None:
    """Sweep environments once, deliver alerts, and print the account."""
    from auditor.cli import sweeping

    finish(
        sweeping.sweep(
            session(),
            environments or [],
            all_environments=all_environments,
            fail_on=fail_on.value if fail_on else None,
            deliver_seconds=deliver_seconds,
            as_json=as_json,
            workers=workers,
        )
    )


@app.command()
def run(
    role: Annotated[
        Role, typer.Option(help="What this process does, where several share one database; see docs/scaling.md")
    ] = Role.ALL,
) -> None:
    """Run as a service: sweep on schedule, deliver alerts, answer probes."""
    from auditor.cli import running

    finish(running.run(session(), role))


@app.command()
def check(
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the database, every environment, source and secret command.")
    ] = False,
) -> None:
    """Validate configuration, policies and secrets; touches neither network nor database without --connect."""
    from auditor.cli import checking

    finish(checking.check(session(), connect=connect))


@app.command()
def rules(
    rule: Annotated[str | None, typer.Argument(help="Explain this rule, for instance DT-EXP-01.")] = None,
    as_json: Json = False,
) -> None:
    """List the rules, or explain one."""
    from auditor.cli import catalogue

    finish(catalogue.rules(session(), rule, as_json=as_json))


@app.command()
def waive(
    key: Annotated[str, typer.Argument(help="The finding's key: environment/token/rule.")],
    owner: Annotated[str, typer.Option(help="Who asks for it and answers for the risk.")],
    approver: Annotated[str, typer.Option(help="Who grants it.")],
    reason: Annotated[str, typer.Option(help="Why the finding is accepted.")],
    ticket: Annotated[str, typer.Option(help="Where the mend is tracked.")],
    until: Annotated[
        str, typer.Option(help="The first day (from midnight UTC), or instant, on which it is in force no more.")
    ],
    as_json: Json = False,
) -> None:
    """Accept an open finding until a day: it stays open and visible, and alerts of it are muted."""
    from auditor.cli import waiving

    finish(
        waiving.waive(
            session(),
            key,
            owner=owner,
            approver=approver,
            reason=reason,
            ticket=ticket,
            until=until,
            as_json=as_json,
        )
    )


@app.command()
def ack(
    keys: Annotated[list[str], typer.Argument(help="Keys of findings: environment/token/rule.")],
    until: Annotated[
        str | None, typer.Option(help="Only until this day (midnight UTC) or instant; then reminders begin again.")
    ] = None,
    note: Annotated[str, typer.Option(help="What is being done about it.")] = "",
    by: Annotated[str | None, typer.Option(help="Who knows of it; by default the user who runs this.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an acknowledgement back.")] = False,
) -> None:
    """Acknowledge open findings: no reminder or escalation goes out until they get worse or come back."""
    from auditor.cli import alerting

    finish(alerting.acknowledge(session(), keys, until=until, note=note, by=by, withdraw=withdraw))


@app.command()
def revocable(
    token: Annotated[str | None, typer.Argument(help="Only this token, by its public id.")] = None,
    environment: Environments = None,
    verdict: Annotated[
        list[VerdictName] | None, typer.Option(help="Tokens of this verdict, in place of safe and likely_safe.")
    ] = None,
    all_verdicts: Annotated[bool, typer.Option("--all", help="Tokens of every verdict.")] = False,
    as_json: Json = False,
) -> None:
    """List the tokens that can be revoked without breaking anything, with the evidence for it."""
    from auditor.cli import revoking

    finish(
        revoking.revocable(
            session(),
            token,
            environments=environment or [],
            verdicts=[one.value for one in verdict or []],
            all_verdicts=all_verdicts,
            as_json=as_json,
        )
    )


@app.command()
def forecast(
    environment: Environments = None,
    lead_days: Annotated[
        int, typer.Option(min=0, max=365, help="Propose to renew tokens at least so many days before they expire.")
    ] = 14,
    spread_days: Annotated[
        int, typer.Option(min=0, max=365, help="Spread what ends at once over at most so many days before that.")
    ] = 30,
    weekdays_only: Annotated[
        bool, typer.Option("--weekdays-only", help="Propose to renew nothing on Saturdays and Sundays.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Forecast what expires within twelve months, and propose days that stagger what ends at once."""
    from auditor.cli import forecasting
    from auditor.policy.forecast import Staggering

    staggering = Staggering(lead_days=lead_days, spread_days=spread_days, weekdays_only=weekdays_only)
    finish(forecasting.forecast(session(), environments=environment or [], staggering=staggering, as_json=as_json))


@app.command()
def report(
    report_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="csv-verdicts, csv-coverage, csv, html, json, jsonl, markdown, pdf, xlsx, ocsf, oscal, sarif or asff.",
            show_default="as the file's name ends, else html",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; standard output when absent or -.")
    ] = None,
    environment: Environments = None,
    framework: Annotated[
        list[str] | None,
        typer.Option(
            help="Only what bears on the controls of this framework: owasp-nhi, nist-800-53, iso-27001, pci-dss, cis, "
            "soc-2, nis2 or dora."
        ),
    ] = None,
    resolved_days: Annotated[
        int, typer.Option(min=0, max=36_500, help="Also list findings resolved within so many days.")
    ] = 30,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DAY|INSTANT", help="As everything stood at the end of a day, or at an instant."),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(metavar="PERIOD", help="As of the end of a period, with what was resolved in the course of it."),
    ] = None,
    aws_account: Annotated[
        str | None, typer.Option(help="The AWS account that findings belong to, twelve digits; for asff.")
    ] = None,
    aws_region: Annotated[
        str | None, typer.Option(envvar="AWS_REGION", help="The AWS region that findings belong to; for asff.")
    ] = None,
) -> None:
    """Write a report of findings, of controls, and of the coverage of sweeps.

    A day is written 2026-09-30, an instant 2026-09-30T12:00Z; a period 2026, 2026-Q3, 2026-07, 2026-W12, or from one to
    another with a slash.
    """
    from auditor.cli import reporting

    finish(
        reporting.report(
            session(),
            report_format,
            output,
            environments=environment or [],
            frameworks=framework or [],
            resolved_days=resolved_days,
            as_of=as_of,
            period=period,
            aws_account=aws_account,
            aws_region=aws_region,
        )
    )


def start() -> None:
    """Run the command line and end the process with its exit code."""
    _open_closed_streams()
    gc.set_threshold(
        20_000, 20, 50
    )  # importing makes much that stays, which the collector would look at again and again
    exit_code = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_output(error)
        exit_code = exits.FAILED
    sys.exit(exit_code)


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed: else the next file or socket would be in its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY if descriptor else os.O_RDONLY)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    # The interpreter has none where it found the stream closed.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- for as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _run() -> int:
    """Run the command that was asked for, and turn whatever ends it into an exit code."""
    try:
        with ungrouped():
            app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exits.OK if end.code is None else exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the last to hear of it; told with its traceback
        return _failed(error)
    return exits.OK


def _failed(error: Exception) -> int:
    if isinstance(error, AuditorError):
        _complain(error)
        return error.exit_code

    import structlog

    from auditor.cli.showing import OutputLost
    from auditor.log import configure

    if isinstance(error, OutputLost):
        _give_up_output(error.why)
        return exits.FAILED
    if not structlog.is_configured():  # else the traceback would go out as it is, secrets and all
        configure(environ=os.environ)
    structlog.get_logger(__name__).critical("unexpected_error", exc_info=error)
    _say(f"unexpected error: {type(error).__name__}; this is a defect of auditor, please report it with the traceback")
    return exits.FAILED


def _complain(error: AuditorError) -> None:
    for line in map(str, error.problems) if isinstance(error, ConfigError) else (str(error),):
        _say(line)


def _say(line: str) -> None:
    """Print a line to standard error: one line whatever is in it, and no secret."""
    from auditor.outside_text import visible
    from auditor.redaction import redact

    with suppress(OSError):
        print(f"auditor: {visible(redact(line))}", file=sys.stderr)


def _give_up_output(error: OSError) -> None:
    """Let go of standard output: without this, the interpreter would try it again at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno != errno.EPIPE:  # else whoever read our output has enough
        _say(f"standard output cannot be written: {error.strerror}")


if __name__ == "__main__":
    start()
