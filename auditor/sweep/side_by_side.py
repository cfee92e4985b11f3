"""What the sweeps of one process share, so that many of them need few connections and none waits for another."""

import asyncio
from typing import Final

from auditor.store.connection import Pool
from auditor.store.ownership import Ownership
from auditor.sweep.lookahead import Crowd

_KEPT: Final = 7
"""Connections that the ends of sweeps leave to everything else: the queue, the locks, and other sweeps' batches."""


class SideBySide:
    """A pool of ``connections``, and who may use them: ``at_once`` sweeps at most.

    A sweep takes a connection for each batch that it enrols or records, and none while it waits for its environment.
    """

    def __init__(self, pool: Pool, *, connections: int = _KEPT, at_once: int = 1) -> None:
        self.pool = pool
        self.ownership = Ownership(pool)
        self.crowd = Crowd()
        self.turns = asyncio.Semaphore(at_once)
        """For whole sweeps; whoever begins one takes it."""
        self.ending = asyncio.Semaphore(max(1, (connections - _KEPT) // 3))
        """For the end of a sweep, which takes three connections at once: with as many sweeps as connections, each would
        else wait for its others for ever."""
