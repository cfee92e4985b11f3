"""What a sweep is given: an environment with its client, sources and policy, and whom to tell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from auditor.dynatrace.client import Client
from auditor.model.lookup import Outcome
from auditor.model.secret import Secret
from auditor.model.sweep import SweepSummary
from auditor.policy.engine import Policy
from auditor.policy.routing.routing import Routing
from auditor.policy.waivers import WaiverEntry
from auditor.sources.base import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One environment, ready to be swept."""

    name: str
    url: str
    client: Client
    sources: Sequence[Source]
    environments: frozenset[str]
    """Every configured environment: a stored token that names another one is reported, not dropped in silence."""
    policy: Policy
    self_lookup: bool
    fingerprint: Callable[[Secret], bytes]
    routing: Routing
    """Where alerts go."""
    clock: Callable[[], datetime]
    inventory: bool = True
    """Whether to read the environment's own list of tokens, where a rule needs it."""
    lookups_per_sweep: int | None = None
    """How many tokens one sweep looks up at most; None for all of them."""
    slots: Callable[[datetime, datetime, int], int] | None = None
    """``slots(after, until, limit)``: how many slots of the environment's most frequent schedule lie between two
    instants, counted up to a limit; None where no schedule sweeps it."""
    waivers: Sequence[WaiverEntry] = ()
    """Those of files; further ones are in the database."""


@dataclass(slots=True)
class Progress:
    """How far a sweep is; counts that whoever shows them may read at any time."""

    environment: str
    expected: int | None = None
    """How many tokens will be looked up, going by what the sweep before enrolled; None before the first."""
    enrolled: int = 0
    """Tokens that were read and are to be looked up."""
    done: int = 0
    """Tokens whose lookup ended, recorded yet or not."""


class Telemetry(Protocol):
    """Where a sweep's measurements go."""

    def looked_up(
        self, environment: str, outcomes: Mapping[Outcome, int], seconds: Sequence[float], limit: int
    ) -> None:
        """Note a batch's lookups: how they ended, how long each took with its retries, and how many may go at once."""
        ...

    def swept(self, summary: SweepSummary) -> None:
        """Note a sweep's end."""
        ...


class NoTelemetry:
    """For a sweep that nobody measures."""

    def looked_up(
        self, environment: str, outcomes: Mapping[Outcome, int], seconds: Sequence[float], limit: int
    ) -> None:
        """Drop the measurements."""

    def swept(self, summary: SweepSummary) -> None:
        """Drop the summary."""
