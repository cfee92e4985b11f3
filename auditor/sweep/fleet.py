"""Runs the rules that look at all tokens of an environment beside one another, at a sweep's end.

They judge by the last evidence about each token, so a lookup that failed neither opens nor ends anything: the token
stands as it last stood. Where too many tokens were never seen at all, or the sweep stopped early, no rule is assessed.
"""

from array import array
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from auditor.model.finding import Resolution
from auditor.model.lookup import Outcome
from auditor.model.sweep import RuleStanding, RuleState
from auditor.policy import fleet as candidates
from auditor.policy.base import Rule
from auditor.policy.engine import Policy
from auditor.policy.fleet import LineageParams
from auditor.policy.lateness import Deadlines
from auditor.policy.registry import rules
from auditor.store import comparing, fleet
from auditor.store.comparing import Standing
from auditor.store.connection import Connection
from auditor.store.fleet import Candidates
from auditor.sweep.comparing import Said, as_selected, compare
from auditor.sweep.recorder import MISSES_THAT_END_FINDINGS
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller

UNSEEN_SHARE: Final = 0.01
"""With more than this share of the stored tokens never seen by any lookup, a comparison would say too little."""

_STOPPED: Final = "it is judged at a sweep's end, which this sweep did not come to"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared: one environment at the end of one sweep."""

    environment: int
    sweep: int
    now: datetime
    is_stopped: Callable[[], bool]
    """Whether the sweep stopped early, or is to stop now; asked before each rule, since one can take a while."""
    unread_sources: Collection[str]
    """Sources that were not read to their end."""
    unmet: int = 0
    """Tokens that the sweep enrolled and left, as every sweep before it; there is no row of them yet."""


def unjudged(policy: Policy) -> Mapping[str, RuleStanding]:
    """Return how the fleet rules stand as long as a sweep has not come to its end."""
    return {rule.id: RuleStanding(RuleState.NOT_ASSESSED, _STOPPED) for rule in policy.fleet}


async def judge(
    reading: Connection, writing: Connection, subject: Subject, teller: Teller, setting: Setting
) -> Mapping[str, RuleStanding]:
    """Bring the findings of fleet rules up to date, after the places of tokens are; return how each rule stands now.

    ``reading`` has no transaction open; each batch of findings is a transaction on ``writing``, see ``compare``.
    Findings of rules that the policy disables, or that no catalogue has, end by policy, whatever became of the sweep.
    """
    policy = subject.policy
    standings: dict[str, RuleStanding] = {}
    too_little = await _too_little(reading, setting)
    for together in _read_together(policy, subject):
        judged: list[Rule] = []
        for rule in together:
            reason = await _why_not(reading, rule, policy, setting, too_little)
            if reason is None:
                judged.append(rule)
                standings[rule.id] = RuleStanding(RuleState.ASSESSED)
            else:
                standings[rule.id] = RuleStanding(RuleState.NOT_ASSESSED, reason)
        if judged:
            await _judge_together(reading, writing, subject, teller, setting, judged)
    unwanted = [rule_id for rule_id in policy.comparing if rule_id in policy.disabled]
    gone = [
        rule_id for rule_id in await comparing.rules_of_subjects(reading, setting.environment) if rule_id not in rules()
    ]
    if unwanted or gone:
        await compare(
            writing,
            teller,
            environment=setting.environment,
            sweep=setting.sweep,
            rules=[*unwanted, *gone],
            said=_nothing(),
            ending=lambda _one: Resolution.POLICY,
            deadlines=Deadlines(policy, subject.name),
            now=setting.now,
        )
    return standings


def _read_together(policy: Policy, subject: Subject) -> Collection[Sequence[Rule]]:
    """Return the fleet rules, those together that look at the same candidates, which are read once for them all."""
    together: dict[object, list[Rule]] = {}
    for rule in policy.fleet:
        assert rule.candidates is not None
        asked = _READERS[rule.candidates].asked(policy.params_of(rule.id), subject)
        apart = rule.id if policy.is_narrowed(rule.id) else None
        together.setdefault((rule.candidates, tuple(asked.items()), apart), []).append(rule)
    return together.values()


async def _too_little(connection: Connection, setting: Setting) -> str | None:
    """Return why what lookups saw of an environment is too little to compare; None where it is enough."""
    unseen, stored = await fleet.count_unseen(connection, setting.environment)
    unseen, stored = unseen + setting.unmet, stored + setting.unmet
    if unseen <= stored * UNSEEN_SHARE:
        return None
    return f"no lookup has ever found or missed {unseen} of {stored} stored tokens, so there is too little to compare"


async def _why_not(
    connection: Connection, rule: Rule, policy: Policy, setting: Setting, too_little: str | None
) -> str | None:
    """Return why a rule cannot be judged at the end of this sweep."""
    if setting.is_stopped():
        return _STOPPED
    if too_little is not None:
        return too_little
    if rule.needs_every_source and setting.unread_sources:
        return f"not every source was read to its end: {', '.join(sorted(setting.unread_sources))}"
    params = policy.params_of(rule.id)
    if isinstance(params, LineageParams):
        problem = await fleet.problem_of_pattern(connection, params.name_stem_regex)
        if problem is not None:
            return f"PostgreSQL cannot read name_stem_regex: {problem}"
    return None


async def _judge_together(
    reading: Connection, writing: Connection, subject: Subject, teller: Teller, setting: Setting, judged: Sequence[Rule]
) -> None:
    """Judge rules that look at the same candidates, and are applied to the same tokens."""
    policy, first = subject.policy, judged[0]
    assert first.candidates is not None
    reader = _READERS[first.candidates]
    async with reading.transaction(isolation="repeatable_read", readonly=True):
        await fleet.compare_by_hash(reading)
        apart_from = array("q")
        if policy.is_narrowed(first.id):
            async for held in fleet.held_tokens(reading, setting.environment):
                if not policy.selects(first.id, *as_selected(held, subject.name)):
                    apart_from.append(held.id)
        found = reader.read(
            reading, setting.environment, setting.now, apart_from, **reader.asked(policy.params_of(first.id), subject)
        )
        async with aclosing(found), aclosing(_said(found, policy, judged, setting.now)) as said:
            await compare(
                writing,
                teller,
                environment=setting.environment,
                sweep=setting.sweep,
                rules=[rule.id for rule in judged],
                said=said,
                ending=partial(_ending, {rule.id: rule for rule in judged}, policy, subject.name),
                deadlines=Deadlines(policy, subject.name),
                now=setting.now,
            )


async def _said(
    found: Candidates, policy: Policy, judged: Sequence[Rule], now: datetime
) -> AsyncGenerator[Sequence[Said], None]:
    async for batch in found:
        yield [
            Said(bearer, violation)
            for bearer, candidate in batch
            for rule in judged
            for violation in policy.judge(rule, candidate, now)
        ]


async def _nothing() -> AsyncGenerator[Sequence[Said], None]:
    batches: Sequence[Sequence[Said]] = ()
    for batch in batches:
        yield batch


def _ending(judged: Mapping[str, Rule], policy: Policy, environment: str, one: Standing) -> Resolution | None:
    """Return how a finding ends of which its rule said nothing although it was judged."""
    rule = judged[one.finding.rule_id]
    token = one.token
    if token is None:
        return Resolution.EVIDENCE
    if not policy.selects(rule.id, *as_selected(token, environment)):
        return Resolution.POLICY
    if rule.ends_with_storage:
        return Resolution.EVIDENCE
    if not token.is_stored or token.observation is None:
        return None
    if token.observation.outcome is Outcome.MISSING:
        return Resolution.MISSING if token.misses >= MISSES_THAT_END_FINDINGS else None
    return Resolution.EVIDENCE


class _Reader(msgspec.Struct, frozen=True):
    """How the candidates of one kind are read."""

    read: Callable[..., Candidates]
    """Takes the connection, the environment, now and ``apart_from``, and what was asked by name."""
    asked: Callable[[Any, Subject], Mapping[str, Any]] = lambda _params, _subject: {}
    """What decides, of a rule's parameters and of the sweep's subject, which candidates there are."""


_READERS: Final[Mapping[type[msgspec.Struct], _Reader]] = {
    candidates.ExpiredToken: _Reader(fleet.expired_tokens, lambda params, _subject: {"stem": params.name_stem_regex}),
    candidates.Generation: _Reader(fleet.generations, lambda params, _subject: {"stem": params.name_stem_regex}),
    candidates.ExpiryWindow: _Reader(fleet.expiry_windows, lambda params, _subject: {"days": params.window_days}),
    candidates.OwnerHoldings: _Reader(fleet.owner_holdings),
    candidates.NamedToken: _Reader(fleet.named_tokens, lambda params, _subject: {"shared_only": params.regex is None}),
    candidates.StoredCopies: _Reader(
        fleet.stored_copies, lambda _params, subject: {"environments": tuple(sorted(subject.environments))}
    ),
}
"""Kind of candidate → what reads them all; a rule of another package can look at any of these, too."""
