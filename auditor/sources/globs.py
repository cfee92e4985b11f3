"""Finds the files that a glob means; what cannot be looked into becomes a problem of the intake."""

import errno
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import translate
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from auditor.sources.intake import Intake

LINKED_LIMIT: Final = 1_000
"""How often ``**`` enters one directory by symbolic links: a few that lead crosswise make more paths than can be read.
A directory that it does not enter once more is a problem."""
_ANY_DEPTH: Final = "**"
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})

_Identity = tuple[int, int]
"""Device and inode of a directory."""


class _Directory(NamedTuple):
    """A directory to look into."""

    path: str
    positions: frozenset[int]
    """The parts of the glob that names in it are held against."""
    deeper: frozenset[int] = frozenset()
    """The same, for each ``**`` that goes on in it unless it goes round in circles."""
    is_linked: bool = False
    """Whether a symbolic link leads there."""
    way: tuple[_Identity, ...] = ()
    """The directories that it was come to through."""


@dataclass(slots=True)
class _Named:
    """What a name in a directory means to the glob."""

    is_directory: Callable[[], bool]
    """Raises ``OSError`` where that cannot be told."""
    is_linked: bool = False
    is_whole: bool = False
    """Whether the glob ends here, so that a file of this name is meant."""
    positions: set[int] = field(default_factory=set)
    deeper: set[int] = field(default_factory=set)


def matches(pattern: str, intake: Intake) -> Iterator[Path]:
    """Yield what an absolute path with ``*``, ``?``, ``[…]`` or ``**`` matches and is no directory: sorted, each once.

    These mean what they mean to ``glob.glob(…, recursive=True)``, but ``**`` does not enter a directory by a symbolic
    link that it has come through already. One directory's names are in memory at a time, and those of the ones above.
    """
    return _Glob(pattern, intake).files()


class _Glob:
    """One expansion of a glob."""

    def __init__(self, pattern: str, intake: Intake) -> None:
        parts = Path(pattern).parts
        first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
        self._root = str(Path(*parts[:first]))
        self._parts: Sequence[str] = parts[first:]
        self._regexes = [re.compile(translate(part)) for part in self._parts]
        self._intake = intake
        self._entered: Counter[_Identity] = Counter()

    def files(self) -> Iterator[Path]:
        if self._may_end_at(0) and not os.path.isdir(self._root):  # noqa: PTH112 -- a problem is told when it is opened
            yield Path(self._root)
            return
        waiting = [self._inside(_Directory(self._root, frozenset({0})))]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, _Directory):
                waiting.append(self._inside(found))
            else:
                yield found

    def _inside(self, directory: _Directory) -> Iterator[Path | _Directory]:
        """Yield the files that match in a directory, and the directories to go on in, in the order of their paths."""
        if self._intake.is_given_up:
            return
        try:
            status = os.stat(directory.path)  # noqa: PTH116
        except OSError as error:
            self._unsearched(directory.path, error)
            return
        identity = (status.st_dev, status.st_ino)
        positions = directory.positions
        if directory.deeper and self._leads_on(directory, identity):
            positions |= directory.deeper
        found: list[tuple[str, Path | _Directory]] = []
        for name, named in self._names(directory.path, self._reached(positions)).items():
            path = os.path.join(directory.path, name)  # noqa: PTH118
            try:
                is_directory = named.is_directory()
            except OSError as error:
                is_directory = False
                if not named.is_whole:  # else it is told when it is opened
                    self._unsearched(path, error)
            if not is_directory:
                if named.is_whole:
                    found.append((name, Path(path)))
            elif named.positions or named.deeper:
                inner = _Directory(
                    path,
                    frozenset(named.positions),
                    frozenset(named.deeper),
                    named.is_linked,
                    (*directory.way, identity),
                )
                found.append((name + os.sep, inner))
        found.sort(key=lambda one: one[0])
        for _key, one in found:
            yield one

    def _leads_on(self, directory: _Directory, identity: _Identity) -> bool:
        """Whether ``**`` goes on in a directory: not where it has come through it, nor by too many links."""
        if identity in directory.way:
            return False
        if directory.is_linked:
            self._entered[identity] += 1
            if self._entered[identity] > LINKED_LIMIT:
                self._intake.problem(
                    directory.path,
                    f"leads to a directory that {LINKED_LIMIT} symbolic links lead to; have the source's path name it",
                )
                return False
        return True

    def _names(self, directory: str, positions: frozenset[int]) -> dict[str, _Named]:
        """Return what of a directory's names matters to the parts at these positions."""
        names: dict[str, _Named] = {}
        magic = [position for position in positions if glob.has_magic(self._parts[position])]
        if magic:
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        named = _Named(entry.is_dir, entry.is_symlink())
                        for position in magic:
                            self._hold(entry.name, position, named)
                        if named.is_whole or named.positions or named.deeper:
                            names[entry.name] = named
            except OSError as error:
                self._unsearched(directory, error)
        for position in positions.difference(magic):
            name = self._parts[position]
            path = os.path.join(directory, name)  # noqa: PTH118
            try:
                os.lstat(path)
            except OSError as error:
                self._unsearched(directory, error)
                continue
            named = names.setdefault(name, _Named(partial(_is_directory, path)))
            named.is_whole |= self._may_end_at(position + 1)
            named.positions.add(position + 1)
        return names

    def _hold(self, name: str, position: int, named: _Named) -> None:
        """Note what a name means to a part with ``*``, ``?``, ``[…]`` or ``**``."""
        part = self._parts[position]
        is_last = position == len(self._parts) - 1
        if name.startswith(".") and not part.startswith("."):
            return
        if part == _ANY_DEPTH:
            named.deeper.add(position)
            named.is_whole |= is_last
        elif self._regexes[position].match(name):
            named.is_whole |= is_last
            if not is_last:
                named.positions.add(position + 1)

    def _reached(self, positions: frozenset[int]) -> frozenset[int]:
        """Return positions, and those that follow them where a part is ``**``, which may stand for nothing."""
        reached: set[int] = set()
        for position in positions:
            while position < len(self._parts):
                reached.add(position)
                if self._parts[position] != _ANY_DEPTH:
                    break
                position += 1
        return frozenset(reached)

    def _may_end_at(self, position: int) -> bool:
        return all(part == _ANY_DEPTH for part in self._parts[position:])

    def _unsearched(self, path: str, error: OSError) -> None:
        if error.errno not in _ABSENT:
            self._intake.problem(
                path,
                f"cannot be searched: {error.strerror}; let auditor read it, or have the source's path leave it out",
            )


def _is_directory(path: str) -> bool:
    """As ``os.path.isdir``; raises ``OSError`` where that cannot be told."""
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    return False
