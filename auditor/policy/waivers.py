"""Which findings are waived, and what becomes of them when a waiver begins, changes or ends: pure."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from auditor.model.finding import Severity, Transition, Violation, Waived
from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.secret import TOKEN_FORMAT
from auditor.model.spelling import meant
from auditor.model.table import Table
from auditor.model.waiver import Waiver
from auditor.policy.lifecycle import Change, KnownFinding
from auditor.policy.scopes import RiskTier
from auditor.policy.selectors import Alternatives, Predicate, Selection, matcher

KeyPath = tuple[str | int, ...]

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_KEY_PARTS: Final = 3


class FindingId(NamedTuple):
    """What makes a finding the one that it is; its key in parts."""

    environment: str
    label: str
    rule_id: str
    discriminator: str


def finding_of(key: str) -> FindingId | None:
    """Return the parts of a finding's key, ``environment/token/rule[/discriminator]``; None where it is none."""
    parts = key.split("/", _KEY_PARTS)
    if len(parts) < _KEY_PARTS or not all(parts):
        return None
    return FindingId(parts[0], parts[1], parts[2], parts[3] if len(parts) > _KEY_PARTS else "")


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _instant(value: object) -> object:
    """Read what TOML or a person writes for an instant; a day is its beginning, and without an offset it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        with suppress(OverflowError):  # at an end of the calendar
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    elif isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError("must be a day such as 2027-01-31, or an instant such as 2027-01-31T18:00:00Z")


def instant(text: str) -> datetime:
    """Return a day or an instant as a person writes it; raises ``ValueError`` where it is none."""
    read = _instant(text)
    assert isinstance(read, datetime)
    return read


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if not text.isprintable():
        raise ValueError("must be one line of text for people")
    _require_no_token(text)
    return text.strip()


def _require_no_token(text: str) -> None:
    if TOKEN_FORMAT.search(text):
        raise ValueError("holds a token; take its secret part out, and renew the token")


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("must be of letters, digits and _.- only, 100 at most")
    return text


def _key(text: str) -> str:
    _require_no_token(text)
    if finding_of(text) is None:
        raise ValueError(
            f'"{text:.60}" is no key of a finding: environment/token/rule; auditor findings --json has them'
        )
    return text


Text = Annotated[str, AfterValidator(_said)]
Instant = Annotated[datetime, BeforeValidator(_instant, json_schema_input_type=str)]


class WaiverEntry(Table):
    """A ``[[waiver]]`` table: who accepts which findings, why and until when.

    It names findings by their keys, or rules and the tokens to which it applies.
    """

    id: Annotated[str, AfterValidator(_id)]
    """What it is called wherever it is shown; letters, digits and ``_.-``."""
    owner: Text
    """Who asked for it and answers for the risk."""
    approver: Text
    """Who granted it: somebody else than the owner."""
    reason: Text
    """Why the findings are accepted."""
    ticket: Text
    """Where the mend is tracked."""
    since: Instant
    """The day on which it was granted, or an instant; a day begins at midnight UTC."""
    until: Instant
    """The first day, or instant, on which it is in force no more."""
    finding: Annotated[
        tuple[Annotated[str, AfterValidator(_key)], ...],
        BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),
    ] = ()
    """Keys of findings, ``environment/token/rule``: one or a list of them."""
    rules: Annotated[tuple[str, ...], BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...])] = ()
    """Ids of rules, in place of ``finding``: their findings on the tokens that ``only`` selects."""
    only: tuple[Selection, ...] = ()
    """Selectors, with ``rules``: it applies to tokens that one of these selects."""
    discriminator: Alternatives = ()
    """Globs, with ``rules``: only findings whose key ends so, where a rule makes several for one token."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if bool(self.finding) == bool(self.rules):
            raise ValueError('a waiver names either finding = "…", or rules = ["…"] with only = [{ … }]')
        if self.finding and (self.only or self.discriminator):
            raise ValueError("only and discriminator go with rules; a finding's key says it all")
        if self.rules and not self.only:
            raise ValueError("only = [{ … }] must say which tokens; a rule is switched off in the policy instead")
        if self.until <= self.since:
            raise ValueError("until must be after since")
        return self

    def may_speak_of(self, environment: str) -> bool:
        """Whether it may cover findings of an environment."""
        if self.finding:
            return any(key.startswith(f"{environment}/") for key in self.finding)
        return any(not one.environment or matcher(one.environment)(environment) for one in self.only)

    @property
    def terms(self) -> Waiver:
        """The waiver less what it matches."""
        return Waiver(
            id=self.id,
            owner=self.owner,
            approver=self.approver,
            reason=self.reason,
            ticket=self.ticket,
            since=self.since,
            until=self.until,
        )


