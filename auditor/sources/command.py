"""A command that prints tokens: age, sops, pass, the client of any vault."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from auditor.model.shape import Shape
from auditor.model.token import StoredToken
from auditor.processes import located, scrubbed, started
from auditor.sources.base import BATCH, EnvironmentName, Source, SourceKind, SourceSettings, Surroundings
from auditor.sources.files import LINE_LIMIT
from auditor.sources.intake import Intake

LINES_LIMIT: Final = 10_000_000
"""Lines of the longest output that is read. No store holds so many, and output without end would keep a sweep for ever:
the time that auditor takes for the lines does not count as the program's."""

Argument = Annotated[str, Shape(r"[^\x00]*", "must not hold the character NUL")]


class CommandSettings(SourceSettings):
    """A ``[sources.NAME]`` table with ``type = "command"``: tokens are what a program prints, line by line.

    It runs without a shell, in an environment of its own, and what it writes to stderr is thrown away: run it by hand
    to see why it fails. Its exit code must be 0, and its output at most 10,000,000 lines.
    """

    type: Literal["command"]
    """Which kind of source this is."""
    command: Annotated[tuple[Argument, ...], Field(min_length=1)]
    """The program and its arguments; a program with a slash is found from the configuration's directory."""
    format: Literal["json", "lines"] = "json"
    """``json``: a line is an object ``{"token": "…", "environment": "…", "place": "…"}``, of which ``environment``
    may be left out where the settings have it, and ``place`` always. ``lines``: a line is a token."""
    environment: EnvironmentName | None = None
    """The environment of tokens that do not name their own."""
    environ: tuple[str, ...] = ()
    """Names of variables to pass on, beside HOME, PATH and the like: ``["VAULT_ADDR", "SOPS_AGE_KEY_FILE"]``."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long it may take, less the time that auditor takes for the tokens in between."""

    @model_validator(mode="after")
    def _lines_have_an_environment(self) -> Self:
        if self.format == "lines" and self.environment is None:
            raise ValueError('format = "lines" needs environment = "…"')
        return self


class _Line(msgspec.Struct):
    token: str
    environment: str | None = None
    place: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class CommandSource:
    """A source that runs a program and reads its output as it comes."""

    name: str
    settings: CommandSettings
    surroundings: Surroundings

    def environments(self) -> Sequence[str]:
        """Return the environment of the settings; empty where only the output tells."""
        return () if self.settings.environment is None else (self.settings.environment,)

    async def read(self) -> AsyncGenerator[Sequence[StoredToken], None]:
        """Run the program and yield what it prints; its output is never shown, since it may hold secrets."""
        settings, surroundings = self.settings, self.surroundings
        command = f"command {settings.command[0]}"
        intake = Intake(self.name, settings, surroundings.environments)
        passed_on = {name: surroundings.environ[name] for name in settings.environ if name in surroundings.environ}
        time = asyncio.get_running_loop().time
        try:
            async with started(
                located(settings.command, surroundings.directory),
                environ=scrubbed(surroundings.environ, passed_on),
                stderr=False,
                limit=LINE_LIMIT,
            ) as process:
                output = _Output(process, settings, intake)
                seconds_left = settings.timeout_seconds
                while not output.is_at_end:
                    batch: list[StoredToken] = []
                    began = time()
                    try:
                        async with asyncio.timeout(seconds_left):
                            await output.fill(batch)
                    except TimeoutError:
                        seconds_left = 0.0
                    else:  # output that is always there already leaves a timeout no moment to come in
                        seconds_left -= time() - began
                    if seconds_left <= 0 and not output.is_at_end:
                        output.end_early(
                            f"did not end within {settings.timeout_seconds:g} s; see why, or raise timeout_seconds"
                        )
                    if batch:
                        yield batch
        except OSError as error:
            intake.problem(command, f"cannot be started: {error.strerror}; install the program, or correct the command")
        intake.finish(f"the output of {command}")


class _Output:
    """What a program prints, as stored tokens."""

    def __init__(self, process: asyncio.subprocess.Process, settings: CommandSettings, intake: Intake) -> None:
        assert process.stdout is not None
        self._process = process
        self._stream = process.stdout
        self._settings = settings
        self._intake = intake
        self._number = 0
        self.is_at_end = False

    async def fill(self, batch: list[StoredToken]) -> None:
        """Add tokens to a batch until it is full or the program has ended; see that it ended well."""
        while len(batch) < BATCH:
            line = await _next_line(self._stream)
            if line == b"":
                await self._end()
                return
            if self._number == LINES_LIMIT:
                self.end_early(f"prints more than {LINES_LIMIT} lines; see why, or divide it among several sources")
                return
            self._number += 1
            token = self._token(line)
            if token is not None:
                batch.append(token)

    def end_early(self, reason: str) -> None:
        """Read no further, which is a problem."""
        self.is_at_end = True
        self._intake.problem(f"command {self._settings.command[0]}", reason)

    async def _end(self) -> None:
        exit_code = await self._process.wait()
        self.is_at_end = True
        if exit_code != 0:
            self._intake.problem(
                f"command {self._settings.command[0]}", f"ended with exit code {exit_code}; run it by hand to see why"
            )

    def _token(self, line: bytes | None) -> StoredToken | None:
        settings = self._settings
        place = f"command {settings.command[0]} line {self._number}"
        if line is None:
            self._intake.problem(place, f"longer than {LINE_LIMIT} bytes; print one token a line")
            return None
        try:
            if not line.strip():
                return None
            entry = _DECODER.decode(line) if settings.format == "json" else _Line(line.decode())
        except UnicodeDecodeError:
            self._intake.problem(place, "is not UTF-8 text")
            return None
        except msgspec.DecodeError as error:
            self._intake.problem(place, f'is not as format = "json" needs it: {error}')
            return None
        return self._intake.token(entry.token, entry.environment or settings.environment, entry.place or place)


async def _next_line(stream: asyncio.StreamReader) -> bytes | None:
    """Return the next line, None in place of one that is too long, and nothing at the end."""
    is_too_long = False
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await stream.readexactly(error.consumed)
            is_too_long = True
            continue
        except asyncio.IncompleteReadError as error:
            line = error.partial
        return None if is_too_long else line


def _open(name: str, settings: CommandSettings, surroundings: Surroundings) -> Source:
    return CommandSource(name, settings, surroundings)


KIND: Final = SourceKind(name="command", settings=CommandSettings, open=_open)
