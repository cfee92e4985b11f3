"""Opens files that the configuration names: regular ones only, and with what their mode lets others do."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_OTHERS_MAY_READ: Final = stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is open for reading, and its permission bits."""

    stream: BinaryIO
    mode: int

    @property
    def is_private(self) -> bool:
        """Whether the mode lets nobody but the owner do anything with it."""
        return self.mode & 0o077 == 0

    @property
    def is_readable_by_others(self) -> bool:
        """Whether the mode lets the group or everybody read it."""
        return self.mode & _OTHERS_MAY_READ != 0


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Open a regular file for the length of the block, following symbolic links.

    Raises ``OSError``, always with a ``strerror``, where there is no such file or it is a directory, a pipe or a
    device: reading one of these could wait for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"Not a path: {error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Is a directory" if stat.S_ISDIR(status.st_mode) else "Is not a regular file")
    except BaseException:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as stream:
        yield OpenFile(stream, stat.S_IMODE(status.st_mode))
