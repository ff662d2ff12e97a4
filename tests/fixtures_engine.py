"""The running engine that several files of tests ask: a start takes half a minute of two processors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_engine import Run, running, small_market

DEAD = "http://127.0.0.1:9"
ODD = {
    "HTTP_PROXY": DEAD,
    "http_proxy": DEAD,
    "HTTPS_PROXY": DEAD,
    "HOME": "/nonexistent",
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "tr_TR.UTF-8",
}
"""As odd a place as any: a proxy that is not there, no home, a clock a day ahead, letters of another alphabet."""


@pytest.fixture(scope="session")
def shared_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the market that the shared engine has as model `main`."""
    return small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory, shared_market: Path) -> Iterator[Run]:
    """Start the engine. Who asks it leaves it as it was; only the last file, tests/test_serve_app.py, ends it."""
    with running(tmp_path_factory.mktemp("engine") / "run", shared_market, **ODD) as started:
        started.until_ready()
        yield started
