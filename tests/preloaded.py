"""Imported by the process that commands are forked from: all that they need, out of the garbage collector's sight."""

import gc

from auditor.cli import demonstrating, main, running, sweeping  # noqa: F401

gc.collect()
gc.freeze()
