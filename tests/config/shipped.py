"""The configuration that ships, as tests take it."""

import re
from typing import Final

from auditor.docs import ROOT

CONFIG: Final = ROOT / "config"


def with_every_setting() -> str:
    """The shipped configuration with every setting taken out of its comment."""
    text = (CONFIG / "auditor.toml").read_text(encoding="utf-8")
    return re.sub(r"^#(?=[^\s:])", "", text, flags=re.MULTILINE)
