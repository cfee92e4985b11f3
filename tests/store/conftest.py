"""The loop that tests of the store run on."""

from tests.loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
