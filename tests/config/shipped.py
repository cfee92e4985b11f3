"""The configuration that ships, as tests take it."""

import re
from typing import Final

from auditor.docs import ROOT

CONFIG: Final = ROOT / "config"


def with_every_setting(name: str = "auditor.toml") -> str:
    """A file of the shipped configuration with every setting taken out of its comment."""
    text = (CONFIG / name).read_text(encoding="utf-8")
    return re.sub(r"^#(?=[^\s:])", "", text, flags=re.MULTILINE)
