"""Where a workload would be computed is told with what was measured."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has other devices")
def test_a_machine_with_a_cpu_alone_says_so_and_what_its_cpu_takes(http, symbols):
    book = {"portfolio_weights": {symbols[0]: 1.0}}
    for _ in range(4):
        assert http.post("/factor-exposures/calculate", json=book).status_code == 200
    answer = http.get("/routing/explain?workload=factor_exposure_analysis&assets=1&portfolios=1").json()
    assert (answer["primary_hardware"], answer["fallback"]) == ("cpu", "cpu")
    assert (answer["estimated_performance_gain"], answer["confidence"]) == (1.0, 1.0)
    assert answer["gain_interval"] == [1.0, 1.0]
    assert set(answer["excluded"]) == {"metal_gpu", "neural_engine"}
    assert "missing: needs Apple silicon" in answer["excluded"]["metal_gpu"]
    assert "metal_gpu: missing" in answer["reason"]
    assert answer["former_claim"] == [5.0, 18.0]


def test_a_workload_that_is_none_is_an_error_that_names_the_field(http):
    answer = http.get("/routing/explain?workload=mining")
    assert answer.status_code == 422
    assert answer.json()["field"] == "workload"


def test_a_calibration_measures_every_kernel_and_then_every_workload_has_a_time(http):
    made = http.post("/routing/calibrate", json={}).json()
    assert {row["kernel"] for row in made["rows"]} >= {"exposures", "revalue", "network"}
    assert all(row["ms"] > 0 and row["error"] == 0.0 for row in made["rows"] if row["device"] == "cpu")
    told = http.get("/routing/explain?workload=scenarios&portfolios=100").json()
    assert told["kernel"] == "revalue"
    assert told["sizes"] == {"books": 100, "scenarios": 10_000, "factors": 40}
    assert told["milliseconds"]["cpu"] > 0
    assert told["samples"]["cpu"] >= 3
