"""Which parts of the service a process runs; any number of processes share one database."""

from enum import StrEnum


class Role(StrEnum):
    """What one ``auditor run`` does."""

    ALL = "all"
    SCHEDULER = "scheduler"
    """Takes the slots of sweeps and reports, and makes alerts that fall due; needs no secret of an environment or
    hook."""
    WORKER = "worker"
    """Sweeps, makes reports, and delivers to hooks."""

    @property
    def is_scheduler(self) -> bool:
        """Whether it takes slots and makes what falls due."""
        return self is not Role.WORKER

    @property
    def is_worker(self) -> bool:
        """Whether it works the queue."""
        return self is not Role.SCHEDULER
