"""Reads one TOML file; what stands in the way of that is a problem like any other."""

import re
import tomllib
from pathlib import Path
from typing import Final

from auditor.config.problems import Document
from auditor.model.errors import Problem

_TOML_PLACE: Final = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


def read_document(path: Path, mend: str, problems: list[Problem]) -> Document | None:
    """Return a file, or None and one more problem; ``mend`` says what to do where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return Document(path, text, tomllib.loads(text))
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read: {error.strerror}; {mend}"))
    except UnicodeDecodeError:
        problems.append(Problem(str(path), "is not UTF-8 text; save it as UTF-8"))
    except RecursionError:
        problems.append(Problem(str(path), "is nested too deeply; no key of it is"))
    except tomllib.TOMLDecodeError as error:
        message, line = _told(error)
        problems.append(Problem(f"{path}:{line}" if line else str(path), f"is not TOML: {message}"))
    return None


def _told(error: tomllib.TOMLDecodeError) -> tuple[str, str | None]:
    """Return what is wrong, and the line where that is known."""
    match = _TOML_PLACE.fullmatch(str(error))
    return (f"{match[1]} (column {match[3]})", match[2]) if match else (str(error), None)
