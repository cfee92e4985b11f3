"""``auditor``: options that every command takes, the commands, and what an error looks like."""

import errno
import gc
import os
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from auditor import __version__
from auditor.cli import exits
from auditor.daemon.role import Role
from auditor.model.errors import AuditorError, ConfigError, ungrouped

if TYPE_CHECKING:
    from auditor.cli.session import Session

app = typer.Typer(
    name="auditor",
    help="Audit stored Dynatrace API tokens against policy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tokens_app = typer.Typer(help="Keep tokens in the encrypted store.", no_args_is_help=True)
findings_app = typer.Typer(help="List findings, or show one with its history.")
app.add_typer(tokens_app, name="tokens")
policy_app = typer.Typer(
    help="See what the policy makes of a token, or what a draft of it would change.", no_args_is_help=True
)
waivers_app = typer.Typer(help="List waivers, or withdraw one.")
alerts_app = typer.Typer(help="See whether alerts arrived, and try them again.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")
app.add_typer(findings_app, name="findings")
app.add_typer(waivers_app, name="waivers")
app.add_typer(policy_app, name="policy")
evidence_app = typer.Typer(help="Hand out evidence of sweeps and findings, or prove it.", no_args_is_help=True)
app.add_typer(evidence_app, name="evidence")
hooks_app = typer.Typer(help="List hooks, send a test through one, or preview what it says.", no_args_is_help=True)
app.add_typer(hooks_app, name="hooks")
reports_app = typer.Typer(help="See which reports were made on schedule, or make one now.", no_args_is_help=True)
app.add_typer(reports_app, name="reports")


LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


class SeverityName(StrEnum):
    """Severities as the command line takes them."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class VerdictName(StrEnum):
    """Verdicts on revoking a token as the command line takes them."""

    SAFE = "safe"
    LIKELY_SAFE = "likely_safe"
    RISKY = "risky"
    DO_NOT_REVOKE = "do_not_revoke"
    GONE = "gone"
    UNKNOWN = "unknown"


class FormName(StrEnum):
    """Ways to show text as the command line takes them."""

    TEXT = "text"
    HTML = "html"
    MARKDOWN = "markdown"
    SLACK = "slack"


class DeliveryStateName(StrEnum):
    """States of deliveries as the command line takes them."""

    HELD = "held"
    GATHERED = "gathered"
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class _Options:
    """What was given before the command."""

    config: Path | None = None
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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
    _Options.config = config
    _Options.log_level = log_level
    _Options.log_format = log_format


@app.command()
def version() -> None:
    """Print the version."""
    print(f"auditor {__version__}")


@app.command()
def demo(
    directory: Annotated[
        Path | None, typer.Option(help="Keep the demo's files here instead of a directory that is removed.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path("demo-report.html"),
) -> None:
    """Audit a simulated organisation: three environments, some 200 tokens, two sweeps; needs nothing installed."""
    from auditor.cli import demonstrating

    _finish(demonstrating.demo(_session(), directory, output))


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

    _finish(
        sweeping.sweep(
            _session(),
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

    _finish(running.run(_session(), role))


@app.command()
def check(
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the database, every environment, source and secret command.")
    ] = False,
) -> None:
    """Validate configuration, policies and secrets; touches neither network nor database without --connect."""
    from auditor.cli import checking

    _finish(checking.check(_session(), connect=connect))


@app.command()
def rules(
    rule: Annotated[str | None, typer.Argument(help="Explain this rule, for instance DT-EXP-01.")] = None,
    as_json: Json = False,
) -> None:
    """List the rules, or explain one."""
    from auditor.cli import catalogue

    _finish(catalogue.rules(_session(), rule, as_json=as_json))


@findings_app.callback(invoke_without_command=True)
def findings(
    context: typer.Context,
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
    severity: Annotated[SeverityName | None, typer.Option(help="Only this severity or worse.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule.")] = None,
    owner: Annotated[list[str] | None, typer.Option(help="Only this owner's, whatever the case.")] = None,
    resolved_days: Annotated[int, typer.Option(min=0, max=36_500, help="Also those resolved within so many days.")] = 0,
    waived: Annotated[
        bool | None, typer.Option("--waived/--no-waived", help="Only those that a waiver mutes, or only the others.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List open findings, worst first; those that a waiver mutes come after the others."""
    if context.invoked_subcommand is not None:
        return
    from auditor.cli import listing

    _finish(
        listing.findings(
            _session(),
            environments=environment or [],
            least=severity.value if severity else None,
            rules=rule or [],
            owners=owner or [],
            resolved_days=resolved_days,
            waived=waived,
            as_json=as_json,
        )
    )


@findings_app.command("show")
def show_finding(
    key: Annotated[str, typer.Argument(help="The finding's key: environment/token/rule.")], as_json: Json = False
) -> None:
    """Show one finding with its evidence, history and mend."""
    from auditor.cli import listing

    _finish(listing.show(_session(), key, as_json=as_json))


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

    _finish(
        waiving.waive(
            _session(),
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

    _finish(alerting.acknowledge(_session(), keys, until=until, note=note, by=by, withdraw=withdraw))


@alerts_app.command("list")
def list_alerts(
    hook: Annotated[str | None, typer.Option(help="Only alerts to this hook.")] = None,
    state: Annotated[list[DeliveryStateName] | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List alerts by hook, the newest first: delivered, pending, held for a digest, or dead."""
    from auditor.cli import alerting

    states = [one.value for one in state or []]
    _finish(alerting.list_alerts(_session(), hook=hook, states=states, limit=limit, as_json=as_json))


@alerts_app.command("show")
def show_alert(
    alert: Annotated[str, typer.Argument(help="The id of an alert or digest, or its beginning.")], as_json: Json = False
) -> None:
    """Show an alert or digest with every attempt to deliver it, and what was answered."""
    from auditor.cli import alerting

    _finish(alerting.show(_session(), alert, as_json=as_json))


@alerts_app.command("retry")
def retry_alerts(
    alert: Annotated[str | None, typer.Argument(help="The id of an alert or digest, or its beginning.")] = None,
    hook: Annotated[str | None, typer.Option(help="Everything that this hook has not taken.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that no hook has taken.")] = False,
    deliver_seconds: Annotated[float, typer.Option(min=0, help="Spend at most so long on delivering.")] = 60,
) -> None:
    """Try dead alerts again, and pending ones at once; exit with 1 when something is still not taken."""
    from auditor.cli import alerting

    _finish(alerting.retry(_session(), alert, hook=hook, everything=everything, seconds=deliver_seconds))


@waivers_app.callback(invoke_without_command=True)
def waivers(
    context: typer.Context,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Also those that were withdrawn.")] = False,
    as_json: Json = False,
) -> None:
    """List the waivers of files and those that auditor waive made, the first to end first."""
    if context.invoked_subcommand is not None:
        return
    from auditor.cli import waiving

    _finish(waiving.list_waivers(_session(), withdrawn=withdrawn, as_json=as_json))


@waivers_app.command("remove")
def remove_waiver(waiver: Annotated[str, typer.Argument(help="The waiver as the list names it.")]) -> None:
    """Withdraw a waiver that auditor waive made; what it mutes reopens at the next sweep."""
    from auditor.cli import waiving

    _finish(waiving.remove(_session(), waiver))


@app.command()
def revocable(
    token: Annotated[str | None, typer.Argument(help="Only this token, by its public id.")] = None,
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
    verdict: Annotated[
        list[VerdictName] | None, typer.Option(help="Tokens of this verdict, in place of safe and likely_safe.")
    ] = None,
    all_verdicts: Annotated[bool, typer.Option("--all", help="Tokens of every verdict.")] = False,
    as_json: Json = False,
) -> None:
    """List the tokens that can be revoked without breaking anything, with the evidence for it."""
    from auditor.cli import revoking

    _finish(
        revoking.revocable(
            _session(),
            token,
            environments=environment or [],
            verdicts=[one.value for one in verdict or []],
            all_verdicts=all_verdicts,
            as_json=as_json,
        )
    )


@app.command()
def forecast(
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
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
    _finish(forecasting.forecast(_session(), environments=environment or [], staggering=staggering, as_json=as_json))


@app.command()
def report(
    report_format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="csv-verdicts, csv-coverage, csv, html, json, jsonl, markdown, pdf, xlsx, ocsf, oscal, sarif or asff.",
        ),
    ] = "html",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; standard output when absent or -.")
    ] = None,
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
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

    _finish(
        reporting.report(
            _session(),
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


@reports_app.command("list")
def list_reports(
    name: Annotated[str | None, typer.Argument(help="Only this report.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List the reports that were made, with their files and SHA-256, the newest first."""
    from auditor.cli import scheduled_reports

    _finish(scheduled_reports.list_reports(_session(), name, limit=limit, as_json=as_json))


@reports_app.command("make")
def make_report(
    name: Annotated[str, typer.Argument(help="A report of the configuration: [reports.NAME].")],
    deliver: Annotated[bool, typer.Option("--deliver", help="Hand it to its hooks, too.")] = False,
    deliver_seconds: Annotated[float, typer.Option(min=0, help="Spend at most so long on delivering.")] = 60,
) -> None:
    """Make a report of the configuration now, and keep it beside those made on schedule."""
    from auditor.cli import scheduled_reports

    _finish(scheduled_reports.make(_session(), name, deliver=deliver, seconds=deliver_seconds))


@evidence_app.command("export")
def export_evidence(
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip file to write.")],
    period: Annotated[str | None, typer.Option(metavar="PERIOD", help="Only what was recorded in a period.")] = None,
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
) -> None:
    """Write a package for an auditor: chain, records, policies, a report and a manifest, signed if there is a key."""
    from auditor.cli import evidence

    _finish(evidence.export(_session(), output, period=period, environments=environment or []))


@evidence_app.command("verify")
def verify_evidence(
    package: Annotated[
        Path | None, typer.Argument(help="A package; without one the database is verified. Needs nothing but the file.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Who must have signed it: a public key of OpenSSH, or the file of one.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option("--environment", "-e", help="Of the database: only this environment.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that a package or the database's own chain is unaltered and complete; exit 1 and name what is broken."""
    from auditor.cli import evidence

    _finish(evidence.verify(_session(), package, key=key, environments=environment or [], as_json=as_json))


@evidence_app.command("key")
def evidence_key() -> None:
    """Print the public key that packages are signed with, for those who verify them."""
    from auditor.cli import evidence

    _finish(evidence.show_key(_session()))


@policy_app.command("explain")
def explain_token(
    token: Annotated[str, typer.Argument(help="The token's public id or label, or the key of one of its findings.")],
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule.")] = None,
    as_json: Json = False,
) -> None:
    """Show for each rule whether it applies to a token, with which parameters from where, and why it fired or not."""
    from auditor.cli import policies

    _finish(policies.explain(_session(), token, environment or [], rule or [], as_json=as_json))


@policy_app.command("diff")
def diff_policy(
    draft: Annotated[Path, typer.Argument(help="A policy file, laid over those of all environments.")],
    instead_of: Annotated[
        Path | None, typer.Option(help="The policy file that the draft takes the place of, wherever that stands.")
    ] = None,
    as_of: Annotated[
        list[str] | None,
        typer.Option(help="Judge tokens also as they were at the end of this past day (UTC), or at this instant."),
    ] = None,
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many findings, the worst.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Show every finding that would differ.")] = False,
    as_json: Json = False,
) -> None:
    """Replay a draft of a policy over what sweeps have stored: the findings it would add, drop and re-grade."""
    from auditor.cli import back_testing

    question = back_testing.Question(
        draft, instead_of, as_of or [], environment or [], limit=None if everything else limit
    )
    _finish(back_testing.diff(_session(), question, as_json=as_json))


@hooks_app.command("list")
def list_hooks(as_json: Json = False) -> None:
    """List the configured hooks."""
    from auditor.cli import hooking

    _finish(hooking.list_hooks(_session(), as_json=as_json))


@hooks_app.command("test")
def try_hook(
    hook: Annotated[str, typer.Argument(help="The hook's name.")],
    leave_open: Annotated[
        bool,
        typer.Option(
            "--leave-open", help="Do not resolve the test in PagerDuty and the like, so that you see it ring."
        ),
    ] = False,
) -> None:
    """Send a marked test through a hook, as alerts go; exit with 3 when it is not taken."""
    from auditor.cli import hooking

    _finish(hooking.try_out(_session(), hook, leave_open=leave_open))


@hooks_app.command("preview")
def preview_hook(
    hook: Annotated[str, typer.Argument(help="The hook's name.")],
    event: Annotated[
        str, typer.Option(help="finding.opened, finding.resolved, sweep.failed …, or digest.")
    ] = "finding.opened",
    form: Annotated[FormName, typer.Option("--as", help="How to show it.")] = FormName.TEXT,
) -> None:
    """Show what a hook would say of a sample, by its templates; nothing is sent."""
    from auditor.cli import hooking

    _finish(hooking.preview(_session(), hook, event=event, form=hooking.Form(form.value)))


@tokens_app.command("import")
def import_tokens(
    environment: Annotated[str, typer.Argument(help="The environment that the tokens are for.")],
    note: Annotated[str, typer.Option(help="Where they come from, for people.")] = "",
) -> None:
    """Add tokens from standard input, one a line."""
    from auditor.cli import keeping

    _finish(keeping.import_tokens(_session(), environment, note))


@tokens_app.command("add")
def add_token(
    environment: Annotated[str, typer.Argument(help="The environment that the token is for.")],
    note: Annotated[str, typer.Option(help="Where it comes from, for people.")] = "",
) -> None:
    """Add one token from standard input; asks without echo on a terminal."""
    from auditor.cli import keeping

    _finish(keeping.add(_session(), environment, note))


@tokens_app.command("list")
def list_tokens(
    environment: Annotated[str | None, typer.Argument(help="Only this environment.")] = None, as_json: Json = False
) -> None:
    """List the stored tokens by public id; never their secrets."""
    from auditor.cli import keeping

    _finish(keeping.list_tokens(_session(), environment, as_json=as_json))


@tokens_app.command("remove")
def remove_token(
    environment: Annotated[str, typer.Argument(help="The token's environment.")],
    token: Annotated[str, typer.Argument(help="The token as the list names it.")],
) -> None:
    """Remove a token from the store; the environment keeps it."""
    from auditor.cli import keeping

    _finish(keeping.remove(_session(), environment, token))


@tokens_app.command("rotate-key")
def rotate_key() -> None:
    """Encrypt everything under the current key, so that previous_keys can be dropped."""
    from auditor.cli import keeping

    _finish(keeping.rotate_key(_session()))


def _session() -> "Session":
    from auditor.cli.session import Session

    return Session(
        config_path=_Options.config,
        log_level=_Options.log_level,
        log_format=_Options.log_format,
        environ=os.environ,
    )


def _finish(exit_code: int) -> None:
    raise typer.Exit(exit_code)


def start() -> None:
    """Run the command line and end the process with its exit code."""
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
