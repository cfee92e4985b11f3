"""Reads the templates of messages and tries each on samples, so that what is wrong is told before an alert needs it."""

import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from auditor.alerts.base import HookSettings
from auditor.alerts.wording import NAMES, Source, Wording, parsed
from auditor.config.problems import Document
from auditor.config.texts import text_of
from auditor.config.toml_lines import KeyPath
from auditor.model.errors import Problem
from auditor.model.message import Message

_SOME_TIME: Final = datetime(2026, 11, 1, 6, tzinfo=UTC)


def read_wordings(file: Document, hooks: Mapping[str, HookSettings], problems: list[Problem]) -> Mapping[str, Wording]:
    """Return what messages of each hook say; adds a problem for each template that cannot be used."""
    common = _read(file, ("templates",), file.values.get("templates"), problems)
    _try(common, problems)
    wordings: dict[str, Wording] = {}
    for name in hooks:
        table = file.values["hooks"][name].get("templates")
        own = _read(file, ("hooks", name, "templates"), table, problems)
        _try(own, problems)
        wordings[name] = Wording({**common, **own})
    return wordings


def _read(file: Document, path: KeyPath, table: Any, problems: list[Problem]) -> dict[str, Source]:
    """Read the templates that a table names; that it names them rightly is checked elsewhere."""
    found: dict[str, Source] = {}
    for name, value in table.items() if isinstance(table, Mapping) else ():
        if name not in NAMES or not isinstance(value, str):
            continue
        place = file.path.parent / value
        try:
            found[name] = Source(text_of(place), str(place))
        except OSError as error:
            problems.append(
                file.problem((*path, name), f"{place} cannot be read: {error.strerror}; correct the path or its mode")
            )
        except UnicodeDecodeError:
            problems.append(file.problem((*path, name), f"{place} is not UTF-8 text; save it as UTF-8"))
    return found


def _try(sources: dict[str, Source], problems: list[Problem]) -> None:
    """Parse templates and apply them to samples; those that fail are taken out."""
    for name, source in list(sources.items()):
        problem = _problem_of(source) or _problem_on_samples(name, source)
        if problem is not None:
            del sources[name]
            problems.append(problem)


def _problem_of(source: Source) -> Problem | None:
    from jinja2 import TemplateSyntaxError

    try:
        parsed(source)
    except TemplateSyntaxError as error:
        return Problem(f"{source.path}:{error.lineno}", f"is no template: {error.message}")
    return None


def _problem_on_samples(name: str, source: Source) -> Problem | None:
    wording = Wording({name: source})
    for message in _samples(is_digest=name.startswith("digest")):
        try:
            wording.rendered(message)
        except Exception as error:  # noqa: BLE001 -- whatever a template can raise, it is the template's
            event = "a digest" if message.is_digest else f"an alert {message.alerts[0].event}"
            said = str(error).replace("'auditor.alerts.views.", "'").replace("View object'", "'")
            line = _line_in(error, source.path)
            return Problem(f"{source.path}:{line}" if line else source.path, f"cannot say {event}: {said}")
    return None


def _samples(*, is_digest: bool) -> Iterator[Message]:
    from auditor.alerts.samples import sample_alerts, sample_digest, trial_alert

    if is_digest:
        yield sample_digest(_SOME_TIME)
        return
    yield from map(Message.of_one, sample_alerts(_SOME_TIME).values())
    yield Message.of_one(trial_alert("00000000-0000-4000-8000-000000000000", "any", _SOME_TIME))


def _line_in(error: Exception, path: str) -> int | None:
    """Return the line of a template that an error comes from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else None
