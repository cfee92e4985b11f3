"""What a command works with: configuration, log, clock, event loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from auditor.config.database import opened
from auditor.config.load import Config, load
from auditor.config.places import config_path, state_directory
from auditor.credentials.reference import Resolver
from auditor.log import LogFormat, LogLevel, configure, report_loop_error
from auditor.store.connection import Pool

T = TypeVar("T")


def now() -> datetime:
    """Return the present instant; the one place of the command line where the clock is read."""
    return datetime.now(UTC)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop where it is installed, else on asyncio's own loop."""

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(report_loop_error)
        return await work

    try:
        import uvloop
    except ImportError:
        return asyncio.run(watched())
    return uvloop.run(watched())


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line."""

    config_path: Path | None
    log_level: LogLevel | None
    log_format: LogFormat | None
    environ: Mapping[str, str]

    @property
    def path(self) -> Path:
        """The configuration file in force."""
        return config_path(self.config_path, self.environ)

    @property
    def state(self) -> Path:
        """The state directory."""
        return state_directory(self.environ)

    def load(self) -> Config:
        """Read the configuration and set the log up as it says; raises ``ConfigError``."""
        config = load(self.path)
        self.configure_log(config.document.log.level, config.document.log.format)
        return config

    def configure_log(self, level: LogLevel, log_format: LogFormat) -> None:
        """Set the log up; what the command line says goes before what the configuration says."""
        configure(self.log_format or log_format, self.log_level or level, environ=self.environ)

    def resolver(self, config: Config) -> Resolver:
        """Return what resolves the configuration's references to secrets."""
        return Resolver(config.directory, self.environ)

    @asynccontextmanager
    async def database(self, config: Config) -> AsyncIterator[Pool]:
        """Open the database for the length of the block."""
        async with opened(
            config.document.database,
            resolver=self.resolver(config),
            state=self.state,
            application=f"auditor {os.getpid()}",
        ) as pool:
            yield pool
