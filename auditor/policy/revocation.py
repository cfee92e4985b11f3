"""Whether a token can be revoked without breaking anything: a verdict, its evidence, and how far to trust it.

Everything here is read from what sweeps recorded. Where they recorded too little, the verdict is unknown or its
confidence low; nothing is guessed. docs/verdicts.md says the same for those who read verdicts.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from statistics import median_low
from typing import Final, NamedTuple

import msgspec

from auditor.model.history import Use
from auditor.model.lookup import Outcome, TokenMetadata
from auditor.policy.networks import network_of
from auditor.policy.scopes import RiskSettings, RiskTier
from auditor.policy.wording import counted, day, listed, shortened


class Verdict(StrEnum):
    """What would happen if the token were revoked now; a closed set."""

    SAFE = "safe"
    """Nothing depends on it, by all that was recorded."""
    LIKELY_SAFE = "likely_safe"
    """Nothing seems to depend on it; disable it first and wait before deleting it."""
    RISKY = "risky"
    """Something may depend on it: it has been silent for too short a time to tell."""
    DO_NOT_REVOKE = "do_not_revoke"
    """Something depends on it."""
    GONE = "gone"
    """There is nothing left to revoke: the environment no longer has it."""
    UNKNOWN = "unknown"
    """Nothing certain is known of it at present."""


class Confidence(StrEnum):
    """How far the recorded facts carry a verdict."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Successor(msgspec.Struct, frozen=True, gc=False):
    """A later token that can stand in: same environment, owner and name stem, all of the scopes, enabled and used."""

    label: str
    creation_date: datetime
    last_used_date: datetime


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What sweeps recorded of a stored token."""

    environment: str
    label: str
    token: TokenMetadata | None
    """As the last lookup that found it said; None where none ever did."""
    outcome: Outcome | None
    """Of the last evident lookup; None where no lookup ever gave evidence."""
    first_evident_at: datetime | None
    evident_at: datetime | None
    """The last evident lookup."""
    lookups: int
    """Evident lookups so far."""
    misses: int
    """Evident lookups running, up to the last, that were missing."""
    failures: int
    """Lookups running, up to the last, without evidence."""
    reason: str
    """Why the last lookup gave no evidence."""
    disabled_since: datetime | None
    """When a sweep first saw it disabled."""
    is_stored: bool
    uses: tuple[Use, ...]
    """As sweeps saw them, oldest first; the most recent ones."""
    successor: Successor | None


class Cadence(msgspec.Struct, frozen=True, gc=False):
    """How a token was used, as far as sweeps saw: at most one use a sweep."""

    uses: int = 0
    since: datetime | None = None
    """The first of these uses."""
    median_pause: timedelta | None = None
    """Between two uses; None below two uses."""
    longest_pause: timedelta | None = None
    """Between two uses from one network: one that comes seldom is not hidden by one that comes often."""
    networks: tuple[str, ...] = ()
    """Where uses came from, /24 and /48, sorted."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verdict with everything that it rests on."""

    environment: str
    label: str
    token_name: str | None
    owner: str | None
    verdict: Verdict
    confidence: Confidence
    evidence: tuple[str, ...]
    """Sentences without a full stop; the first is what decided. They hold outside text, so whoever shows them escapes
    it."""
    limits: tuple[str, ...]
    """What keeps the confidence from being high; empty where it is."""
    safe_from: datetime | None
    """When it will count as safe if it stays unused; None where it does already, or where that does not depend on
    time."""
    risk_tier: RiskTier
    """The highest among its scopes: what a leak of it would cost."""
    last_used_date: datetime | None
    cadence: Cadence
    successor: str | None
    """Label of the token that can stand in for it."""
    evident_at: datetime | None
    """When a lookup last gave evidence about it."""


class _Silence(NamedTuple):
    """How long a token has to be silent: at least so long, and so many times its longest pause so far."""

    quiet: timedelta
    """Below, it is in use."""
    likely: timedelta
    safe: timedelta


_DAY: Final = timedelta(days=1)

