"""The hooks that a configuration has, as far as deciding what goes to them is concerned."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from auditor.model.finding import Severity
from auditor.policy.routing.owners import Owners
from auditor.policy.routing.route import Matter, Route, Topic
from auditor.policy.routing.windows import Windows

_MATTERS_KEPT: Final = 8192
_NO_OWNERS: Final = Owners({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What one hook wants."""

    hook: str
    min_severity: Severity = Severity.INFO
    only: Sequence[Route] = ()
    """At least one must let an alert through; none: all pass."""
    exempt: Sequence[Route] = ()
    windows: Windows = field(default_factory=Windows)
    escalation_after: timedelta | None = None
    """It gets findings that nobody attended to for so long, and what becomes of them; None: everything at once."""
    takes_digests: bool = True
    is_addressed: bool = False
    """Whether it sends to the recipients of a message, so that a digest is made for each of them."""
    every_first_finding: bool = False
    """Whether it gets each finding of an environment's first sweep, and not a summary of them."""
    give_up_after: timedelta = timedelta(days=3)
    """An alert that it has not taken for so long is dead."""


class Routing:
    """Decides which hooks an alert goes to, when, and to whom."""

    def __init__(
        self,
        destinations: Sequence[Destination] = (),
        owners: Owners = _NO_OWNERS,
        *,
        flapping_within: timedelta = timedelta(days=1),
    ) -> None:
        self.destinations: Mapping[str, Destination] = {one.hook: one for one in destinations}
        self.flapping_within = flapping_within
        """A finding that is back three times within so long is flapping."""
        self._owners = owners
        tests = {
            one.hook: ([route.compile() for route in one.only], [route.compile() for route in one.exempt])
            for one in destinations
        }

        def is_wanted(one: Destination, matter: Matter) -> bool:
            if not matter.is_operational and matter.severity.rank < one.min_severity.rank:
                return False
            only, exempt = tests[one.hook]
            return (not only or any(test(matter) for test in only)) and not any(test(matter) for test in exempt)

        def hooks(matter: Matter) -> tuple[str, ...]:
            return tuple(one.hook for one in destinations if is_wanted(one, matter))

        self._hooks = lru_cache(maxsize=_MATTERS_KEPT)(hooks)
        self._ends = {one.hook: _wants_ends(one) for one in destinations}
        self.escalations: Mapping[str, timedelta] = {
            one.hook: one.escalation_after for one in destinations if one.escalation_after is not None
        }
        """The hooks that get what nobody attended to, and after how long."""

    def hooks(self, matter: Matter) -> Sequence[str]:
        """Return the hooks that an alert goes to when it comes up, in the order of the configuration."""
        wanted = self._hooks(matter)
        if matter.topic is Topic.UNATTENDED:
            return [hook for hook in wanted if hook in self.escalations]
        if not self.escalations or matter.topic is Topic.DELIVERY_DEAD:
            return wanted
        return [hook for hook in wanted if hook not in self.escalations]

    def hearers(self, end: Matter, worst: Severity, told: Collection[str]) -> Sequence[str]:
        """Return the hooks that hear of a finding's end: those that hear of it at its worst, and those that were told.

        Whoever was told of a finding hears of its end though it has eased, or its owner or tags are others now, unless
        the hook's conditions on what alerts are about keep ends from it.
        """
        wanted = {*self._hooks(end), *self._hooks(end._replace(severity=worst))}
        wanted |= {hook for hook in told if hook in self._ends and self._ends[hook](end)}
        return [hook for hook in self.destinations if hook in wanted and (hook in told or hook not in self.escalations)]

    def for_each_first_finding(self) -> "Routing":
        """Return what holds while the findings of an environment are told for the first time, by a summary to most."""
        return self._of([one for one in self.destinations.values() if one.every_first_finding])

    def for_first_summaries(self) -> "Routing":
        """Return what decides which findings the summaries of a first sweep are about."""
        return self._of(
            [one for one in self.destinations.values() if not one.every_first_finding and one.escalation_after is None]
        )

    def _of(self, destinations: Sequence[Destination]) -> "Routing":
        return Routing(destinations, self._owners, flapping_within=self.flapping_within)

    def is_wanted(self, hook: str, matter: Matter) -> bool:
        """Whether an alert may go to a hook at all."""
        return hook in self._hooks(matter)

    def due(self, hook: str, matter: Matter, now: datetime) -> datetime | None:
        """Return when an alert leaves for a hook; None for at once."""
        windows = self.destinations[hook].windows
        return windows.due(matter.severity, now, is_operational=matter.is_operational)

    def quiet_until(self, hook: str, severity: Severity, now: datetime) -> datetime | None:
        """Return when the quiet hours end that hold back what would leave now, whatever digest it would wait for."""
        return self.destinations[hook].windows.quiet_until(severity, now)

    def recipients(self, owner: str | None) -> tuple[str, ...]:
        """Return the addresses of who can act."""
        return self._owners.addresses_of(owner)


def _wants_ends(one: Destination) -> Callable[[Matter], bool]:
    """Return whether a hook that was told of a finding wants its end: what alerts are about decides, nothing else."""
    is_let_through = not one.only or any(Topic.RESOLVED in (route.about or Topic) for route in one.only)
    exempt = [route.compile() for route in one.exempt if Topic.RESOLVED in route.about]
    return lambda end: is_let_through and not any(test(end) for test in exempt)


NO_ROUTING: Final = Routing()
"""Where there is no hook."""
