"""Runs the rules that look at all tokens of an environment beside one another, at a sweep's end.

They judge by the last evidence about each token, so a lookup that failed neither opens nor ends anything: the token
stands as it last stood. Where too many tokens were never seen at all, or the sweep stopped early, no rule is assessed.
"""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from auditor.model.errors import ungrouped
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


class _Group:
    """Rules that look at the same candidates, which are read once for them all, and ahead of their turn."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.standings: dict[str, RuleStanding] = {}
        self.is_settled = asyncio.Event()
        """Set as soon as all of ``standings`` are known."""
        self._said: asyncio.Queue[Sequence[Said] | None] = asyncio.Queue(maxsize=1)

    @property
    def judged(self) -> Mapping[str, Rule]:
        """Those that can be judged, by id."""
        return {rule.id: rule for rule in self.rules if self.standings[rule.id].state is RuleState.ASSESSED}

    async def say(self, batch: Sequence[Said] | None) -> None:
        """Give on what the rules say, once there is room; None after the last."""
        await self._said.put(batch)

    async def said(self) -> AsyncGenerator[Sequence[Said], None]:
        """Yield what the rules say, in batches."""
        while (batch := await self._said.get()) is not None:
            yield batch


async def judge(
    reading: Sequence[Connection], writing: Connection, subject: Subject, teller: Teller, setting: Setting
) -> Mapping[str, RuleStanding]:
    """Bring the findings of fleet rules up to date, after the places of tokens are; return how each rule stands now.

    Each of ``reading`` has no transaction open: what rules look at is read on all of them at once, at most one batch
    ahead of what is written. Each batch of findings is a transaction on ``writing``, see ``compare``.
    Findings of rules that the policy disables, or that no catalogue has, end by policy, whatever became of the sweep.
    """
    policy = subject.policy
    standings: dict[str, RuleStanding] = {}
    too_little = await _too_little(writing, setting)
    groups = [_Group(rules) for rules in _read_together(policy, subject)]
    with ungrouped():
        async with asyncio.TaskGroup() as readers:
            untaken = iter(groups)
            for connection in reading:
                readers.create_task(_read_ahead(connection, untaken, subject, setting, too_little))
            for group in groups:
                await group.is_settled.wait()
                judged = group.judged
                standings |= group.standings
                if not judged:
                    continue
                async with aclosing(group.said()) as said:
                    await compare(
                        writing,
                        teller,
                        environment=setting.environment,
                        sweep=setting.sweep,
                        rules=judged,
                        said=said,
                        ending=partial(_ending, judged, policy, subject.name),
                        deadlines=Deadlines(policy, subject.name),
                        now=setting.now,
                    )
    unwanted = [rule_id for rule_id in policy.comparing if rule_id in policy.disabled]
    gone = [
        rule_id for rule_id in await comparing.rules_of_subjects(writing, setting.environment) if rule_id not in rules()
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


async def _read_ahead(
    connection: Connection, groups: Iterator[_Group], subject: Subject, setting: Setting, too_little: str | None
) -> None:
    """Read what rules look at, one group after another, those that nobody else takes; give on what they say of it."""
    policy = subject.policy
    for group in groups:
        for rule in group.rules:
            reason = await _why_not(connection, rule, policy, setting, too_little)
            group.standings[rule.id] = (
                RuleStanding(RuleState.ASSESSED) if reason is None else RuleStanding(RuleState.NOT_ASSESSED, reason)
            )
        group.is_settled.set()
        if group.judged:
            await _read(connection, group, subject, setting)
            await group.say(None)


async def _read(connection: Connection, group: _Group, subject: Subject, setting: Setting) -> None:
    """Read the candidates of a group's rules, and give on what those that can be judged say of them."""
    policy, judged = subject.policy, list(group.judged.values())
    first = judged[0]
    assert first.candidates is not None
    reader = _READERS[first.candidates]
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await fleet.compare_by_hash(connection)
        apart_from = array("q")
        if policy.is_narrowed(first.id):
            async for held in fleet.held_tokens(connection, setting.environment):
                if not policy.selects(first.id, *as_selected(held, subject.name)):
                    apart_from.append(held.id)
        asked = reader.asked(policy.params_of(first.id), subject)
        async with aclosing(reader.read(connection, setting.environment, setting.now, apart_from, **asked)) as found:
            async for batch in found:
                await group.say(
                    [
                        Said(bearer, violation)
                        for bearer, candidate in batch
                        for rule in judged
                        for violation in policy.judge(rule, candidate, setting.now)
                    ]
                )


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
