"""What an alert is about, and the selectors that let it through to a hook."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator

from auditor.model.finding import Severity, Transition
from auditor.model.table import Table
from auditor.policy.rules import aud_02
from auditor.policy.selectors import Alternatives, as_tuple, matcher, not_empty


class Topic(StrEnum):
    """What an alert is about."""

    OPENED = "opened"
    ESCALATED = "escalated"
    """Of an open finding: it got worse, or passed its deadline."""
    RESOLVED = "resolved"
    REOPENED = "reopened"
    """Back after it was resolved, or after its waiver ended."""
    REMINDER = "reminder"
    """Still open after as long as its severity allows, or nearer to the expiration of its token."""
    UNATTENDED = "unattended"
    """Neither mended nor acknowledged in time; goes to hooks with ``escalation_after`` only."""
    FLAPPING = "flapping"
    """Resolved and back again and again."""
    WAIVER_LAPSING = "waiver_lapsing"
    SWEEP_FAILED = "sweep_failed"
    COVERAGE_LOST = "coverage_lost"
    """A finding of DT-AUD-02: too few tokens were audited, or too late. It is ``opened`` or the like as well."""
    DELIVERY_DEAD = "delivery_dead"
    """Alerts were given up, because a hook did not take them."""
    REPORT_FAILED = "report_failed"
    """A scheduled report could not be made; it is tried again, or given up."""


OPERATIONAL: Final = frozenset({Topic.SWEEP_FAILED, Topic.DELIVERY_DEAD, Topic.REPORT_FAILED})
"""Of auditor itself: these pass ``min_severity`` and wait for no digest."""

TOPICS: Final = {
    Transition.OPENED: Topic.OPENED,
    Transition.ESCALATED: Topic.ESCALATED,
    Transition.RESOLVED: Topic.RESOLVED,
    Transition.REOPENED: Topic.REOPENED,
    Transition.LAPSED: Topic.REOPENED,
}
"""Of the transitions that make alerts, what the alert is about."""


class Matter(NamedTuple):
    """All that routing looks at."""

    topic: Topic
    severity: Severity
    environment: str
    rule_id: str = ""
    """Empty where it is of no finding."""
    owner: str | None = None
    tags: frozenset[str] = frozenset()
    """Of the sources that hold the token."""

    @property
    def is_operational(self) -> bool:
        """Whether it is of auditor itself."""
        return self.topic in OPERATIONAL


class Route(Table):
    """Conditions that must all hold; one that is left out always does. Several values of one are alternatives."""

    about: Annotated[
        tuple[Topic, ...],
        BeforeValidator(as_tuple, json_schema_input_type=Topic | tuple[Topic, ...]),
        AfterValidator(not_empty),
    ] = ()
    """What the alert is about."""
    environment: Alternatives = ()
    """The environment's name in the configuration."""
    owner: Alternatives = ()
    """The token's owner."""
    tag: Alternatives = ()
    """A tag of a source that holds the token."""
    rule: Alternatives = ()
    """The rule of the finding."""
    min_severity: Severity | None = None
    """The finding is of this severity or worse."""

    def compile(self) -> Callable[[Matter], bool]:
        """Return the route as one function."""
        tests: list[Callable[[Matter], bool]] = []
        if self.about:
            topics = frozenset(self.about)
            tests.append(lambda m: m.topic in topics or (Topic.COVERAGE_LOST in topics and _is_lost_coverage(m)))
        if self.environment:
            environment = matcher(self.environment)
            tests.append(lambda m: environment(m.environment))
        if self.owner:
            owner = matcher(self.owner)
            tests.append(lambda m: owner(m.owner or ""))
        if self.tag:
            tag = matcher(self.tag)
            tests.append(lambda m: any(map(tag, m.tags)))
        if self.rule:
            rule = matcher(self.rule)
            tests.append(lambda m: rule(m.rule_id))
        if self.min_severity is not None:
            least = self.min_severity.rank
            tests.append(lambda m: m.severity.rank >= least)
        return lambda m: all(test(m) for test in tests)


def _is_lost_coverage(matter: Matter) -> bool:
    return matter.rule_id == aud_02.RULE.id and matter.topic is not Topic.RESOLVED
