"""Small matrices are computed by one thread of BLAS, and what the process had is restored."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from factors.numeric.blas import one_blas_thread
from factors.risk.covariance import FactorCovariance
from factors.risk.specific import SpecificRisk


def threads():
    """What numpy's BLAS computes with; scipy's wheels bring another, which may be loaded later."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in blas if "numpy" in library["filepath"] or len(blas) == 1}


@pytest.fixture
def two_threads():
    if not threads():
        pytest.skip("threadpoolctl knows no BLAS of this process")
    with threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("BLAS takes no second thread here")
        yield


def test_what_was_set_is_restored_by_the_last_that_leaves(two_threads):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with one_blas_thread:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with one_blas_thread:
        thread.start()
        assert entered.wait(60)
        with one_blas_thread:
            assert threads() == {1}
        assert threads() == {1}
    try:
        assert threads() == {1}
    finally:
        leave.set()
        thread.join(60)
    assert threads() == {2}
    with pytest.raises(ZeroDivisionError), one_blas_thread:
        _ = 1 / 0
    assert threads() == {2}


def test_a_days_risk_is_computed_by_one_thread(two_threads, monkeypatch):
    seen = []
    for owner, name in ((np.linalg, "eigh"), (np.linalg, "pinv")):
        real = getattr(owner, name)

        def noted(*given, real=real, name=name, **more):
            seen.append((name, *threads()))
            return real(*given, **more)

        monkeypatch.setattr(owner, name, noted)
    rng = np.random.default_rng(0)
    residuals, caps = 0.02 * rng.standard_normal((90, 300)), np.exp(rng.normal(20.0, 1.0, (90, 300)))
    residuals[:80, :20] = np.nan
    exposures, returns = rng.standard_normal((300, 12)), 0.01 * rng.standard_normal((90, 12))
    specific, covariance = SpecificRisk(), FactorCovariance()
    specific.fit(residuals[:89], caps[:89], exposures).update(residuals[89:], caps[89:], exposures)
    covariance.fit(returns[:89]).update(returns[89:])
    assert np.isfinite(specific.specific_variance_).all()
    assert np.isfinite(covariance.covariance_).all()
    assert set(seen) == {("eigh", 1), ("pinv", 1)}
    assert threads() == {2}
