"""``auditor policy explain``: what each rule makes of a token, and which file says so."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from rich.console import Console

from auditor.cli import exits
from auditor.cli.session import Session, now, require_known, require_known_rules, run_loop
from auditor.cli.showing import console, is_text, print_json, severity, text
from auditor.config.feeds import read_feeds
from auditor.config.load import Config
from auditor.config.policies import Stack
from auditor.config.toml_lines import KeyPath
from auditor.model.errors import ConfigError, Problem
from auditor.model.finding import Severity
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Rule
from auditor.policy.engine import Policy
from auditor.policy.explaining import Answer, Explanation
from auditor.policy.explaining import explain as explained
from auditor.policy.registry import rules_of
from auditor.store import findings, replay
from auditor.store.connection import Connection
from auditor.store.replay import Kept, OpenFinding
from auditor.sweep.comparing import ENVIRONMENT
from auditor.sweep.lookback import recalled

_STYLES: Final = {Answer.FIRED: "bold", Answer.PASSED: "green", Answer.NOT_ASSESSED: "yellow"}
_MOST_TELLING_FIRST: Final = tuple(Answer)
_NAMES_SHOWN: Final = "auditor tokens list and auditor findings show what they are called"

log = structlog.get_logger(__name__)


class Parameter(msgspec.Struct, frozen=True):
    """One thing that a policy says of a rule."""

    name: str
    value: Any
    """As JSON."""
    place: str | None
    """File and line of the last word on it; None: it is the default."""


class RuleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule makes of the token, and whence."""

    rule_id: str
    title: str
    kind: str
    answer: Answer
    reason: str
    place: str | None
    """File and line of what decided that: the selector, or ``enabled``; None where nothing was written."""
    severity: Severity | None
    """Of what it said; None where it did not fire."""
    severity_place: str | None
    """File and line that set the severity; None: it is the rule's own."""
    own_severity: str
    """The rule's own severity, in words."""
    evidence: Sequence[Mapping[str, Any]]
    parameters: Sequence[Parameter]
    open_findings: Sequence[OpenFinding]
    """What sweeps have open of this rule."""


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy makes of a token in one environment."""

    environment: str
    label: str
    is_stored: bool
    observed_at: datetime
    outcome: str
    judged_at: datetime
    policy: str
    files: Sequence[str]
    risk_tier: str
    riskiest_scopes: Sequence[str]
    """Those that give the token its tier."""
    metadata: TokenMetadata | None
    """What the last lookup that found it said."""
    rules: Sequence[RuleAnswer]


def explain(session: Session, token: str, environments: Sequence[str], only: Sequence[str], *, as_json: bool) -> int:
    """Explain a token's standing from its last stored observation; asks no environment.

    Raises ``ConfigError`` where there is no such token, or no evidence about it yet.
    """
    answers = run_loop(_explain(session, token, environments, [rule.upper() for rule in only]))
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            _print(answer)
    return exits.OK


async def _explain(
    session: Session, token: str, environments: Sequence[str], only: Sequence[str]
) -> Sequence[TokenAnswer]:
    config = session.load()
    require_known(config, environments, "--environment")
    if not token:
        raise ConfigError(Problem("token", f"its name is empty; {_NAMES_SHOWN}"))
    moment = now()
    async with session.database(config) as pool, pool.acquire() as connection:
        kept = await replay.named(connection, token, environments) if is_text(token) else ()
        known = [entry for entry in kept if entry.environment in config.document.environments]
        if not known:
            raise ConfigError(
                await _of_no_stored_token(connection, token, environments)
                or Problem(f"token {token}", _why_unknown(kept, environments))
            )
        seen = [(entry, entry.known.previous) for entry in known]
        answers = [
            await _answer(connection, config, entry, observation, only, moment)
            for entry, observation in seen
            if observation is not None
        ]
    if not answers:
        raise ConfigError(Problem(f"token {token}", "no lookup has told anything of it yet; auditor sweep asks again"))
    return answers


def _why_unknown(kept: Sequence[Kept], environments: Sequence[str]) -> str:
    if kept:
        where = ", ".join(sorted({entry.environment for entry in kept}))
        return f"is of {where}, which the configuration has no more; put [environments.…] back to judge it"
    where = f" in {', '.join(environments)}" if environments else ""
    return f"no sweep has met such a token{where}; {_NAMES_SHOWN}"


async def _of_no_stored_token(connection: Connection, key: str, environments: Sequence[str]) -> Problem | None:
    """Return why the key of a finding names nothing that could be explained; None where it is no such key."""
    shown = await findings.show(connection, key, now()) if is_text(key) else None
    if shown is None or (environments and shown[0].environment not in environments):
        return None
    is_of_environment = shown[0].label == ENVIRONMENT
    whose = "the environment and not about one token" if is_of_environment else "a token that no source holds"
    return Problem(f"finding {key}", f"is about {whose}; auditor findings show has all that is known of it")


async def _answer(
    connection: Connection,
    config: Config,
    kept: Kept,
    observation: Observation,
    only: Sequence[str],
    moment: datetime,
) -> TokenAnswer:
    stack = config.policies.by_environment[kept.environment]
    kind = config.document.environments[kept.environment].kind
    document = stack.document
    feeds, problems = read_feeds(document.feeds, stack.directory)
    for problem in problems:
        log.warning("feed_unread", environment=kept.environment, place=problem.place, problem=problem.message)
    catalogue = rules_of(document)
    rules = _wanted(catalogue, only)
    span = Policy(document, rules, feeds=feeds, environment_kind=kind).lookback
    (history,) = await recalled(connection, [kept.known], moment, span)
    opened = await replay.open_findings(connection, kept.known.id)
    answers = [
        explained(document, rule, observation, history, moment, feeds=feeds, environment_kind=kind) for rule in rules
    ]
    last_found = kept.known.last_found
    scopes = last_found.scopes if last_found else ()
    tier = document.risk.tier_of_all(scopes)
    return TokenAnswer(
        environment=kept.environment,
        label=kept.label,
        is_stored=kept.is_stored,
        observed_at=observation.at,
        outcome=observation.outcome.value,
        judged_at=moment,
        policy=document.name,
        files=[str(path) for path in stack.files],
        risk_tier=tier.value,
        riskiest_scopes=[scope for scope in scopes if document.risk.tier_of(scope) is tier],
        metadata=last_found,
        rules=[_rule_answer(answer, stack, opened) for answer in answers],
    )


def _wanted(catalogue: Mapping[str, Rule], only: Sequence[str]) -> list[Rule]:
    require_known_rules(only, catalogue)
    return [rule for rule_id, rule in catalogue.items() if not only or rule_id in only]


def _rule_answer(answer: Explanation, stack: Stack, opened: Mapping[str, Sequence[OpenFinding]]) -> RuleAnswer:
    rule, written = answer.rule, stack.written
    table = _table(stack, rule)
    deciding: Mapping[Answer, KeyPath] = {
        Answer.DISABLED: (*table, "enabled"),
        Answer.NOT_SELECTED: (*table, "only"),
        Answer.EXEMPT: (*table, "exempt", answer.selector or 0),
    }
    path = deciding.get(answer.answer)
    worst = max((violation.severity for violation in answer.violations), key=lambda each: each.rank, default=None)
    return RuleAnswer(
        rule_id=rule.id,
        title=rule.title,
        kind=rule.kind.value,
        answer=answer.answer,
        reason=answer.reason,
        place=written.place(path) if path else None,
        severity=worst,
        severity_place=written.place((*table, "severity")),
        own_severity=rule.severity,
        evidence=[violation.evidence for violation in answer.violations],
        parameters=list(_parameters(stack, rule, table)),
        open_findings=opened.get(rule.id, ()),
    )


def _table(stack: Stack, rule: Rule) -> KeyPath:
    """Return where a policy speaks of a rule: in its own table, or where a written rule stands."""
    for position, table in enumerate(stack.document.rule):
        if table.id == rule.id:
            return ("rule", position)
    return ("rules", rule.id)


def _parameters(stack: Stack, rule: Rule, table: KeyPath) -> Iterator[Parameter]:
    params = stack.document.params_of(rule)
    for name, value in params.model_dump(mode="json", exclude_none=True).items():
        yield Parameter(name, value, stack.written.place((*table, name)))
    settings = stack.document.settings_of(rule.id)
    for name in ("only", "exempt"):
        selectors = getattr(settings, name, ())
        if selectors:
            shown = [selector.model_dump(mode="json", exclude_defaults=True) for selector in selectors]
            yield Parameter(name, shown, stack.written.place((*table, name)))


# For people


def _print(answer: TokenAnswer) -> None:
    out = console()
    out.print(text(f"{answer.label} in {answer.environment}", "bold"))
    token = answer.metadata
    risk = f"{answer.risk_tier} ({', '.join(answer.riskiest_scopes)})" if answer.riskiest_scopes else answer.risk_tier
    facts = (
        ("Name", token.name if token else None),
        ("Owner", token.owner if token else None),
        ("Observed", f"{answer.outcome} at {answer.observed_at:%Y-%m-%d %H:%M} UTC"),
        ("Stored still", "yes" if answer.is_stored else "no: no source holds it any more, so sweeps pass it over"),
        ("Risk tier", risk),
        ("Policy", f"{answer.policy}, made of {', '.join(answer.files)}"),
    )
    for name, value in facts:
        out.print(text(f"  {name:<13}", "dim"), text(value or "-"))
    for rule in sorted(answer.rules, key=lambda rule: _MOST_TELLING_FIRST.index(rule.answer)):
        _print_rule(out, rule)
    out.print()


def _print_rule(out: Console, rule: RuleAnswer) -> None:
    out.print()
    out.print(text(f"{rule.answer.value:<13}", _STYLES.get(rule.answer, "dim")), text(f"{rule.rule_id} {rule.title}"))
    _print_line(out, "why", rule.reason, rule.place)
    if rule.severity is not None:
        whence = rule.severity_place or f"the rule's own: {rule.own_severity}"
        out.print(text(f"  {'severity':<13}", "dim"), severity(rule.severity.value), text(f" ({whence})", "dim"))
        for evidence in rule.evidence:
            _print_line(out, "evidence", msgspec.json.encode(evidence).decode(), None)
    for parameter in rule.parameters:
        shown = msgspec.json.encode(parameter.value).decode()
        _print_line(out, "with", f"{parameter.name} = {shown}", parameter.place or "default")
    for finding in rule.open_findings:
        since = f"{finding.severity.value} since {finding.opened_at:%Y-%m-%d}: {finding.message}"
        _print_line(out, "open finding", since, None)


def _print_line(out: Console, name: str, value: str, place: str | None) -> None:
    out.print(text(f"  {name:<13}", "dim"), text(value), text(f" ({place})" if place else "", "dim"))
