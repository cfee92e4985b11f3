"""``[retention]``: how long what may go is kept, and that no rule looks further back."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator

from auditor.config.problems import Document
from auditor.model.errors import Problem
from auditor.model.retention import Retention
from auditor.model.table import Table
from auditor.policy.document import PolicyDocument
from auditor.policy.events import EventParams
from auditor.policy.registry import rules_of
from auditor.policy.spans import parse_duration

_FOREVER: Final = "forever"
_CENTURY: Final = timedelta(days=36_525)
_ENVIRONMENTS_NAMED: Final = 3


def _kept(text: str) -> str:
    if text == _FOREVER:
        return text
    try:
        span = parse_duration(text)
    except (ValueError, OverflowError):
        span = timedelta()
    if not timedelta(days=1) <= span <= _CENTURY:
        raise ValueError('must be a span such as 730d, of a day at least and a century at most, or "forever"')
    return text


def _span(text: str) -> timedelta | None:
    return None if text == _FOREVER else parse_duration(text)


Kept = Annotated[str, AfterValidator(_kept)]
"""How long something is kept: ``730d``, or ``forever``."""


class RetentionSettings(Table):
    """The ``[retention]`` table: how long auditor keeps what may go; what it does not name stays for good."""

    uses: Kept = "730d"
    """When and from where tokens were used, as sweeps saw it; of each token the last use before that time stays."""
    alerts: Kept = "90d"
    """Alerts and the attempts to deliver them, once they are delivered or dead."""
    queue_log: Kept = "30d"
    """What became of jobs of the queue."""

    @property
    def spans(self) -> Retention:
        """The same as spans."""
        return Retention(uses=_span(self.uses), alerts=_span(self.alerts), queue_log=_span(self.queue_log))


def retention_problems(
    file: Document, settings: RetentionSettings, policies: Mapping[str, PolicyDocument]
) -> Iterator[Problem]:
    """Tell of the rule that looks furthest back, where uses are not kept as long; ``policies`` are by environment."""
    kept = settings.spans.uses
    if kept is None:
        return
    spans: dict[str, tuple[timedelta, str]] = {}
    of_policy: dict[int, tuple[timedelta, str]] = {}
    for name, policy in policies.items():
        spans[name] = of_policy.get(id(policy)) or of_policy.setdefault(id(policy), _furthest(policy))
    span, rule = max(spans.values(), default=(timedelta(), ""))
    if span <= kept:
        return
    names = [name for name, found in spans.items() if found == (span, rule)]
    where = ", ".join(names[:_ENVIRONMENTS_NAMED]) + (" and others" if len(names) > _ENVIRONMENTS_NAMED else "")
    yield file.problem(
        ("retention", "uses"),
        f'{settings.uses} is less than the {span.days} days that {rule} looks back in {where}; write "{span.days}d" or '
        f"more, or give rules.{rule} of the policy a smaller keep_days",
    )


def _furthest(policy: PolicyDocument) -> tuple[timedelta, str]:
    """Return how far back the rules of a policy look, and which one so far; whether they can be assessed or not."""
    spans = [
        (params.look_back, rule.id)
        for rule in rules_of(policy).values()
        if (written := policy.settings_of(rule.id)) is None or written.enabled
        if isinstance(params := policy.params_of(rule), EventParams)
    ]
    return max(spans, default=(timedelta(), ""))
