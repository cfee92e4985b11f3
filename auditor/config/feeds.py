"""Reads the files that say what the API does not know: owners, leavers, attestations."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from auditor.config.csv_rows import BadRow, rows_of
from auditor.config.texts import text_of
from auditor.model.errors import Problem
from auditor.policy.base import Feeds
from auditor.policy.document import FeedPaths

T = TypeVar("T")


def read_feeds(paths: FeedPaths, directory: Path) -> tuple[Feeds, list[Problem]]:
    """Read the feeds of a policy; relative paths are relative to ``directory``.

    A feed that cannot be read is None in the result, so that no rule passes on the strength of it, and a problem.
    Blocks; call it in a thread where that matters.
    """
    problems: list[Problem] = []
    unread: dict[str, str] = {}

    def read(feed: str, name: str | None, parse: Callable[[Path], T]) -> T | None:
        if name is None:
            return None
        path = directory / name
        try:
            return parse(path)
        except OSError as error:
            problem = Problem(str(path), f"this feed cannot be read: {error.strerror}; correct the path or its mode")
        except UnicodeDecodeError:
            problem = Problem(str(path), "this feed is not UTF-8 text; save it as UTF-8")
        except BadRow as error:
            problem = Problem(f"{path}:{error.line}", str(error))
        problems.append(problem)
        unread[feed] = str(problem)
        return None

    feeds = Feeds(
        owners=read("owners", paths.owners, _owners),
        leavers=read("leavers", paths.leavers, lambda path: _instants(path, "owner", "left_at", str.casefold, min)),
        attestations=read(
            "attestations", paths.attestations, lambda path: _instants(path, "token", "confirmed_at", str, max)
        ),
        unread=unread,
    )
    return feeds, problems


def _owners(path: Path) -> frozenset[str]:
    lines = (line.strip() for line in text_of(path).splitlines())
    return frozenset(line.casefold() for line in lines if line and not line.startswith("#"))


def _instants(
    path: Path,
    key: str,
    value: str,
    fold: Callable[[str], str],
    chosen: Callable[[datetime, datetime], datetime],
) -> dict[str, datetime]:
    """Return the instant of each name; ``chosen`` of those of one that has several rows."""
    instants: dict[str, datetime] = {}
    for line, name, at in rows_of(path, key, value):
        instant, folded = _instant(line, value, at), fold(name)
        instants[folded] = chosen(instants.get(folded, instant), instant)
    return instants


def _instant(line: int, column: str, at: str) -> datetime:
    try:
        instant = datetime.fromisoformat(at)
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadRow(line, f"{column} must be an ISO 8601 date or instant, such as 2026-03-31") from None
