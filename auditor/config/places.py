"""Where auditor finds its configuration and keeps its state, from the process environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEFAULT_CONFIG: Final = Path("/etc/auditor/auditor.toml")


def config_path(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the configuration file: the one given, else ``$AUDITOR_CONFIG``, else ``/etc/auditor/auditor.toml``."""
    if given is not None:
        return given
    named = environ.get("AUDITOR_CONFIG")
    return Path(named) if named else DEFAULT_CONFIG


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return where state is kept: systemd's ``$STATE_DIRECTORY``, else the XDG state directory of the user."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # to be ignored, says the XDG Base Directory Specification
        base = Path(environ.get("HOME", "/"), ".local", "state")
    return base / "auditor"
