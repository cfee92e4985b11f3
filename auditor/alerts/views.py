"""What templates see of a message: cleaned, so that nothing from outside can pass for form, and put into words."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.outside_text import clipped, visible
from auditor.redaction import redact

_TEXT_LIMIT: Final = 2_000
_DEPTH: Final = 20


class _Event(NamedTuple):
    """How an event is spoken of."""

    happened: str
    is_good_news: bool = False
    why: str = ""
    what_to_do: str = ""


_EVENTS: Final = {
    "finding.opened": _Event("new"),
    "finding.escalated": _Event("worse"),
    "finding.reopened": _Event("back"),
    "finding.reminder": _Event("still open"),
    "finding.unattended": _Event("nobody attends to it"),
    "finding.flapping": _Event("back again and again"),
    "finding.resolved": _Event("resolved", is_good_news=True),
    "waiver.lapsing": _Event(
        "waiver about to end",
        why="When a waiver ends, the findings that it mutes reopen, and each is alerted.",
    ),
    "sweep.failed": _Event(
        "sweep failed",
        why="Until a sweep succeeds, nothing new is found in this environment, and no finding ends.",
        what_to_do="Run auditor check --connect where auditor runs; its log says more.",
    ),
    "delivery.dead": _Event(
        "alerts given up",
        why="What these alerts say reached nobody by this hook, and what comes next may not, either.",
    ),
    "findings.summary": _Event("findings in one summary"),
    "report.made": _Event("report"),
    "report.failed": _Event(
        "report failed",
        why="Whoever waits for the report does not get it.",
        what_to_do="See the log of the daemon that makes it; auditor reports list shows how reports stand.",
    ),
    "test": _Event("test"),
    "test.ended": _Event("test ended", is_good_news=True),
}
_ENDED: Final = {
    "evidence": "the token was looked up, and the rule no longer fires",
    "missing": "the environment has no such token any more",
    "policy": "the policy no longer asks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """One alert; texts are empty where there is nothing to say, and instants are in UTC."""

    id: str
    event: str
    """``finding.opened``, ``sweep.failed``, ``test`` …"""
    happened: str
    """The event in words: ``new``, ``worse``, ``back``, ``resolved``, ``sweep failed`` …"""
    is_finding: bool
    is_good_news: bool
    """Something ended: there is nothing to do any more."""
    severity: str
    environment: str
    at: datetime
    since: datetime | None
    """When the finding was first opened."""
    title: str
    """Of the rule; elsewhere the event in words."""
    rule: str
    token: str
    """The public id, or whatever else the finding is about."""
    token_name: str
    owner: str
    message: str
    """What the rule said: a sentence without a full stop."""
    locations: tuple[str, ...]
    """``source: place`` of each place where the token is stored."""
    why: str
    """Why it matters."""
    what_to_do: str
    ended: str
    """How a resolved finding ended."""
    key: str
    """The finding's."""
    show: str
    """The command that shows the finding."""
    acknowledge: str
    """The command that says that somebody knows of the finding, so that it is not told again and to others."""
    waive: str
    """The command that accepts it, its values yet to be filled in."""
    data: Mapping[str, Any]
    """Everything that the alert says, as a webhook gets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Alerts of a digest that have environment and owner in common, worst first and good news last."""

    environment: str
    owner: str
    alerts: tuple[AlertView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestView:
    """Several alerts; those shown are grouped, the group with the worst alert first."""

    id: str
    at: datetime
    count: int
    """Of all alerts, shown or not."""
    counts: Mapping[str, int]
    """The same by severity, worst first."""
    totals: str
    """The same in words: ``2 critical, 1 high``."""
    environment: str
    """Of all alerts, shown or not; empty where they have several."""
    owner: str
    """The same of their owner."""
    groups: tuple[Group, ...]
    rules: tuple[AlertView, ...]
    """One alert for each rule that an alert shown is not good news of: what to do is said once."""
    more: int
    """Alerts that are not shown."""
    show: str
    """The command that lists what is open where the alerts are of."""


def alert_view(alert: Alert) -> AlertView:
    """Return an alert as templates see it."""
    data = cleaned(alert.data)
    event = _EVENTS.get(alert.event) or _Event(alert.event.rpartition(".")[2].replace("_", " "))
    rule, key = _text(data.get("rule")), _text(data.get("key"))
    is_finding = alert.event.startswith("finding.")
    quoted = shlex.quote(key)
    is_open = bool(key) and not event.is_good_news
    spoken = event.happened if alert.event in _EVENTS else alert.event.replace(".", " ").replace("_", " ")
    return AlertView(
        id=alert.id,
        event=alert.event,
        happened=event.happened,
        is_finding=is_finding,
        is_good_news=event.is_good_news,
        severity=alert.severity.value,
        environment=visible(alert.environment),
        at=alert.at,
        since=_instant(data.get("opened_at") or data.get("since")) if is_finding else None,
        title=_text(data.get("title")) or rule or spoken.capitalize(),
        rule=rule,
        token=_text(data.get("token")),
        token_name=_text(data.get("token_name")),
        owner=_text(data.get("owner")),
        message=_text(data.get("message")),
        locations=_locations(data.get("locations")),
        why="" if event.is_good_news else _text(data.get("rationale")) or event.why,
        what_to_do="" if event.is_good_news else _text(data.get("remediation")) or event.what_to_do,
        ended=_ENDED.get(_text(data.get("resolution")), _text(data.get("resolution"))),
        key=key,
        show=f"auditor findings show {quoted}" if key else "",
        acknowledge=f"auditor ack {quoted} --note …" if is_open else "",
        waive=f"auditor waive {quoted} --owner … --approver … --reason … --ticket … --until YYYY-MM-DD"
        if is_open
        else "",
        data=data,
    )


def digest_view(message: Message, most: int) -> DigestView:
    """Return a digest as templates see it, with so many of its alerts at most."""
    shown = [alert_view(alert) for alert in message.alerts[:most]]
    groups: dict[tuple[str, str], list[AlertView]] = {}
    for view in shown:
        groups.setdefault((view.environment, view.owner), []).append(view)
    worst_first = sorted(message.counts, key=lambda severity: -severity.rank)
    counts = {severity.value: message.counts[severity] for severity in worst_first if message.counts[severity]}
    count = sum(counts.values())
    environment, owner = visible(message.environment or ""), visible(message.owner or "")
    which = "".join(
        f" --{option} {shlex.quote(value)}"
        for option, value in (("environment", environment), ("owner", owner))
        if value
    )
    return DigestView(
        id=message.id,
        at=message.at,
        count=count,
        counts=counts,
        totals=", ".join(f"{number:,} {severity}" for severity, number in counts.items()),
        environment=environment,
        owner=owner,
        groups=tuple(
            Group(environment=environment, owner=owner, alerts=tuple(sorted(alerts, key=_worst_first)))
            for (environment, owner), alerts in sorted(
                groups.items(), key=lambda group: min(map(_worst_first, group[1]))
            )
        ),
        rules=tuple({view.rule: view for view in reversed(shown) if view.rule and not view.is_good_news}.values())[
            ::-1
        ],
        more=max(message.more + len(message.alerts) - len(shown), 0),
        show=f"auditor findings{which}",
    )


def cleaned(value: Any, depth: int = 0) -> Any:
    """Return JSON data whose texts are single lines without secrets and controls, none of them endless."""
    if isinstance(value, str):
        return visible(clipped(redact(value), _TEXT_LIMIT))
    if depth >= _DEPTH:
        return None
    if isinstance(value, Mapping):
        return {visible(redact(str(key))): cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [cleaned(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return cleaned(msgspec.to_builtins(value), depth + 1)


def _worst_first(view: AlertView) -> tuple[bool, int]:
    return view.is_good_news, -Severity(view.severity).rank


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _instant(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _locations(value: object) -> tuple[str, ...]:
    """Return the places of ``[{"source": …, "place": …}]``."""
    places = value if isinstance(value, list) else []
    return tuple(
        f"{_text(place.get('source'))}: {_text(place.get('place'))}" for place in places if isinstance(place, dict)
    )
