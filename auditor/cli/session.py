"""What a command works with: configuration, log, clock, event loop."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from auditor.cli import exits
from auditor.config.database import opened_at
from auditor.config.load import Config, load
from auditor.config.places import config_path, state_directory
from auditor.config.toml_lines import dotted, lines_of
from auditor.credentials.reference import Resolver
from auditor.log import LogFormat, LogLevel, configure, report_loop_error
from auditor.model.errors import ConfigError, Problem
from auditor.model.secret import Secret
from auditor.model.spelling import meant
from auditor.store.connection import Pool
from auditor.store.database import translated
from auditor.store.embedded import Address

if TYPE_CHECKING:
    from auditor.config.assembly import Assembly

T = TypeVar("T")

_COLLECT_EVERY: Final = 20_000


def now() -> datetime:
    """Return the present instant; the one place of the command line where the clock is read."""
    return datetime.now(UTC)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop where it is installed, else on asyncio's own loop.

    SIGINT and SIGTERM cancel it, so that it closes what it has open. Then raises ``KeyboardInterrupt`` or, for
    SIGTERM, ``SystemExit``. A connection's end that nobody expected is a ``RuntimeError``: Typer takes the errors of
    pipes for those of standard output and input, and would end the process with 1 and without a word.
    """
    is_terminated = False

    async def watched() -> T:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal is_terminated
            is_terminated = True
            task.cancel()

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(report_loop_error)
        loop.add_signal_handler(signal.SIGTERM, terminate)
        return await work

    try:
        return _run(watched())
    except asyncio.CancelledError:
        if is_terminated:
            raise SystemExit(exits.TERMINATED) from None
        raise KeyboardInterrupt from None
    except (BrokenPipeError, EOFError) as error:
        raise RuntimeError(f"a connection ended: {str(error) or type(error).__name__}") from error


def _run(work: Coroutine[Any, Any, T]) -> T:
    # What is loaded by now stays, and a batch of tokens is tens of thousands of objects that are soon gone: neither is
    # worth the collector's time. Its default, a look at every 700 new objects, costs a sweep some percent.
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def require_known(config: Config, environments: Iterable[str], place: str) -> None:
    """Raise ``ConfigError``, put to a place of the command line, where an environment is not configured."""
    known = config.document.environments
    problems = [
        Problem(place, f'unknown environment "{name}"; {meant(name, known)}')
        for name in environments
        if name not in known
    ]
    if problems:
        raise ConfigError(*problems)


def require_known_rules(rule_ids: Iterable[str], known: Collection[str]) -> None:
    """Raise ``ConfigError``, put to ``--rule``, where no rule of these goes by an id."""
    problems = [
        Problem(f"--rule {rule_id}", f"no such rule; {meant(rule_id, known, otherwise='auditor rules lists them')}")
        for rule_id in rule_ids
        if rule_id not in known
    ]
    if problems:
        raise ConfigError(*problems)


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
        """Open the database for the length of the block; raises ``StoreUnavailable`` also where it goes away later."""
        async with self.server(config) as (_server, pool):
            yield pool

    @asynccontextmanager
    async def server(self, config: Config) -> AsyncIterator[tuple[Secret | Address, Pool]]:
        """As ``database``, and yield beside the pool where the server is, for processes that connect themselves."""
        with located(config):
            async with opened_at(
                config.document.database,
                resolver=self.resolver(config),
                state=self.state,
                application=f"auditor {os.getpid()}",
            ) as (server, pool):
                try:
                    yield server, pool
                except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                    with translated():
                        raise

    @asynccontextmanager
    async def assembled(
        self, config: Config, pool: Pool, *, environments: Sequence[str], with_hooks: bool = True
    ) -> AsyncIterator["Assembly"]:
        """Open what sweeping these environments takes, and delivering to hooks, for the length of the block."""
        from auditor.config.assembly import assembled  # with the parts' libraries, which most commands can save

        async with assembled(
            config,
            pool,
            resolver=self.resolver(config),
            state=self.state,
            clock=now,
            environments=environments,
            with_hooks=with_hooks,
        ) as assembly:
            yield assembly


@contextmanager
def located(config: Config) -> Iterator[None]:
    """Give the problems of the block that name a key of the configuration their file and line."""
    try:
        yield
    except ConfigError as error:
        lines = {dotted(path): line for path, line in lines_of(config.path.read_text(encoding="utf-8")).items()}
        raise type(error)(*(_located(config.path, lines, problem) for problem in error.problems)) from error


def _located(path: Path, lines: Mapping[str, int], problem: Problem) -> Problem:
    key = problem.place
    while key and key not in lines:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return Problem(f"{path}:{lines[key]}", str(problem)) if key else problem