OLD_EVIDENCE: Final = 14 * _DAY
"""Evidence that is older tells nothing of the present."""
TOO_OLD: Final = f"older than {OLD_EVIDENCE.days} days"
"""That in words."""
GONE_AFTER_MISSES: Final = 2
"""One answer that there is no such token may be a mistake of that moment."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""A use so shortly after the end of a token may be one from before it."""
DISABLED_LONG: Final = 7 * _DAY
"""After so long a time whoever missed a disabled token has come forward."""
_ALONE: Final = _Silence(14 * _DAY, 45 * _DAY, 90 * _DAY)
_REPLACED: Final = _Silence(3 * _DAY, 7 * _DAY, 14 * _DAY)
_NEVER_USED: Final = _Silence(timedelta(), 30 * _DAY, 90 * _DAY)
_NEVER_USED_REPLACED: Final = _Silence(timedelta(), 14 * _DAY, 30 * _DAY)
_PAUSES: Final = (1, 2, 3)
"""Times the longest pause for quiet, likely and safe."""
_HIGH_RISK_FACTOR: Final = 2
"""What administers is used seldom: for a change, in an emergency. Its silence says half as much."""

_LONGEST_PAUSE: Final = timedelta(days=3_650)
"""Between two uses; a longer one comes from a wrong date."""
_FEW_USES: Final = 3
_MANY_NETWORKS: Final = 3


def judge(record: Record, risk: RiskSettings, now: datetime) -> Judgement:
    """Return the verdict on a token; ``now`` is the instant to judge by."""
    told = record.token
    record = _with_seen_use(record)
    token = record.token
    scopes = token.scopes if token else ()
    cadence = cadence_of(record.uses)
    reached = _decide(record, risk, cadence, now)
    limits = tuple(_limits(record, cadence, reached, now))
    return Judgement(
        environment=record.environment,
        label=record.label,
        token_name=token.name if token else None,
        owner=token.owner if token else None,
        verdict=reached.verdict,
        confidence=min((confidence for confidence, _why in limits), key=_WORST_FIRST.index, default=Confidence.HIGH),
        evidence=(*reached.because, *_withdrawn(record, told), *_circumstances(record, risk, cadence)),
        limits=tuple(why for _confidence, why in limits),
        safe_from=reached.safe_from,
        risk_tier=risk.tier_of_all(scopes),
        last_used_date=token.last_used_date if token else None,
        cadence=cadence,
        successor=record.successor.label if record.successor else None,
        evident_at=record.evident_at,
    )


def _with_seen_use(record: Record) -> Record:
    """Return a record whose token has the last use that sweeps saw, where lookups tell of none any more.

    That a use is not told of does not undo it: what needed the token may still do.
    """
    token = record.token
    if token is None or token.last_used_date is not None or not record.uses:
        return record
    last = record.uses[-1]
    used = msgspec.structs.replace(token, last_used_date=last.used_at, last_used_ip_address=last.ip_address)
    return msgspec.structs.replace(record, token=used)


def _withdrawn(record: Record, told: TokenMetadata | None) -> Iterator[str]:
    """Yield that the last use is known from earlier lookups only, where it is."""
    if told is not None and told is not record.token:
        yield "earlier lookups told of that use, and the last one of none"


def cadence_of(uses: Sequence[Use]) -> Cadence:
    """Return how regularly a token was used, and from where."""
    if not uses:
        return Cadence()
    instants = sorted({use.used_at for use in uses})
    by_network: dict[str, set[datetime]] = {}
    for use in uses:
        if use.ip_address is not None:
            by_network.setdefault(network_of(use.ip_address), set()).add(use.used_at)
    pauses = [later - earlier for earlier, later in pairwise(instants)]
    within = [later - earlier for seen in by_network.values() for earlier, later in pairwise(sorted(seen))]
    return Cadence(
        uses=len(instants),
        since=instants[0],
        median_pause=median_low(pauses) if pauses else None,
        longest_pause=max(pauses + within) if pauses else None,
        networks=tuple(sorted(by_network)),
    )


class _Reached(NamedTuple):
    verdict: Verdict
    because: Sequence[str]
    is_by_silence: bool = False
    """Whether it rests on the token's silence, and not on a state that holds whatever its use was."""
    safe_from: datetime | None = None


def _decide(record: Record, risk: RiskSettings, cadence: Cadence, now: datetime) -> _Reached:
    unknown = _why_unknown(record, now)
    if unknown is not None:
        return _Reached(Verdict.UNKNOWN, [unknown])
    token = record.token
    if record.outcome is Outcome.MISSING or token is None:
        seen = f", last on {day(record.evident_at)}" if record.evident_at else ""
        told = f"the environment answered in {record.misses} lookups running that there is no such token{seen}"
        return _Reached(Verdict.GONE, [told])
    return _by_state(record, token, now) or _by_silence(record, token, risk, cadence, now)


