"""What a message says to a person: a line and a text, made by templates that the configuration may lay over ours.

Templates are Jinja2 in a sandbox: they see the cleaned views of ``views.py`` and nothing else, and make ``Rich`` text,
which each hook writes in its own way. A template that fails on some message must not lose it: ours speaks then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from auditor.alerts import rich
from auditor.alerts.base import HookSettings
from auditor.alerts.rich import Rich
from auditor.alerts.views import alert_view, digest_view
from auditor.model.message import Message
from auditor.model.table import Table
from auditor.outside_text import cut
from auditor.policy.wording import counted, day, minute

if TYPE_CHECKING:
    from jinja2 import Environment

SUBJECT_LIMIT: Final = 200
"""Characters of a subject at most."""
BODY_LIMIT: Final = 50_000
"""Characters of a body's plain text at most."""

_SHORTEST: Final = 200
_OURS: Final = "auditor/"
"""Before a template's name, the one that ships: for ``extends`` and ``include``."""

log = structlog.get_logger(__name__)


class AlertTemplates(Table):
    """Templates in place of those that ship, for messages of one alert: files, relative to the configuration's."""

    alert_subject: Path | None = None
    """One line: the subject of a mail, the title of a card or an incident."""
    alert: Path | None = None
    """The text under it."""


class Templates(AlertTemplates):
    """The same with those for digests."""

    digest_subject: Path | None = None
    """One line of a digest."""
    digest: Path | None = None
    """The text of a digest."""


class WordedSettings(HookSettings):
    """What every hook may be told that speaks to people and takes digests."""

    templates: Templates = Templates()
    """Templates for this hook alone, laid over those of ``[templates]``."""


class AlertWordedSettings(HookSettings):
    """What every hook may be told that speaks to people of one finding at a time."""

    templates: AlertTemplates = AlertTemplates()
    """Templates for this hook alone, laid over those of ``[templates]``."""


NAMES: Final = tuple(Templates.model_fields)
"""What templates are called."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a message says."""

    subject: str
    """One plain line, not empty; what it holds from outside is visible and without secrets, and not escaped."""
    body: Rich


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a template, and the file that it comes from."""

    text: str
    path: str


class Wording:
    """The templates of one hook."""

    def __init__(self, own: Mapping[str, Source] | None = None) -> None:
        """``own`` are templates in place of those that ship, by their name."""
        self._own = dict(own or {})

    @cached_property
    def _templates(self) -> "Environment":
        return _environment(tuple(sorted({**_shipped(), **self._own}.items())))

    def words(self, message: Message, *, most: int | None = None) -> Words:
        """Return what a message says; of a digest, show so many alerts at most."""
        try:
            return self.rendered(message, most=most)
        except Exception as error:
            if not self._own:
                raise
            # Whoever wrote the template sees it in the log; whoever waits for the alert must not wait for the mend.
            log.error("template_failed", problem=f"{type(error).__name__}: {error}", message=message.id)
            return SHIPPED.rendered(message, most=most)

    def rendered(self, message: Message, *, most: int | None = None) -> Words:
        """As ``words``, but let the errors of a template through."""
        values: dict[str, object]
        if message.is_digest:
            kind, values = "digest", {"digest": digest_view(message, len(message.alerts) if most is None else most)}
        else:
            kind, values = "alert", {"alert": alert_view(message.alerts[0])}
        subject = rich.one_line(self._templates.get_template(f"{kind}_subject").render(values))
        body = Rich.of(self._templates.get_template(kind).render(values))
        return Words(cut(subject, SUBJECT_LIMIT) or "auditor", body.clipped(BODY_LIMIT))

    def shorter_and_shorter(self, message: Message) -> Iterator[Words]:
        """Yield a message's words whole, then again and again with less, for who must fit them into a limit.

        A digest shows ever fewer alerts, and counts those that it leaves out; then a text is cut at its end.
        """
        words = self.words(message)
        yield words
        shown = len(message.alerts)
        while message.is_digest and shown > 1:
            shown //= 2
            words = self.words(message, most=shown)
            yield words
        length = len(words.body.plain())
        while length > _SHORTEST:
            length = length * 2 // 3
            yield Words(words.subject, words.body.clipped(length))


def parsed(source: Source) -> None:
    """Raise ``jinja2.TemplateSyntaxError`` where a template is none."""
    _environment(()).compile(source.text, filename=source.path)


@lru_cache(maxsize=16)
def _environment(named: tuple[tuple[str, Source], ...]) -> "Environment":
    """Return what compiles templates; hooks whose templates are the same share it, and so what is compiled."""
    from jinja2 import FunctionLoader, StrictUndefined  # a twentieth of a second that most commands can save
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    sources = dict(named)

    def load(name: str) -> tuple[str, str | None, None] | None:
        source = _shipped().get(name.removeprefix(_OURS)) if name.startswith(_OURS) else sources.get(name)
        return None if source is None else (source.text, source.path, None)

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        finalize=lambda value: "" if value is None else value,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "strong": rich.strong,
        "code": rich.code,
        "link": rich.link,
        "heading": rich.heading,
        "sentence": _sentence,
        "counted": counted,
        "minute": _of_instant(minute),
        "day": _of_instant(day),
    }
    return environment


@cache
def _shipped() -> Mapping[str, Source]:
    folder = files("auditor.alerts") / "templates"
    names = {name: f"{name.replace('_', '-')}.j2" for name in NAMES}
    return {name: Source((folder / file).read_text(encoding="utf-8"), file) for name, file in names.items()}


def _of_instant(write: Any) -> Any:
    def written(value: datetime) -> str:
        text: str = write(value.astimezone(UTC))
        return text

    return written


def _sentence(value: object) -> str:
    text = str(value)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', '…')) else '.'}"


SHIPPED: Final = Wording()
"""The templates that ship."""
