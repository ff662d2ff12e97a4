from __future__ import annotations

import threading

import pytest

from actors.runtime.meter import BUCKETS_S, FOLDED, RECENT_COSTS, UNKNOWN_COST_S, WINDOW, Meter, quantile


def test_quantiles_are_by_nearest_rank_and_zero_of_nothing():
    assert quantile([], 0.5) == 0.0
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([float(i) for i in range(100)], 0.5) == 50.0
    assert quantile([float(i) for i in range(100)], 0.99) == 99.0


def test_answers_and_problems_are_counted_by_operation_device_code_and_stage():
    meter = Meter()
    meter.answered("covariance", "cpu", queue=0.001, compute=0.004)
    meter.answered("covariance", "metal_gpu", queue=0.003, compute=0.002)
    meter.failed("covariance", "unknown_model", queue=0.001)
    row = meter.snapshot()["covariance"]
    assert (row["calls"], row["devices"], row["errors"]) == (3, {"cpu": 1, "metal_gpu": 1}, {"unknown_model": 1})
    assert row["stages_ms"]["queue"]["count"] == 3
    assert row["stages_ms"]["compute"]["sum_ms"] == pytest.approx(6.0)
    assert meter.overall()["count"] == 3
    assert meter.overall()["p99"] == pytest.approx(5.0)


def test_times_fall_into_the_bucket_of_the_least_bound_that_they_do_not_exceed():
    meter = Meter()
    for seconds in (0.0, 0.0005, 0.0006, 0.005, 61.0):
        meter.answered("size", "cpu", compute=seconds)
    counts = dict(zip((*BUCKETS_S, "more"), meter.snapshot()["size"]["stages_ms"]["compute"]["buckets"], strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.0005: 2, 0.001: 1, 0.005: 1, "more": 1}


def test_an_unknown_operation_is_expected_to_be_short_and_one_cold_call_does_not_mislead():
    meter = Meter()
    assert meter.expected_s("size") == UNKNOWN_COST_S
    meter.learn("size", 20.0, 1)
    for _ in range(3):
        meter.learn("size", 0.064, 64)
    assert meter.expected_s("size") == pytest.approx(0.001)


def test_memory_is_bounded_while_counts_go_on():
    meter = Meter()
    for _ in range(WINDOW + 10):
        meter.answered("size", "cpu", compute=0.001)
        meter.learn("size", 0.001, 1)
    row = meter._operations["size"]
    assert len(row.stages["compute"].recent) == WINDOW
    assert len(row.costs) == RECENT_COSTS
    assert meter.snapshot()["size"]["stages_ms"]["compute"]["count"] == WINDOW + 10


def test_threads_lose_no_count():
    meter = Meter()

    def work() -> None:
        for _ in range(2000):
            meter.answered("size", "cpu", compute=0.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.snapshot()["size"]["calls"] == 8000


def test_what_many_threads_count_while_others_read_is_counted_once():
    meter, n = Meter(), 5 * FOLDED + 7
    began = threading.Barrier(4)

    def count():
        began.wait()
        for i in range(n):
            meter.answered("size", "cpu", compute=0.001) if i % 2 else meter.failed("size", "late", queue=0.5)

    def read():
        began.wait()
        for _ in range(200):
            meter.snapshot()
            meter.overall()

    threads = [threading.Thread(target=work) for work in (count, count, count, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    row = meter.snapshot()["size"]
    assert row["calls"] == meter.overall()["count"] == 3 * n
    assert row["errors"] == {"late": 3 * (n // 2 + 1)}
    assert row["devices"] == {"cpu": 3 * (n // 2)}
    assert row["stages_ms"]["compute"]["count"] == 3 * (n // 2)