def _why_unknown(record: Record, now: datetime) -> str | None:
    if record.evident_at is None or record.outcome is None:
        return "no lookup has given evidence about it yet"
    last = f"the last evidence is of {day(record.evident_at)}"
    if record.failures:
        why = f" ({shortened(record.reason)})" if record.reason else ""
        failed = "the last lookup" if record.failures == 1 else f"the last {record.failures} lookups"
        return f"{failed} gave no evidence{why}; {last}"
    if now - record.evident_at > OLD_EVIDENCE:
        why = "no lookup since" if record.is_stored else "no source holds it any more, so it is not looked up"
        return f"{last}: {why}"
    if record.outcome is Outcome.MISSING and record.misses < GONE_AFTER_MISSES:
        return f"the environment answered once, on {day(record.evident_at)}, that there is no such token"
    return None


def _by_state(record: Record, token: TokenMetadata, now: datetime) -> _Reached | None:
    """Return the verdict on a token that opens nothing whatever its use was; None for one that does."""
    end = token.expiration_date
    if end is not None and end <= now and not _is_used_after(token, end):
        return _Reached(Verdict.SAFE, [f"it expired on {day(end)} and was not used since"])
    if token.enabled is not False:
        return None
    since = record.disabled_since
    if since is None or _is_used_after(token, since):
        return None
    told = f"a sweep saw it disabled on {day(since)}, and it was not used since"
    if now - since >= DISABLED_LONG:
        return _Reached(Verdict.SAFE, [told])
    return _Reached(
        Verdict.LIKELY_SAFE,
        [told, "whoever misses it may not have come forward yet"],
        safe_from=since + DISABLED_LONG,
    )


def _is_used_after(token: TokenMetadata, end: datetime) -> bool:
    return token.last_used_date is not None and token.last_used_date > end + CLOCK_SKEW


def _by_silence(record: Record, token: TokenMetadata, risk: RiskSettings, cadence: Cadence, now: datetime) -> _Reached:
    is_replaced = record.successor is not None and (
        token.last_used_date is None or record.successor.last_used_date > token.last_used_date
    )
    needed = _needed(token, risk.tier_of_all(token.scopes), cadence, is_replaced=is_replaced)
    # A date that lies ahead is wrong, and as good as now.
    silent_since = min(token.last_used_date or token.creation_date or record.first_evident_at or now, now)
    silence = now - silent_since
    because = [_last_use(token, record)]
    because += _contradictions(record, token, now)
    if silence >= needed.safe:
        return _Reached(Verdict.SAFE, because, is_by_silence=True)
    safe_from = silent_since + needed.safe
    because.append(f"if it stays unused, it counts as safe from {day(safe_from)} on")
    if silence >= needed.likely:
        return _Reached(Verdict.LIKELY_SAFE, because, is_by_silence=True, safe_from=safe_from)
    if silence >= needed.quiet:
        return _Reached(Verdict.RISKY, because, is_by_silence=True, safe_from=safe_from)
    return _Reached(Verdict.DO_NOT_REVOKE, because, safe_from=safe_from)


def _needed(token: TokenMetadata, tier: RiskTier, cadence: Cadence, *, is_replaced: bool) -> _Silence:
    """Return how long this token has to be silent for each verdict."""
    if token.last_used_date is None:
        base = _NEVER_USED_REPLACED if is_replaced else _NEVER_USED
    else:
        base = _REPLACED if is_replaced else _ALONE
    factor = _HIGH_RISK_FACTOR if tier.is_high_risk else 1
    pause = min(cadence.longest_pause or timedelta(), _LONGEST_PAUSE)
    quiet, likely, safe = (times * pause for times in _PAUSES)
    return _Silence(max(base.quiet, quiet), max(base.likely * factor, likely), max(base.safe * factor, safe))


def _last_use(token: TokenMetadata, record: Record) -> str:
    if token.last_used_date is not None:
        place = f" from {shortened(token.last_used_ip_address)}" if token.last_used_ip_address else ""
        return f"it was last used on {day(token.last_used_date)}{place}"
    if token.creation_date is not None:
        return f"it was never used since it was created on {day(token.creation_date)}"
    seen = f" and was seen first on {day(record.first_evident_at)}" if record.first_evident_at else ""
    return f"it was never used{seen}"


