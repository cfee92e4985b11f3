"""What a hook is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from auditor.credentials.reference import Resolver
from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.table import Table
from auditor.policy.routing.route import Route
from auditor.policy.routing.windows import DigestSettings, QuietHours
from auditor.policy.spans import Duration, Zone

if TYPE_CHECKING:
    from auditor.alerts.wording import Wording


class HookSettings(Table):
    """What a ``[hooks.NAME]`` table says of any hook, beside the hook's own keys."""

    type: str
    """Which kind of hook it is."""
    min_severity: Severity = Severity.LOW
    """Alerts of findings below this severity do not go to this hook; alerts about auditor itself pass."""
    only: tuple[Route, ...] = ()
    """What goes to this hook: an alert that any of these lets through. Without one, everything."""
    exempt: tuple[Route, ...] = ()
    """What does not, whatever ``only`` says."""
    digest: DigestSettings | None = None
    """When alerts are gathered into one message, by severity: ``{ critical = "now", high = "1h", rest = "08:00" }``.
    Without it each alert leaves at once. Alerts about auditor itself are never gathered."""
    quiet: QuietHours | None = None
    """When nothing leaves: ``{ start = "20:00", end = "07:00", weekends = true, unless = "critical" }``."""
    timezone: Zone = "UTC"
    """The zone that the times of ``digest`` and ``quiet`` are of."""
    escalation_after: Duration | None = None
    """This hook gets only findings that are open for so long and that nobody acknowledged, and then what becomes of
    them."""
    first_sweep: Literal["summary", "each"] = "summary"
    """What it gets of an environment's first sweep: one message about all findings, or each of them."""
    give_up_after: Duration = "3d"
    """An alert that the hook has not taken for so long is dead, and other hooks are told."""

    @property
    def is_addressed(self) -> bool:
        """Whether the hook sends to a message's recipients, so that each of them gets a digest of their own."""
        return False


class Hook(Protocol):
    """One way for alerts to leave the program."""

    name: str

    async def deliver(self, message: Message, now: datetime) -> str:
        """Hand over a message and return what the other side answered, in a few words (``HTTP 204``, ``exit code 0``).

        Called at least once for each message; ``message.id`` is the idempotency key and must reach the other side,
        where that has a place for it. ``now`` is when this attempt is made. Raises ``DeliveryFailed`` when the message
        was not taken. Ends by itself in bounded time. May be called again before an earlier call has ended.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is delivered after it."""
        ...


@runtime_checkable
class Refreshed(Protocol):
    """A hook whose other side forgets: what stands is told to it again and again, beside what is new."""

    refresh_every: timedelta
    """How often; zero: not at all."""
    stands_for: timedelta
    """An alert that is older than this is told no more."""

    async def refresh(self, alerts: Sequence[Alert], now: datetime) -> None:
        """Tell again of open findings, by the last alert of each that the hook took; raises ``DeliveryFailed``."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a hook may know beside its settings."""

    resolver: Resolver
    """What makes secrets of references to them."""
    wording: "Wording"
    """What messages say, by the templates that are meant for this hook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookKind:
    """One kind of hook: how the configuration writes it, and how it is opened.

    ``open(name, settings, surroundings)`` resolves the secrets and returns the hook, inside the event loop that will
    use it; it contacts nobody. It raises ``ConfigError``, its places beginning with ``hooks.NAME``.
    """

    name: str
    """What ``type = …`` says of it."""
    settings: type[HookSettings]
    open: Callable[[str, Any, Surroundings], Awaitable[Hook]]
    takes_digests: bool = True
    """Whether a message may be a digest. False where the other side keeps a state for each finding."""
    takes_reports: bool = True
    """Whether a message may be of a scheduled report. False where the other side knows findings only."""
