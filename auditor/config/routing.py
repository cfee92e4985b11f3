"""What the configuration says of hooks, as far as deciding what goes to them is concerned."""

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from auditor.alerts.base import HookKind, HookSettings
from auditor.config.document import AuditorDocument
from auditor.config.problems import Document
from auditor.model.errors import Problem
from auditor.model.spelling import meant
from auditor.policy.routing.owners import Owners
from auditor.policy.routing.routing import Destination, Routing
from auditor.policy.routing.windows import Windows
from auditor.policy.spans import parse_duration

Hooks = Mapping[str, tuple[HookKind, HookSettings]]
"""Hooks by name, as the configuration writes them."""


def routing_of(document: AuditorDocument, hooks: Hooks, owners: Mapping[str, tuple[str, ...]]) -> Routing:
    """Return what decides where alerts go; ``owners`` are the addresses of owners and of globs over them."""
    return Routing(
        [_destination(name, kind, settings) for name, (kind, settings) in hooks.items()],
        Owners(owners),
        flapping_within=parse_duration(document.alerts.flapping_within),
    )


def _destination(name: str, kind: HookKind, settings: HookSettings) -> Destination:
    return Destination(
        hook=name,
        min_severity=settings.min_severity,
        only=settings.only,
        exempt=settings.exempt,
        windows=Windows(settings.digest, settings.quiet, ZoneInfo(settings.timezone)),
        escalation_after=parse_duration(settings.escalation_after) if settings.escalation_after else None,
        takes_digests=kind.takes_digests,
        is_addressed=settings.is_addressed,
        every_first_finding=settings.first_sweep == "each",
        give_up_after=parse_duration(settings.give_up_after),
    )


def routing_problems(
    file: Document, hooks: Hooks, environments: Collection[str], rules: Collection[str]
) -> Iterator[Problem]:
    """Find what no kind's settings can tell: digests for a hook that takes none, environments and rules that are not.

    ``rules`` are none where the policies that write some of them are not sound.
    """
    for name, (kind, settings) in hooks.items():
        if settings.digest is not None and not kind.takes_digests:
            yield file.problem(
                ("hooks", name, "digest"),
                f'a hook of type "{kind.name}" gets each finding by itself; take digest out, or use quiet, only or '
                "min_severity to send less there",
            )
        for key, routes in (("only", settings.only), ("exempt", settings.exempt)):
            for number, route in enumerate(routes):
                path = ("hooks", name, key, number)
                for glob in _matching_none(route.environment, environments):
                    message = f'"{glob}" matches no environment; {meant(glob, environments)}'
                    yield file.problem((*path, "environment"), message)
                for glob in _matching_none(route.rule, rules) if rules else ():
                    known = meant(glob, rules, otherwise="auditor rules lists them")
                    yield file.problem((*path, "rule"), f'"{glob}" matches no rule; {known}')


def _matching_none(globs: Collection[str], known: Collection[str]) -> list[str]:
    return [glob for glob in globs if not any(fnmatchcase(name.casefold(), glob.casefold()) for name in known)]