class WaiversDocument(Table):
    """A file of waivers."""

    waiver: tuple[WaiverEntry, ...] = ()
    """One table a waiver."""


class WaiverSettings(Table):
    """The ``[waivers]`` table of a policy: what waivers may be."""

    max_days: int = Field(default=90, ge=1, le=3660)
    """The longest that a waiver may be in force, in days; a longer one is refused."""
    warn_days: int = Field(default=14, ge=0, le=365)
    """So many days before a waiver ends, one alert says so; 0: none does."""

    def is_too_long(self, waiver: Waiver) -> bool:
        """Whether a waiver is in force for longer than the policy allows."""
        return waiver.until - waiver.since > timedelta(days=self.max_days)

    def is_due_to_warn(self, waiver: Waiver, now: datetime) -> bool:
        """Whether a waiver is in force and about to end."""
        return waiver.is_in_force(now) and waiver.until - now <= timedelta(days=self.warn_days)


class Setting(NamedTuple):
    """What an environment's policy says of waivers there."""

    waivers: WaiverSettings
    rules: Collection[str]
    """Ids of its rules."""


def check_waivers(document: WaiversDocument, environments: Mapping[str, Setting]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong in a file of waivers beside the form of each: spans, and names of nothing that there is."""
    for number, entry in enumerate(document.waiver):
        place: KeyPath = ("waiver", number)
        for position, key in enumerate(entry.finding):
            finding = finding_of(key)
            assert finding is not None
            if finding.environment not in environments:
                yield (
                    (*place, "finding", position),
                    f'"{key}": unknown environment "{finding.environment}"; {meant(finding.environment, environments)}',
                )
            elif finding.rule_id not in environments[finding.environment].rules:
                yield (*place, "finding", position), f'"{key}": unknown rule "{finding.rule_id}"; {_LISTED}'
        settings = [setting for name, setting in environments.items() if entry.may_speak_of(name)]
        if entry.rules and not settings:
            yield (*place, "only"), f"its selectors select no environment; {_listed(environments)}"
        for position, rule_id in enumerate(entry.rules):
            if settings and not any(rule_id in setting.rules for setting in settings):
                yield (*place, "rules", position), f'unknown rule "{rule_id}"; {_LISTED}'
        if any(setting.waivers.is_too_long(entry.terms) for setting in settings):
            span = entry.until - entry.since
            shown = f"{span.days} days" if span == timedelta(days=span.days) else str(span)
            allowed = min(setting.waivers.max_days for setting in settings)
            message = (
                f"{shown} after since, and the policy allows {allowed}; "
                "end it earlier, or raise max_days under [waivers] of the policy"
            )
            yield (*place, "until"), message


_LISTED: Final = "auditor rules lists them"


def _listed(names: Iterable[str]) -> str:
    return f"configured are {', '.join(names)}"


class View(NamedTuple):
    """A token as selectors see it."""

    observation: Observation
    token: TokenMetadata
    tier: RiskTier


class _Selective(NamedTuple):
    """A waiver that selects tokens, ready to match."""

    waiver: Waiver
    predicates: tuple[Predicate, ...]
    is_discriminator: Callable[[str], bool] | None


class Waivers:
    """Every waiver that there is, whatever wrote it, ready to be asked which one covers a finding."""

    def __init__(self, entries: Iterable[WaiverEntry]) -> None:
        self.entries: Sequence[WaiverEntry] = tuple(entries)
        self._by_finding: dict[FindingId, list[Waiver]] = {}
        self._by_rule: dict[str, list[_Selective]] = {}
        self._rules: set[str] = set()
        for entry in self.entries:
            for key in entry.finding:
                finding = finding_of(key)
                assert finding is not None
                self._by_finding.setdefault(finding, []).append(entry.terms)
                self._rules.add(finding.rule_id)
            if entry.rules:
                selective = _Selective(
                    entry.terms,
                    tuple(selector.compile() for selector in entry.only),
                    matcher(entry.discriminator) if entry.discriminator else None,
                )
                for rule_id in dict.fromkeys(entry.rules):
                    self._by_rule.setdefault(rule_id, []).append(selective)
                    self._rules.add(rule_id)

    @property
    def findings(self) -> Collection[FindingId]:
        """The findings that waivers name by their keys."""
        return self._by_finding.keys()

    @property
    def selecting(self) -> Collection[str]:
        """The rules of which waivers select the tokens."""
        return self._by_rule.keys()

    def may_cover(self, rule_id: str) -> bool:
        """Whether any waiver speaks of this rule at all."""
        return rule_id in self._rules

    def has_selectors_for(self, rule_id: str) -> bool:
        """Whether what covers a finding of this rule may depend on its token."""
        return rule_id in self._by_rule

    def covering(self, finding: FindingId, view: View | None, before: Waiver | None, now: datetime) -> Waiver | None:
        """Return the waiver that covers a finding; of several the one that lasts longest, by id among equals.

        Without a view of the token, as where no lookup succeeded, a selector has nothing to look at: then it goes on
        covering what it covered ``before``, and begins nothing.
        """
        named = self._by_finding.get(finding, ())
        selective = self._by_rule.get(finding.rule_id, ())
        if not named and not selective:
            return None
        covering = [waiver for waiver in named if waiver.is_in_force(now)]
        for waiver, predicates, is_discriminator in selective:
            if not waiver.is_in_force(now) or (is_discriminator and not is_discriminator(finding.discriminator)):
                continue
            if (
                any(test(*view) for test in predicates)
                if view is not None
                else before is not None and before.id == waiver.id
            ):
                covering.append(waiver)
        return max(covering, key=lambda waiver: (waiver.until, waiver.id), default=None)


NO_WAIVERS: Final = Waivers(())


def waiver_change(finding: KnownFinding, covering: Waiver | None) -> Change | None:
    """Return what becomes of the waiver of an open finding, which otherwise stays as it is; None: nothing."""
    before = finding.waived.waiver if finding.waived else None
    if covering == before:
        return None
    if covering is not None:
        return Change(Transition.WAIVED, finding, said_of(finding), waiver=covering)
    return Change(Transition.LAPSED, finding, said_of(finding), waiver=before)


def said_of(finding: KnownFinding) -> Violation:
    """Return what a finding last said."""
    return Violation(finding.rule_id, finding.severity, finding.message, finding.evidence, finding.discriminator)


def waived_after(before: Waived | None, covering: Waiver | None, severity: Severity) -> Waived | None:
    """Return how a finding of this severity is waived under what covers it now: other terms accept it anew."""
    if covering is None:
        return None
    return before if before is not None and before.waiver == covering else Waived(covering, severity)


def is_muted(transition: Transition, severity: Severity, waived: Waived | None) -> bool:
    """Whether word of a finding's transition is kept back; ``waived`` is how it is waived after it.

    That it was resolved is always told, and so is a severity above the one that was accepted.
    """
    return waived is not None and transition is not Transition.RESOLVED and severity.rank <= waived.severity.rank


def end_of(waiver: Waiver, now: datetime) -> str:
    """Say why a waiver covers a finding no more, in words that end a sentence."""
    if now >= waiver.until:
        return f"its waiver {waiver.id} ended {waiver.until:%Y-%m-%d %H:%M} UTC"
    return f"its waiver {waiver.id} was withdrawn, or covers it no more"
