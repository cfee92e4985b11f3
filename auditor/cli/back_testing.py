"""``auditor policy diff``: what a draft of a policy would change, replayed over stored observations."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from auditor.cli import exits
from auditor.cli.differences import Answer, Found, JsonAnswer, TextAnswer
from auditor.cli.session import Session, now, require_known, run_loop
from auditor.config.feeds import read_feeds
from auditor.config.load import Config
from auditor.config.policies import Policies, Stack, drafted
from auditor.model.errors import ConfigError, Problem
from auditor.policy.base import Feeds
from auditor.policy.document import FeedPaths
from auditor.sweep.back_test import BackTest, Instant, Side, Trial

log = structlog.get_logger(__name__)


class Question(NamedTuple):
    """What is asked of a draft."""

    draft: Path
    instead_of: Path | None
    """The policy file that it takes the place of; None: it is laid over those of all environments."""
    days: Sequence[str]
    """Past days or instants to judge at, beside now."""
    environments: Sequence[str]
    limit: int | None
    """Differences to show for each instant; None: all."""


def diff(session: Session, question: Question, *, as_json: bool) -> int:
    """Show what a draft would add, drop and re-grade. Exit code 0, whatever that is.

    Raises ``ConfigError`` with every problem of the draft and of the arguments.
    """
    moment = now()
    instants = list(dict.fromkeys([Instant(moment, False), *_instants(question.days, moment)]))
    answer = (JsonAnswer if as_json else TextAnswer)(question.draft, question.instead_of)
    run_loop(_diff(session, question, instants, answer))
    return exits.OK


def _instants(days: Sequence[str], moment: datetime) -> list[Instant]:
    """Return the past instants that arguments name; a day stands for its end in UTC."""
    instants: list[Instant] = []
    problems: list[Problem] = []
    for named in days:
        try:
            begins, ends = _span(named)
        except (ValueError, OverflowError):
            problems.append(Problem(f"--as-of {named}", "must be a day or instant of ISO 8601, such as 2026-03-31"))
            continue
        if begins > moment:
            problems.append(Problem(f"--as-of {named}", "lies in the future; name a past day"))
        instants.append(Instant(min(ends, moment), True))
    if problems:
        raise ConfigError(*problems)
    return instants


def _span(named: str) -> tuple[datetime, datetime]:
    """Return when a day begins and ends; an instant is its own beginning and end."""
    try:
        begins = datetime.combine(date.fromisoformat(named), time(), UTC)
    except ValueError:
        at = datetime.fromisoformat(named)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at, at
    return begins, begins + timedelta(days=1)


async def _diff(session: Session, question: Question, instants: Sequence[Instant], answer: Answer) -> None:
    config = session.load()
    require_known(config, question.environments, "--environment")
    policies = drafted(config.policies, question.draft, instead_of=question.instead_of)
    trials = _trials(config, policies, question.environments or list(config.document.environments))
    with ExitStack() as stack:
        async with session.server(config) as (server, pool), pool.acquire() as connection:
            back_test = BackTest(server, trials)
            found = {instant: stack.enter_context(Found(question.limit)) for instant in instants}
            async for instant, tally in back_test.run(connection, instants, kept=question.limit):
                found[instant].add(tally)
        answer.begin(back_test.comparisons)
        for instant in instants:
            answer.show(instant, found[instant])
        answer.end()


def _trials(config: Config, policies: Policies, environments: Sequence[str]) -> Mapping[str, Trial]:
    read: dict[tuple[FeedPaths, Path], Feeds] = {}

    def side(stack: Stack, kind: str | None) -> Side:
        where = stack.document.feeds, stack.directory
        if where not in read:
            read[where], problems = read_feeds(*where)
            for problem in problems:
                log.warning("feed_unread", place=problem.place, problem=problem.message)
        return Side(stack.document.content, read[where], kind)

    trials = {}
    for name in environments:
        kind = config.document.environments[name].kind
        present, draft = (each.by_environment[name] for each in (config.policies, policies))
        trials[name] = Trial(side(present, kind), side(draft, kind))
    return trials
