"""Reads who owners of tokens are by their addresses: the table ``[owners]``, and a file beside it for many."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from auditor.config.csv_rows import BadRow, rows_of
from auditor.config.document import AlertSettings
from auditor.config.problems import Document
from auditor.model.errors import Problem
from auditor.policy.routing.owners import Addresses, checked_address

_BETWEEN: Final = re.compile(r"[\s;,]+")
_PATH: Final = ("alerts", "owners_file")
_TABLE: Final[TypeAdapter[dict[str, tuple[str, ...]]]] = TypeAdapter(dict[str, Addresses])


def read_owners(file: Document, problems: list[Problem]) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses of owners, and of globs over them: those of the file first, then those of ``[owners]``.

    What is wrong in the file is put to its line, and an owner who is named twice is, too.
    """
    try:
        settings = AlertSettings.model_validate(file.values.get("alerts", {}))
        table = _TABLE.validate_python(file.values.get("owners", {}))
    except ValidationError:  # the document's own check says so
        return {}
    if settings.owners_file is None:
        return table
    path = file.path.parent / settings.owners_file
    places = {name.casefold(): file.place(("owners", name)) for name in table}
    found: dict[str, tuple[str, ...]] = {}
    try:
        for line, name, addresses in rows_of(path, "owner", "addresses"):
            place = f"{path}:{line}"
            if name.casefold() in places:
                reason = f'"{name}" has addresses at {places[name.casefold()]}, too; each owner is named once'
                problems.append(Problem(place, reason))
            places.setdefault(name.casefold(), place)
            found[name] = tuple(_addresses(place, addresses, problems))
    except OSError as error:
        problems.append(file.problem(_PATH, f"{path} cannot be read: {error.strerror}; correct the path or its mode"))
    except UnicodeDecodeError:
        problems.append(file.problem(_PATH, f"{path} is not UTF-8 text; save it as UTF-8"))
    except BadRow as error:
        problems.append(Problem(f"{path}:{error.line}", str(error)))
    return {**found, **table}


def _addresses(place: str, text: str, problems: list[Problem]) -> Iterator[str]:
    written = [address for address in _BETWEEN.split(text) if address]
    if not written:
        problems.append(Problem(place, "addresses is empty; write one, or several with spaces between"))
    for address in written:
        try:
            yield checked_address(address)
        except ValueError as error:
            problems.append(Problem(place, f"addresses {error}"))
