"""What a ``[[rule]]`` table may say, and the ``[[rule.test]]`` tables in it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from auditor.model.finding import Severity
from auditor.model.table import Table
from auditor.policy.base import Framework
from auditor.policy.selectors import Selection

_ID: Final = re.compile(r"[A-Z][A-Z0-9]{1,15}(?:-[A-Z0-9]{1,16}){1,3}")
_SHIPPED_PREFIX: Final = "DT-"
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

MAX_LENGTH: Final = 4000
"""Characters of a condition."""


def _own_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(
            f'"{text[:60]}" must be a prefix of your own and one to three parts after it, in capitals and digits: '
            "ACME-01, ACME-NET-01"
        )
    if text.startswith(_SHIPPED_PREFIX):
        raise ValueError(f"the prefix {_SHIPPED_PREFIX} is that of rules that ship; choose one of your own")
    return text


def _line(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if _CONTROL_CHARACTERS.search(text):
        raise ValueError("must be one line, without control characters")
    return text


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _in_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999 in UTC") from None


Line = Annotated[str, AfterValidator(_line)]
"""Text of one line."""
Said = Annotated[str, AfterValidator(_said)]
"""Text of one or more lines."""
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An instant with its offset, as TOML writes it: ``2026-06-15T12:00:00Z``."""


class GivenToken(Table):
    """What the API says of the token of a test; a field that is left out has no value."""

    id: str = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
    """The token identifier ``prefix.public``."""
    name: str | None = None
    """The token's name."""
    owner: str | None = None
    """The token's owner."""
    enabled: bool | None = None
    """Whether it is enabled."""
    personal_access_token: bool | None = None
    """Whether it is a personal access token."""
    creation_date: Instant | None = None
    """When it was created."""
    modified_date: Instant | None = None
    """When its scopes or name last changed."""
    expiration_date: Instant | None = None
    """When it expires; left out: never."""
    last_used_date: Instant | None = None
    """When it was last used; left out: never."""
    last_used_ip_address: str | None = None
    """Where it was last used from."""
    scopes: tuple[str, ...] = ()
    """The scopes that it holds."""
    additional_metadata: Mapping[str, str] = {}
    """Further fields of the API's answer."""


class GivenLocation(Table):
    """A place where the token of a test is stored."""

    source: str
    """The source's name in the configuration."""
    place: str = ""
    """The place inside it."""


class GivenEnvironment(Table):
    """The environment that the token of a test belongs to."""

    name: str = "prod"
    """Its name in the configuration."""
    kind: str | None = None
    """Its kind in the configuration; left out: it has none."""


class RuleTest(Table):
    """A ``[[rule.test]]`` table: of this token, the rule must say this. ``auditor check`` runs it."""

    name: str = ""
    """What the test shows, for whoever reads that it failed."""
    token: GivenToken
    """What the API says of the token."""
    previous: GivenToken | None = None
    """What it said in the sweep before; left out: the token is observed for the first time."""
    locations: tuple[GivenLocation, ...] = ()
    """Where the token is stored."""
    tags: tuple[str, ...] = ()
    """Tags of the sources that hold it."""
    environment: GivenEnvironment = GivenEnvironment()
    """The environment that it belongs to."""
    public_id: str | None = None
    """Public id of the stored value; left out: that of ``token.id``."""
    first_seen: Instant | None = None
    """When a sweep met the token first."""
    now: Instant | None = None
    """The instant to judge at; must be given where the rule uses ``now``."""
    expect: Literal["violation", "none", "not assessed"]
    """What the rule must say. ``not assessed``: it cannot tell, as where it counts from a date that is not there."""
    severity: Severity | None = None
    """The severity that the violation must have; left out: any."""
    message: str | None = None
    """The message that the violation must have, filled in; left out: any."""


class WrittenRule(Table):
    """A ``[[rule]]`` table: a rule of your own. Policy files laid over one another merge those of one ``id``."""

    id: Annotated[str, AfterValidator(_own_id)]
    """A prefix of your own and one to three parts after it: ``ACME-01``, ``ACME-NET-01``."""
    title: Annotated[Line, Field(max_length=120)]
    """What the rule is called."""
    severity: Severity
    """How bad a violation is."""
    when: Annotated[Said, Field(max_length=MAX_LENGTH)]
    """The condition in CEL: true of a token that breaks the rule. docs/writing-rules.md has its variables."""
    message: Annotated[Line, Field(max_length=500)]
    """What a finding says; ``{token.owner}`` stands for that variable's value."""
    discriminator: tuple[str, ...] = ()
    """Variables whose values tell findings of one token apart: a new value is a new finding, and the old one ends."""
    controls: Mapping[Framework, tuple[str, ...]] = {}
    """Ids of the controls that the rule serves, by framework."""
    rationale: Said
    """Why it matters."""
    remediation: Said
    """What to do about it."""
    enabled: bool = True
    """Whether the rule applies at all."""
    only: tuple[Selection, ...] = ()
    """Apply the rule to tokens that one of these selects; empty: to all."""
    exempt: tuple[Selection, ...] = ()
    """Never apply it to tokens that one of these selects."""
    test: tuple[RuleTest, ...] = ()
    """What the rule must say of given tokens."""
