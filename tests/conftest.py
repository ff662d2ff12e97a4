"""What the whole suite shares: fixtures, each kind in a module of its own; how it is spread; what it may not leave."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the fixture modules
sys.path.append(str(HERE / "actors"))  # the workloads that tests run inside Ray actors, and what they are asked

from left_behind import MARK, end_all, processes_of  # noqa: E402

pytest_plugins = [
    "fixtures_engine", "fixtures_library", "fixtures_nats", "fixtures_objects", "fixtures_ray", "fixtures_real",
    "fixtures_store", "fixtures_toraniko",
]  # fmt: skip

# Examples are judged by what they show, not by the clock: a machine with more to do draws and runs them slowly.
hypothesis.settings.register_profile(
    "unhurried",
    hypothesis.settings.default,  # in CI that draws the same examples each time
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")

GROUPS = {
    "tests/test_serve_app.py": "shared_run",
    "tests/launch": "shared_run",
    "tests/examples/test_engine_examples.py": "shared_run",
    "tests/jobs/test_running.py": "shared_run",
    "tests/factors/library/oracles/test_oracle_barra.py": "slow",
    "tests/factors/library/oracles/test_oracle_fundamentals.py": "slow",
    "tests/factors/library/oracles/test_oracle_jkp.py": "slow",
    "tests/factors/library/oracles/test_oracle_openap.py": "slow",
    "tests/factors/library/oracles/test_oracle_reserve.py": "slow",
    "tests/factors/library/oracles/test_oracle_reserve_b.py": "slow",
    "tests/factors/library/oracles/test_torn_sample.py": "slow",
    "tests/factors/library/definitions/test_count.py": "sample_census",
    "tests/factors/library/definitions/test_distinct.py": "sample_census",
    "tests/bus/test_actor.py": "ray_cluster",
    "tests/router/test_tracing.py": "ray_cluster",
    "tests/router/test_client.py": "ray_cluster",
    "tests/router/test_leaving.py": "ray_cluster",
    "tests/router/test_pool_running.py": "ray_cluster",
    "tests/router/test_writes.py": "ray_cluster",
    "tests/web": "http",
    "tests/web/page": "http",
}
"""Files and folders that run in the same process, named after the session fixture that costs them seconds; else each
file is a group of its own. Those that are named here take longest and start first.
"""
ENDS_THE_SHARED_RUN = "tests/test_serve_app.py"
RAY = {"ray_cluster", "echo_router", "shared_run"}
"""Fixtures that start Ray: their tests get the mark `ray`."""
END_S = 15.0
"""How long what tests started may take to end after the last of them."""

_left = pytest.StashKey[list[str]]()


def begin() -> Path | None:
    """Give the run a mark that every process inherits, a folder, and Ray a token of this run's own.

    Ray reads how it authenticates when it is imported, which the conftest.py of a folder that the command line names
    may do, so this is done when this file is imported: it is the first. Nothing is written to the home directory.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return None  # the process that started this one has done it, and removes the folder when all are gone
    # Not where temporary folders are by default: on macOS that is so long that Ray's sockets do not fit behind it.
    folder = Path(tempfile.mkdtemp(prefix="fe-tests-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # also where no test is run
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    os.environ[MARK] = str(folder)
    # Ray writes the address of a cluster there: not into the place where a user's own Ray looks, nor fails without one.
    (folder / "ray").mkdir()
    os.environ["RAY_TMPDIR"] = str(folder)
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    # Ray starts its workers at 15, where tests that compute beside them leave them a thirtieth of a processor.
    os.environ.update({"RAY_worker_niceness": "0"})  # in the letters that Ray reads
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        os.environ.pop(name, None)
    return folder


FOLDER = begin()


def group_of(nodeid: str) -> str:
    """Name the group of a test."""
    file = nodeid.partition("::")[0]
    return GROUPS.get(file) or GROUPS.get(str(Path(file).parent)) or file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that all processes are done at about the same time."""
    groups = list(dict.fromkeys(GROUPS.values()))
    for item in items:
        for name in set(groups) & set(getattr(item, "fixturenames", ())):
            if group_of(item.nodeid) != name:
                raise pytest.UsageError(f"{item.nodeid} uses {name}; say so in GROUPS of tests/conftest.py")
    for item in items:
        if RAY & set(getattr(item, "fixturenames", ())):
            item.add_marker("ray")
    rank = {name: number for number, name in enumerate(groups)}

    def order(item: pytest.Item) -> tuple[int, bool, bool]:
        # While tests start engines of their own, the shared one takes no memory yet.
        asks = "shared_run" in getattr(item, "fixturenames", ())
        return rank.get(group_of(item.nodeid), len(rank)), asks, item.nodeid.startswith(ENDS_THE_SHARED_RUN)

    items.sort(key=order)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole groups. The plugin's own marks for groups have no effect under pytest 9.2, whose ids are fixed."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Fail the run that left a process behind, end that process, and remove the run's folder."""
    yield
    if FOLDER is None:
        return
    left = end_all(processes_of(str(FOLDER)), END_S)
    session.config.stash[_left] = left
    if left and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_left, []):
        terminalreporter.write_line(f"LEFT BEHIND by the tests: {line}", red=True)
