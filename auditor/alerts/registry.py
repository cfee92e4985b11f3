"""The kinds of hooks: those that ship, and those that other packages bring (entry points ``auditor.hooks``)."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from auditor.alerts import (
    alertmanager,
    command,
    dynatrace_events,
    dynatrace_security,
    everything_else,
    journald,
    mailer,
    opsgenie,
    pagerduty,
    slack,
    syslog,
    teams,
    webhook,
)
from auditor.alerts.base import HookKind

SHIPPED: tuple[HookKind, ...] = (
    webhook.KIND,
    command.KIND,
    slack.KIND,
    teams.KIND,
    pagerduty.KIND,
    opsgenie.KIND,
    alertmanager.KIND,
    dynatrace_events.KIND,
    dynatrace_security.KIND,
    mailer.KIND,
    syslog.KIND,
    journald.KIND,
    everything_else.KIND,
)


@cache
def kinds() -> Mapping[str, HookKind]:
    """Return every kind of hook by its name, shipped ones first.

    An entry point names a ``HookKind``. Raises ``ValueError`` where two kinds have one name.
    """
    found: dict[str, HookKind] = {}
    plugged: list[HookKind] = [entry.load() for entry in entry_points(group="auditor.hooks")]
    for kind in (*SHIPPED, *plugged):
        if kind.name in found:
            raise ValueError(f"two kinds of hooks have the name {kind.name}")
        found[kind.name] = kind
    return found
