"""What every command has: the options that were given before it, its session, and its end."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from auditor.cli.session import Session

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Environments = Annotated[list[str] | None, typer.Option("--environment", "-e", help="Only this environment.")]


class SeverityName(StrEnum):
    """Severities as the command line takes them."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Given:
    """What was given before the command."""

    config: Path | None = None
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None


def session() -> "Session":
    """Return what a command works with; nothing is read or opened yet."""
    from auditor.cli.session import Session

    return Session(config_path=Given.config, log_level=Given.log_level, log_format=Given.log_format, environ=os.environ)


def finish(exit_code: int) -> NoReturn:
    """End the command."""
    raise typer.Exit(exit_code)
