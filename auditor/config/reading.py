"""Reads one TOML file; what stands in the way of that is a problem like any other."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from auditor.config.problems import Document
from auditor.config.texts import text_of
from auditor.config.toml_lines import KeyPath
from auditor.model.errors import Problem

_NUL: Final = "\0"
"""No path, argument, header or text of PostgreSQL can hold it."""
_TOML_PLACE: Final = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


def read_document(path: Path, mend: str, problems: list[Problem], *, may_be_piped: bool = False) -> Document | None:
    """Return a file, or None and further problems; ``mend`` says what to do where it cannot be read.

    ``may_be_piped``: the path is one of the command line, where ``/dev/stdin`` or a pipe of the shell is meant as such.
    """
    try:
        text = path.read_text(encoding="utf-8-sig") if may_be_piped else text_of(path)
        document = Document(path, text, tomllib.loads(text))
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read: {error.strerror}; {mend}"))
    except UnicodeDecodeError:
        problems.append(Problem(str(path), "is not UTF-8 text; save it as UTF-8"))
    except RecursionError:
        problems.append(Problem(str(path), "is nested too deeply; no key of it is"))
    except tomllib.TOMLDecodeError as error:
        message, line = _told(error)
        problems.append(Problem(f"{path}:{line}" if line else str(path), f"is not TOML: {message}"))
    else:
        nul = [document.problem(key, "holds the character NUL; take \\u0000 out") for key in _with_nul(document.values)]
        problems.extend(nul)
        return None if nul else document
    return None


def _with_nul(value: Any, at: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield where in a document a text or the name of a key has a NUL."""
    match value:
        case str() if _NUL in value:
            yield at
        case dict():
            for name, inner in value.items():
                yield from [(*at, name)] if _NUL in name else _with_nul(inner, (*at, name))
        case list():
            for position, inner in enumerate(value):
                yield from _with_nul(inner, (*at, position))


def _told(error: tomllib.TOMLDecodeError) -> tuple[str, str | None]:
    """Return what is wrong, and the line where that is known."""
    match = _TOML_PLACE.fullmatch(str(error))
    return (f"{match[1]} (column {match[3]})", match[2]) if match else (str(error), None)
