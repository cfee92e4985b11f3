"""The stage of sweeps, for those that are hurt without a service."""

from tests.sweep.conftest import staged

__all__ = ["staged"]
