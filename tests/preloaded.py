"""Imported by the process that commands are forked from: all that they need, out of the garbage collector's sight.

What libraries import when they are first used is named, too: the event loop, and what PgQueuer and APScheduler run on.
"""

import gc
from contextlib import suppress

import anyio._backends._asyncio
import anyio.to_thread  # noqa: F401
import apscheduler.executors.asyncio  # noqa: F401

from auditor.cli import catalogue, demonstrating, main, running, sweeping  # noqa: F401

with suppress(ImportError):  # not every Python has it
    import uvloop  # noqa: F401

gc.collect()
gc.freeze()
