"""The catalogues of controls: which frameworks hold which, under what title.

Ids and titles were looked up by program in published machine-readable texts of the frameworks: PCI DSS as Prowler and
Steampipe carry v4.0 (the numbering of v4.0.1 was not compared), SOC 2 and NIS2 as Prowler carries them (NIS2 ids are
points of the annex to the Commission Implementing Regulation), ISO as Annex A of the standard. Those texts need not
hold all of a framework's controls. Long titles are cut with ``…``. That a rule serves a control is the project's
judgement, not the framework's.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import msgspec

from auditor.policy.base import Framework

CONTROLS: Final[Mapping[Framework, Mapping[str, str]]] = msgspec.json.decode(
    files("auditor.policy").joinpath("controls.json").read_bytes(), type=dict[Framework, dict[str, str]]
)
"""Framework → control id → title, in the framework's order; most of them no rule serves."""
