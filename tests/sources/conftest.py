from pathlib import Path

import pytest

from tests.sources.reading import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a private file below the test's directory."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    return write
