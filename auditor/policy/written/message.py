"""Fills in the messages of written rules, and makes discriminators."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from string import Formatter
from typing import Any, Final

import msgspec

from auditor.policy.wording import listed, minute, shortened
from auditor.policy.written.variables import VARIABLES, Shape, hint, json_value

_DIGITS: Final = 16
_UNSHOWN: Final = frozenset({"now", "previous"})
"""What changes from sweep to sweep, or says nothing."""


def check_message(template: str) -> list[str]:
    """Return what is wrong with a template."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return [f"{error}; write {{{{ and }}}} for the signs themselves"]
    problems: list[str] = []
    for _before, name, specification, conversion in parts:
        if name is None:
            continue
        problems.extend(_wrong_name(name))
        if specification or conversion:
            problems.append(f"{{{name}}} takes nothing after the name")
    return problems


def check_discriminator(names: Iterable[str]) -> list[str]:
    """Return what is wrong with the variables of a discriminator."""
    return [problem for name in names for problem in _wrong_name(name)]


def variables_shown(template: str) -> tuple[str, ...]:
    """Return the variables that a sound template names."""
    return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name))


def fill_in(template: str, values: Mapping[str, Any]) -> str:
    """Return a message: the template with each variable's value in words."""
    return "".join(
        before + (_worded(name, values[name]) if name else "") for before, name, _, _ in Formatter().parse(template)
    )


def discriminate(names: Iterable[str], values: Mapping[str, Any]) -> str:
    """Return what tells these values from others and shows none of them: it becomes part of a finding's key."""
    chosen = [json_value(values[name]) for name in names]
    if not chosen:
        return ""
    return hashlib.sha256(msgspec.json.encode(chosen, order="deterministic")).hexdigest()[:_DIGITS]


def _wrong_name(name: str) -> Iterable[str]:
    variable = VARIABLES.get(name)
    if variable is None:
        yield f'"{name}" is no variable{hint(name)}'
    elif name in _UNSHOWN or variable.shape is Shape.TEXT_BY_TEXT:
        yield f'"{name}" cannot be shown here' + ("; it is another in every sweep" if name == "now" else "")


def _worded(name: str, value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return minute(value)
    if isinstance(value, list):
        return listed([f"{item['source']}: {item['place']}" if name == "locations" else item for item in value])
    return shortened(str(value))