def _contradictions(record: Record, token: TokenMetadata, now: datetime) -> Iterator[str]:
    """Yield what should have ended its use and did not."""
    if token.expiration_date is not None and token.expiration_date <= now:
        yield f"that is after it expired on {day(token.expiration_date)}"
    if token.enabled is False and record.disabled_since is not None:
        yield f"that is after a sweep saw it disabled on {day(record.disabled_since)}"
    elif token.enabled is False:
        yield "it is disabled, since when is not known"


def _circumstances(record: Record, risk: RiskSettings, cadence: Cadence) -> Iterator[str]:
    """Yield what else was weighed."""
    token = record.token
    if token is None:
        return
    if cadence.median_pause is not None and cadence.longest_pause is not None and cadence.since is not None:
        yield (
            f"sweeps saw {cadence.uses} uses since {day(cadence.since)}: {_span(cadence.median_pause)} apart as a "
            f"rule, {_span(cadence.longest_pause)} at most"
        )
    if len(cadence.networks) > 1:
        yield f"uses came from {len(cadence.networks)} networks: {listed(cadence.networks)}"
    successor = record.successor
    if successor is not None:
        told = (
            f"{successor.label} can stand in for it: same owner, same name but for its generation, all of its "
            f"scopes, created on {day(successor.creation_date)}, last used on {day(successor.last_used_date)}"
        )
        is_later = token.last_used_date is not None and token.last_used_date >= successor.last_used_date
        yield f"{told}; but this one was used later" if is_later else told
    powers = risk.high_risk_among(token.scopes)
    if powers:
        yield f"it holds scopes of high risk, which are used seldom, so its silence says less: {listed(powers)}"
    if not record.is_stored:
        yield "no source holds it any more"
    if record.first_evident_at is not None and record.evident_at is not None:
        yield (
            f"{counted(record.lookups, 'lookup')} gave evidence, from {day(record.first_evident_at)} to "
            f"{day(record.evident_at)}"
        )


def _limits(record: Record, cadence: Cadence, reached: _Reached, now: datetime) -> Iterator[tuple[Confidence, str]]:
    """Yield what keeps the confidence down, and how far down."""
    if reached.verdict is Verdict.UNKNOWN or record.evident_at is None:
        yield Confidence.LOW, "nothing certain is known at present"
        return
    age = now - record.evident_at
    yield from _graded(age <= 2 * _DAY, age <= 7 * _DAY, f"the evidence is of {day(record.evident_at)}")
    if not reached.is_by_silence or record.first_evident_at is None:
        return
    lookups = record.lookups
    yield from _graded(lookups >= 10, lookups >= 3, f"only {counted(lookups, 'lookup')} gave evidence")
    watched, pause = record.evident_at - record.first_evident_at, cadence.longest_pause or timedelta()
    yield from _graded(
        watched >= max(30 * _DAY, 3 * pause),
        watched >= max(7 * _DAY, pause),
        f"it has been watched since {day(record.first_evident_at)} only",
    )
    if lookups > 1:
        between = watched / (lookups - 1)
        yield from _graded(
            between <= 2 * _DAY, between <= 8 * _DAY, f"lookups were {_span(between)} apart, and each sees one use"
        )
    if record.token is not None and record.token.last_used_date is not None:
        yield from _graded(
            cadence.uses >= _FEW_USES, True, f"sweeps saw {counted(cadence.uses, 'use')} of it, too few for a cadence"
        )
    networks = len(cadence.networks)
    yield from _graded(
        networks <= _MANY_NETWORKS, True, f"it serves {networks} networks, and some of them may come seldom"
    )


def _graded(is_high: bool, is_medium: bool, why: str) -> Iterator[tuple[Confidence, str]]:
    if not is_high:
        yield Confidence.MEDIUM if is_medium else Confidence.LOW, why


_WORST_FIRST: Final = tuple(Confidence)


def _span(span: timedelta) -> str:
    """Return a span in the largest unit that says it well: ``36 days``, ``5 hours``, ``12 minutes``."""
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:
        return counted(minutes, "minute")
    hours = round(minutes / 60)
    return counted(hours, "hour") if hours < 48 else counted(round(hours / 24), "day")
