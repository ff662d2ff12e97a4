"""What the tests of jobs share."""

from multiprocessing import resource_tracker

import pytest


@pytest.fixture(autouse=True, scope="module")
def tracker():
    """Python's own helper for what processes share ends with the process that began it; here with the module."""
    yield
    resource_tracker._resource_tracker._stop()
