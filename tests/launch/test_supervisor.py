"""However a run ends, and whenever: nothing of it stays.

`make lifecycle` does 30 interrupts and 10 failed starts, and what else takes minutes; the suite does a few of each.
"""

from __future__ import annotations

import os
import random
import signal
import time

import psutil
import pytest
from left_behind import alive_of, named, words_of
from running_engine import STOP_S, Run, put_away, running, small_market, until

from engine.ports import free_port, is_free

INTERRUPTS = int(os.environ.get("FACTOR_ENGINE_TEST_INTERRUPTS", "2"))
FAILURES = int(os.environ.get("FACTOR_ENGINE_TEST_FAILURES", "1"))
LONGEST_START_S = 30.0
TICK_S = 0.2
VICTIMS = ("gcs_server", "raylet", "launch.foreground", "engine.ray_head")
"""Without one of these no start comes to its end. A worker, whose arguments name the raylet too, is only replaced."""

pytestmark = [pytest.mark.ray, pytest.mark.timeout(60 + 60 * (INTERRUPTS + FAILURES))]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return small_market(tmp_path_factory.mktemp("market"))


def moments(count: int, seed: int) -> list[float]:
    """Choose random moments of a start, one in each of `count` equal parts of it."""
    chance = random.Random(seed)
    return [LONGEST_START_S * (number + chance.random()) / count for number in range(count)]


def live_until(run: Run, moment: float, seen: dict[int, psutil.Process]) -> None:
    """Let a start go on until a moment, or until it is over; notes its processes."""
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline and run.process.poll() is None and "Ready after" not in run.log:
        seen |= {process.pid: process for process in run.tree()}
        time.sleep(TICK_S)


def nothing_left(run: Run, seen: dict[int, psutil.Process]) -> None:
    assert [words_of(process) for process in run.left()] == []
    assert alive_of(seen.values()) == []
    assert is_free("127.0.0.1", run.port)
    assert not (run.run_dir / "running.json").exists()


def ended_before_it_began(run: Run, code: int) -> bool:
    """Say whether a signal ended the process before it takes signals, as it ends any: Python has words for that."""
    in_python = code == 1 and run.log.startswith("Fatal Python error: init_import_site")
    return in_python or (not run.log and code in (-signal.SIGINT, -signal.SIGTERM))


@pytest.mark.parametrize("moment", moments(INTERRUPTS, seed=1))
def test_an_interrupt_at_any_moment_of_a_start_leaves_nothing(tmp_path, market, moment):
    run = Run(tmp_path / "run", free_port(), market)
    try:
        seen: dict[int, psutil.Process] = {}
        live_until(run, moment, seen)
        run.process.send_signal(random.Random(moment).choice((signal.SIGINT, signal.SIGTERM)))
        began = time.monotonic()
        code = run.process.wait(timeout=3 * STOP_S)
        assert time.monotonic() - began < STOP_S
        assert code == 0 or ended_before_it_began(run, code), run.log
        nothing_left(run, seen)
    finally:
        put_away(run)


@pytest.mark.parametrize("moment", moments(FAILURES, seed=2))
def test_a_start_that_fails_at_any_moment_says_so_and_leaves_nothing(tmp_path, market, moment):
    run = Run(tmp_path / "run", free_port(), market)
    try:
        seen: dict[int, psutil.Process] = {}
        live_until(run, moment, seen)
        chance = random.Random(moment)

        def victims() -> list[psutil.Process]:
            below = alive_of(run.tree()[1:])
            return named(below, *VICTIMS) + [p for p in below if {*words_of(p)[:3]}.intersection(VICTIMS)]

        until(lambda: victims() or run.process.poll() is not None, "there is something to kill", 60.0)
        chance.choice(victims()).kill()
        assert run.process.wait(timeout=60.0) == 1, run.log
        assert "cannot" in run.log
        nothing_left(run, seen)
    finally:
        put_away(run)


def test_a_killed_supervisor_takes_ray_and_nats_with_it(tmp_path, market):
    with running(tmp_path / "run", market) as run:
        until(lambda: "Ray  " in run.log or run.process.poll() is not None, "Ray is up", 120.0)
        assert run.process.poll() is None, run.log
        core = named(run.tree()[1:], "raylet", "gcs_server", "nats-server")
        assert len(core) == 3
        run.process.kill()
        _, alive = psutil.wait_procs(core, timeout=30.0)
        assert alive_of(alive) == []
