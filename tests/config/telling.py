"""What is said of a configuration that is wrong."""

from pathlib import Path

import pytest

from auditor.config.load import load
from auditor.model.errors import ConfigError


def told(path: Path) -> list[str]:
    """Return the problems of a configuration, which must have some, without its directory."""
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert refused.value.exit_code == 2
    return str(refused.value).replace(f"{path.parent}/", "").split("\n")
