"""The number of the HTTP face's processes follows what they have in work, and no request fails by it."""

from __future__ import annotations

import contextlib
import threading

import httpx
import psutil
import pytest
from running_engine import lifecycle, running, small_market, until
from websockets.sync.client import connect

from contracts.settings import Settings
from launch.http import replicas

SOCKETS, EACH, MOST = 6, 2, 2
FOLLOWS_S = 180.0


def test_without_a_most_the_number_stays_and_with_one_it_follows():
    assert replicas(Settings(http_replicas=3)) == {"num_replicas": 3}
    assert replicas(Settings(http_replicas=3, http_replicas_most=3)) == {"num_replicas": 3}
    scaled = replicas(Settings(http_replicas=2, http_replicas_most=5, http_requests_each=8))
    assert scaled["num_replicas"] == "auto"
    assert {name: scaled["autoscaling_config"][name] for name in ("min_replicas", "max_replicas")} == {
        "min_replicas": 2,
        "max_replicas": 5,
    }
    assert scaled["autoscaling_config"]["target_ongoing_requests"] == 8


def test_a_most_below_the_least_is_refused():
    with pytest.raises(ValueError, match="below http_replicas, which is 3"):
        Settings(http_replicas=3, http_replicas_most=2)


def n_replicas(run) -> int:
    found = 0
    for process in run.tree():
        with contextlib.suppress(psutil.NoSuchProcess):
            found += process.name().startswith("ray::ServeRepl")
    return found


@pytest.mark.ray
@pytest.mark.timeout(900)
@lifecycle
def test_their_number_follows_what_is_in_work_and_no_request_fails(tmp_path):
    wishes = {"FACTOR_ENGINE_HTTP_REPLICAS_MOST": str(MOST), "FACTOR_ENGINE_HTTP_REQUESTS_EACH": str(EACH)}
    with running(tmp_path / "run", small_market(tmp_path), **wishes) as run:
        run.until_ready()
        assert n_replicas(run) == 1
        failed, done, over = [], 0, threading.Event()

        def asking():
            nonlocal done
            with httpx.Client(base_url=f"http://127.0.0.1:{run.port}", trust_env=False, timeout=30.0) as client:
                while not over.is_set():
                    answer = client.get("/factor-models/list")
                    done += 1
                    if answer.status_code != 200:
                        failed.append(answer.text)

        caller = threading.Thread(target=asking)
        caller.start()
        try:
            with contextlib.ExitStack() as opened:
                for _ in range(SOCKETS):
                    opened.enter_context(connect(f"ws://127.0.0.1:{run.port}/ws/factors", proxy=None))
                until(lambda: n_replicas(run) == MOST, "a second process answers", FOLLOWS_S)
                before = done
                until(lambda: done > before + 50, "requests are answered meanwhile", 60.0)
            until(lambda: n_replicas(run) == 1, "the second process went", FOLLOWS_S)
        finally:
            over.set()
            caller.join()
        assert failed == []
        assert done > 100
