"""The exit codes of every command: 0 all is well, 1 found what it was asked to look for, 2 usage, 3 could not work."""

from typing import Final

OK: Final = 0
FOUND: Final = 1
USAGE: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""
TERMINATED: Final = 143
"""The same for SIGTERM."""
