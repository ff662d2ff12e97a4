"""Kernels against plain numpy and Polars."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.math import exp_weights, winsorize
from factors.numeric.kernels import percentile, rolling_product, rolling_sum, standardize_rows, top_rows, winsorize_rows
from factors.numeric.window import Window
from factors.style.descriptor_kernels import cumulative_range, month_sums, yearly_slope
from factors.style.descriptors import SUMS


def panel(n_dates=300, n_assets=7, seed=1, missing=0.1):
    rng = np.random.default_rng(seed)
    x = 0.02 * rng.standard_normal((n_dates, n_assets))
    x[rng.random(x.shape) < missing] = np.nan
    return x


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_percentile_is_numpys(values, fraction):
    data = np.array(values)
    np.testing.assert_allclose(percentile(data.copy(), len(data), fraction), np.quantile(data, fraction), rtol=1e-12)


def test_winsorize_is_numpys_percentiles_with_nan_and_infinity():
    x = panel()
    x[3, 2] = np.inf
    finite = np.where(np.isfinite(x), x, np.nan)
    low, high = np.nanpercentile(finite, [10.0, 90.0], axis=0)
    np.testing.assert_allclose(winsorize(x, 0.1), np.clip(x, low, high), rtol=1e-12)


def test_rolling_product_is_the_compounded_weighted_return_and_skips_what_is_missing():
    x, weights, out = panel(60), exp_weights(20, 10), np.empty((60, 7))
    rolling_product(x, weights, 5, 10, 0, 0, 7, out)
    assert np.isnan(out[:24]).all()
    expected = np.prod(1.0 + np.nan_to_num(x[31:51] * weights[:, None]), axis=0) - 1.0
    np.testing.assert_allclose(out[55], expected, rtol=1e-12)


def test_rolling_sum_and_mean_need_the_least_count():
    x, weights = panel(40, missing=0.5), exp_weights(8, 4)
    total, mean = np.empty((40, 7)), np.empty((40, 7))
    rolling_sum(x, weights, 0, 4, False, 0, 0, 7, total)
    rolling_sum(x, weights, 0, 4, True, 0, 0, 7, mean)
    for t in range(7, 40):
        window = x[t - 7 : t + 1]
        there = ~np.isnan(window)
        enough = there.sum(axis=0) >= 4
        sums = np.where(there, window * weights[:, None], 0.0).sum(axis=0)
        np.testing.assert_allclose(total[t][enough], sums[enough], rtol=1e-12)
        np.testing.assert_allclose(mean[t][enough], (sums / (there * weights[:, None]).sum(axis=0))[enough], rtol=1e-12)
        assert np.isnan(total[t][~enough]).all()


def trading_days(n, every=1):
    """Days since the epoch of `n` weekdays, or of every so many of them."""
    days = np.arange(18_000, 18_000 + 2 * n * every, dtype=np.int64)
    return days[(days + 3) % 7 < 5][: n * every : every]


@pytest.mark.parametrize("every", [1, 5])
def test_sums_over_a_window_depend_on_its_rows_and_dates_alone(every):
    """A batch, one row at a time, another start, and fewer columns at a time give the same bits."""
    x, market = panel(400, 300), 0.01 * np.random.default_rng(5).standard_normal(400)
    market[250] = np.nan
    days = trading_days(400, every)
    for name, (make, _) in SUMS.items():
        batch = make().compute(x, market, days, 400, 1, 512)
        shared = make().compute(x, market, days, 400, 2, 100)
        np.testing.assert_array_equal(batch, shared, err_msg=name)
        late = make().compute(x[120:], market[120:], days[120:], 280, 1, 512)
        np.testing.assert_array_equal(batch[:, 371:], late[:, 251:], err_msg=name)
        alone = make()
        for t in range(380, 400):
            rows = slice(max(t - 251, 0), t + 1)
            one = alone.compute(x[rows], market[rows], days[rows], 1, 1, 512)
            np.testing.assert_array_equal(batch[:, t], one[:, 0], err_msg=name)


def test_market_fit_is_weighted_least_squares():
    x, rng = panel(), np.random.default_rng(5)
    market = 0.01 * rng.standard_normal(300)
    market[250] = np.nan
    fit, spread = exp_weights(252, 63), exp_weights(252, 42)
    beta, sigma, dastd = SUMS["fit"][0]().compute(x, market, trading_days(300), 300, 1, 512)[:, -1:]
    window, m = x[48:], market[48:]
    for j in range(7):
        known = ~np.isnan(window[:, j]) & ~np.isnan(m)
        r, X, w = window[known, j], np.column_stack([np.ones(known.sum()), m[known]]), fit[known]
        b = np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * r))
        np.testing.assert_allclose(beta[0, j], b[1], rtol=1e-8)
        np.testing.assert_allclose(sigma[0, j], np.sqrt(np.average((r - X @ b) ** 2, weights=w)), rtol=1e-8)
        mean = np.average(r, weights=spread[known])
        np.testing.assert_allclose(dastd[0, j], np.sqrt(np.average((r - mean) ** 2, weights=spread[known])), rtol=1e-8)


def test_cumulative_range_is_the_spread_of_monthly_cumulative_log_returns():
    logs, out = panel(missing=0.0), np.empty((1, 7))
    months = np.empty((300, 2, 7))
    month_sums(logs, 0, 0, 7, months)
    cumulative_range(months, 299, 0, 7, out)
    cumulative = np.cumsum(logs[::-1], axis=0)[20:252:21]
    np.testing.assert_allclose(out[0], np.ptp(cumulative, axis=0), rtol=1e-10)


def test_yearly_slope_is_the_regression_on_years_over_the_mean_size():
    x, out = np.arange(1.0, 61.0)[:, None] ** 1.1, np.empty((1, 1))
    yearly_slope(x, 10, 5, 3, 59, 0, 1, out)
    samples = x[59::-10, 0][:5]
    np.testing.assert_allclose(out[0, 0], np.polyfit(-np.arange(5.0), samples, 1)[0] / samples.mean(), rtol=1e-10)


def test_standardized_rows_have_cap_weighted_mean_zero_and_deviation_one_on_the_universe():
    x, caps = panel(5, 30), np.exp(panel(5, 30, 2, 0.0) * 50)
    mask = np.random.default_rng(0).random((5, 30)) < 0.7
    z = x.copy()
    standardize_rows(z, caps, mask, True, True, True)
    for t in range(5):
        inside = mask[t] & ~np.isnan(z[t])
        assert np.average(z[t][inside], weights=caps[t][inside]) == pytest.approx(0.0, abs=1e-12)
        assert z[t][inside].std(ddof=1) == pytest.approx(1.0)
        np.testing.assert_array_equal(np.isnan(z[t]), np.isnan(x[t]))


def test_constant_scores_become_zero():
    x = np.full((1, 4), 3.0)
    standardize_rows(x, np.ones((1, 4)), np.ones((1, 4), dtype=bool), True, True, True)
    assert x.tolist() == [[0.0] * 4]


def test_top_rows_takes_exactly_n_and_breaks_ties_by_position():
    caps = np.array([[3.0, 5.0, 3.0, 3.0, 1.0]])
    out = np.empty((1, 5), dtype=bool)
    top_rows(caps, np.array([[True, True, True, True, True]]), 3, out)
    assert out.tolist() == [[True, True, True, False, False]]
    top_rows(caps, np.array([[True, False, True, False, True]]), 9, out)
    assert out.tolist() == [[True, False, True, False, True]]


def test_winsorized_rows_use_only_the_universe_for_the_bounds():
    x = np.array([[1.0, 2.0, 3.0, 100.0]])
    winsorize_rows(x, np.array([[True, True, True, False]]), 0.0)
    assert x.tolist() == [[1.0, 2.0, 3.0, 3.0]]


def test_a_window_gives_the_last_rows_whatever_the_blocks_and_widens_for_new_assets():
    rows = np.arange(40.0).reshape(20, 2)
    window = Window(5)
    for begin, end in ((0, 7), (7, 8), (8, 9), (9, 14), (14, 20)):
        joined = window.push(rows[begin:end])
        np.testing.assert_array_equal(joined, rows[max(0, begin - 4) : end])
        np.testing.assert_array_equal(window.values, rows[max(0, end - 5) : end])
    wider = window.push(np.ones((1, 3)))
    assert wider.shape == (5, 3)
    assert np.isnan(wider[:4, 2]).all()


def test_smoothing_is_polars_rolling_mean():
    x, out = panel(50, 3, missing=0.0), np.empty((50, 3))
    rolling_sum(x, np.ones(5), 0, 5, True, 0, 0, 3, out)
    theirs = pl.DataFrame(x).select(pl.all().rolling_mean(5)).to_numpy()
    np.testing.assert_allclose(out, theirs, rtol=1e-9, atol=1e-15)
