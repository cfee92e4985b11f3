"""Whatever stands in the configuration, policies and waivers: it loads, or every problem is told with its place."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given

from auditor.config.load import load
from auditor.model.errors import ConfigError, Problem
from tests.config.shipped import CONFIG, with_every_setting
from tests.fuzz.mutations import mutated, no_hang, tries, with_other_values

FILES = {
    "auditor.toml": "",
    "policies/baseline.toml": 'policy.files = ["policies/baseline.toml"]\n',
    "policies/own-rules.toml": 'policy.files = ["policies/baseline.toml", "policies/own-rules.toml"]\n',
    "waivers.toml": 'policy.waivers = ["waivers.toml"]\n',
}
"""File → what brings it into a configuration, and as little else as can be."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    copied = tmp_path / "config"
    shutil.copytree(CONFIG, copied)
    (copied / "minimal.toml").write_text(
        '[environments.prod]\nurl = "https://abc12345.live.dynatrace.com"\ntoken = { env = "T" }\n'
        '[sources.files]\ntype = "plain"\npath = "x"\nenvironment = "prod"\n'
    )
    return copied


@pytest.mark.parametrize("name", FILES)
def test_file_loads_or_its_problems_are_told(name: str, directory: Path) -> None:
    file = directory / name
    original = with_every_setting(name)
    start = file if name == "auditor.toml" else directory / "minimal.toml"
    if start != file:
        start.write_text(FILES[name] + start.read_text())

    @tries(20)
    @given(with_other_values(original) | mutated([original.encode()]))
    def loads(content: bytes) -> None:
        file.write_bytes(content)
        with no_hang():
            problems = problems_of(start)
        for problem in problems:
            assert problem.place.startswith(str(directory))
            assert problem.message

    loads()


def problems_of(path: Path) -> Sequence[Problem]:
    """Load a configuration; return its problems, none where it loads."""
    try:
        load(path)
    except ConfigError as error:
        return error.problems or pytest.fail("refused without a word")
    return ()
