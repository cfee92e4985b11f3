from pathlib import Path

import pytest

from auditor.config.places import config_path, state_directory


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (Path("a.toml"), {"AUDITOR_CONFIG": "b.toml"}, "a.toml"),
        (None, {"AUDITOR_CONFIG": "b.toml"}, "b.toml"),
        (None, {"AUDITOR_CONFIG": ""}, "/etc/auditor/auditor.toml"),
        (None, {}, "/etc/auditor/auditor.toml"),
    ],
)
def test_configuration_is_the_one_given_or_the_environments_or_the_systems(
    given: Path | None, environ: dict[str, str], expected: str
) -> None:
    assert config_path(given, environ) == Path(expected)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/auditor", "XDG_STATE_HOME": "/x"}, "/var/lib/auditor"),
        ({"STATE_DIRECTORY": "/var/lib/auditor:/var/lib/other"}, "/var/lib/auditor"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x", "HOME": "/home/me"}, "/x/auditor"),
        ({"XDG_STATE_HOME": "not/absolute", "HOME": "/home/me"}, "/home/me/.local/state/auditor"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/me"}, "/home/me/.local/state/auditor"),
        ({}, "/.local/state/auditor"),
    ],
)
def test_state_is_kept_where_systemd_says_or_the_user_keeps_state(environ: dict[str, str], expected: str) -> None:
    assert state_directory(environ) == Path(expected)
