"""Every operator against a slow, plain reading of its definition: one window or one date at a time."""

import math
import warnings

import numpy as np
import pytest

from factors.library import compile_library
from factors.library.language.conventions import conventions

NAN = math.nan


def finite(v):
    return float(v) if math.isfinite(v) else NAN


def ranks(values, ties="average"):
    """Ranks from 1, by counting."""
    less = np.array([np.sum(values < v) for v in values], float)
    same = np.array([np.sum(values == v) for v in values], float)
    return {"average": less + (same + 1) / 2, "min": less + 1, "max": less + same}[ties]


def central(x, p):
    return np.mean((x - x.mean()) ** p)


def skewness(x):
    n = len(x)
    return central(x, 3) / central(x, 2) ** 1.5 * math.sqrt(n * (n - 1)) / (n - 2)


def kurtosis(x):
    n = len(x)
    return ((n + 1) * (central(x, 4) / central(x, 2) ** 2 - 3) + 6) * (n - 1) / ((n - 2) * (n - 3))


def fit(y, *x):
    X = np.column_stack([np.ones(len(y)), *x])
    return np.linalg.lstsq(X, y, rcond=None)[0]


def residuals(y, *x):
    return y - np.column_stack([np.ones(len(y)), *x]) @ fit(y, *x)


def r2(y, *x):
    return 1 - np.sum(residuals(y, *x) ** 2) / np.sum((y - y.mean()) ** 2)


def shape3(e):
    return np.mean(e**3) / np.mean(e**2) ** 1.5


def coskewness(y, x):
    e, m = residuals(y, x), x - x.mean()
    return np.mean(e * m**2) / (math.sqrt(np.mean(e**2)) * np.mean(m**2))


def half(d, h):
    return 0.5 ** (np.arange(d)[::-1] / h)


def drawdown(x):
    return max(1 - x[i] / x[: i + 1].max() for i in range(len(x)))


def cum_range(x, n, k):
    z = [x[-(j + 1) * k :].sum() for j in range(n)]
    return max(z) - min(z)


T = np.arange(1, 9)
# formula of close (x), open (y), and what it is over the last rows of each
WINDOWS = {
    "sum(close, 8)": (8, lambda x, y: x.sum()),
    "mean(close, 7)": (7, lambda x, y: x.mean()),
    "mean(close, 1)": (1, lambda x, y: x[0]),
    "stddev(close, 8)": (8, lambda x, y: x.std(ddof=1)),
    "stddev(close, 8, ddof=0)": (8, lambda x, y: x.std()),
    "variance(close, 5)": (5, lambda x, y: x.var(ddof=1)),
    "skew(close, 8)": (8, lambda x, y: skewness(x)),
    "skew(close, 8, bias=1)": (8, lambda x, y: shape3(x - x.mean())),
    "kurt(close, 8)": (8, lambda x, y: kurtosis(x)),
    "kurt(close, 8, bias=1)": (8, lambda x, y: central(x, 4) / central(x, 2) ** 2 - 3),
    "ts_zscore(close, 8)": (8, lambda x, y: (x[-1] - x.mean()) / x.std(ddof=1)),
    "avedev(close, 6)": (6, lambda x, y: np.mean(np.abs(x - x.mean()))),
    "product(close / open, 6)": (6, lambda x, y: np.prod(x / y)),
    "ts_min(close, 6)": (6, lambda x, y: x.min()),
    "ts_max(close, 6)": (6, lambda x, y: x.max()),
    "ts_argmin(close, 6)": (6, lambda x, y: 1 + np.argmin(x)),
    "ts_argmax(close, 6)": (6, lambda x, y: 1 + np.argmax(x)),
    "highday(close, 6)": (6, lambda x, y: np.argmax(x[::-1])),
    "lowday(close, 6)": (6, lambda x, y: np.argmin(x[::-1])),
    "ts_rank(close, 6)": (6, lambda x, y: ranks(x)[-1] / 6),
    "ts_rank(close, 7)": (7, lambda x, y: ranks(x)[-1] / 7),
    "ts_quantile(close, 8, 0.3)": (8, lambda x, y: np.quantile(x, 0.3)),
    "median(close, 7)": (7, lambda x, y: np.median(x)),
    "mean_largest(close, 8, 3)": (8, lambda x, y: np.sort(x)[-3:].mean()),
    "mean_smallest(close, 8, 3)": (8, lambda x, y: np.sort(x)[:3].mean()),
    "count(close > open, 6)": (6, lambda x, y: np.sum(x > y)),
    "sumif(close, 6, close > open)": (6, lambda x, y: np.sum(np.where(x > y, x, 0))),
    "decay_linear(close, 6)": (6, lambda x, y: np.dot(x, np.arange(1, 7)) / 21),
    "wma(close, 6)": (6, lambda x, y: np.average(x, weights=0.9 ** np.arange(6)[::-1])),
    "ew_mean(close, 8, 3)": (8, lambda x, y: np.average(x, weights=half(8, 3))),
    "ew_sum(close, 8, 3)": (8, lambda x, y: np.dot(x, half(8, 3))),
    "ew_std(close, 8, 3)": (
        8,
        lambda x, y: math.sqrt(np.average((x - np.average(x, weights=half(8, 3))) ** 2, weights=half(8, 3))),
    ),
    "corr(close, open, 8)": (8, lambda x, y: np.corrcoef(x, y)[0, 1]),
    "cov(close, open, 7)": (7, lambda x, y: np.cov(x, y)[0, 1]),
    "reg_slope(open, close, 8)": (8, lambda x, y: fit(y, x)[1]),
    "reg_intercept(open, close, 8)": (8, lambda x, y: fit(y, x)[0]),
    "reg_r2(open, close, 8)": (8, lambda x, y: r2(y, x)),
    "reg_residual(open, close, 8)": (8, lambda x, y: residuals(y, x)[-1]),
    "reg_residual_std(open, close, 8)": (8, lambda x, y: math.sqrt(np.sum(residuals(y, x) ** 2) / 6)),
    "reg_residual_skew(open, close, 8)": (8, lambda x, y: shape3(residuals(y, x))),
    "coskew(open, close, 8)": (8, lambda x, y: coskewness(y, x)),
    "mreg_slope(2, 9, open, close, close^2)": (9, lambda x, y: fit(y, x, x**2)[2]),
    "mreg_intercept(9, open, close, close^2)": (9, lambda x, y: fit(y, x, x**2)[0]),
    "mreg_r2(9, open, close, close^2)": (9, lambda x, y: r2(y, x, x**2)),
    "mreg_residual(9, open, close, close^2)": (9, lambda x, y: residuals(y, x, x**2)[-1]),
    "mreg_residual_std(9, open, close, close^2)": (9, lambda x, y: math.sqrt(np.sum(residuals(y, x, x**2) ** 2) / 6)),
    "mreg_residual_skew(9, open, close, close^2)": (9, lambda x, y: shape3(residuals(y, x, x**2))),
    "slope(close, 8)": (8, lambda x, y: fit(x, T)[1]),
    "intercept(close, 8)": (8, lambda x, y: fit(x, T)[0]),
    "rsquare(close, 8)": (8, lambda x, y: r2(x, T)),
    "resi(close, 8)": (8, lambda x, y: residuals(x, T)[-1]),
    "forecast(close, 8)": (8, lambda x, y: fit(x, T) @ [1, 9]),
    "linreg(close, 8)": (8, lambda x, y: fit(x, T) @ [1, 8]),
    "ts_drawdown(close, 8)": (8, lambda x, y: drawdown(x)),
    "sumac_range(close - open, 8)": (8, lambda x, y: np.ptp(np.cumsum(x - y))),
    "cum_range(close - open, 3, 2)": (6, lambda x, y: cum_range(x - y, 3, 2)),
    # beyond the length from which blocks are used
    "sum(close - open, 70)": (70, lambda x, y: (x - y).sum()),
    "mean(close, 80)": (80, lambda x, y: x.mean()),
    "stddev(close, 70)": (70, lambda x, y: x.std(ddof=1)),
    "ts_max(close, 70)": (70, lambda x, y: x.max()),
    "highday(close, 70)": (70, lambda x, y: np.argmax(x[::-1])),
    "ts_argmin(close, 70)": (70, lambda x, y: 1 + np.argmin(x)),
    "corr(close, open, 70)": (70, lambda x, y: np.corrcoef(x, y)[0, 1]),
    "reg_slope(open, close, 90)": (90, lambda x, y: fit(y, x)[1]),
    "reg_residual_std(open, close, 90)": (90, lambda x, y: math.sqrt(np.sum(residuals(y, x) ** 2) / 88)),
    "mreg_slope(1, 80, open, close, close^2)": (80, lambda x, y: fit(y, x, x**2)[1]),
    "mreg_intercept(70, open, close, close^2)": (70, lambda x, y: fit(y, x, x**2)[0]),
    "mreg_r2(70, open, close, close^2)": (70, lambda x, y: r2(y, x, x**2)),
    "mreg_residual(70, open, close, close^2)": (70, lambda x, y: residuals(y, x, x**2)[-1]),
    "mreg_residual_std(70, open, close, close^2)": (
        70,
        lambda x, y: math.sqrt(np.sum(residuals(y, x, x**2) ** 2) / 67),
    ),
}
MASKED = {
    "sum(close, 8, min_periods=5)": (8, lambda x, y: x.sum()),
    "mean(close, 8, min_periods=5)": (8, lambda x, y: x.mean()),
    "stddev(close, 8, min_periods=5)": (8, lambda x, y: x.std(ddof=1)),
    "skew(close, 8, min_periods=5)": (8, lambda x, y: skewness(x)),
    "product(close, 8, min_periods=5)": (8, lambda x, y: np.prod(x)),
    "ts_max(close, 8, min_periods=5)": (8, lambda x, y: x.max()),
    "ts_quantile(close, 8, 0.8, min_periods=5)": (8, lambda x, y: np.quantile(x, 0.8)),
    "mean_largest(close, 8, 3, min_periods=5)": (8, lambda x, y: np.sort(x)[-3:].mean()),
    "corr(close, open, 8, min_periods=5)": (8, lambda x, y: np.corrcoef(x, y)[0, 1]),
    "reg_slope(open, close, 8, min_periods=5)": (8, lambda x, y: fit(y, x)[1]),
    "reg_residual_std(open, close, 8, min_periods=5)": (
        8,
        lambda x, y: math.sqrt(np.sum(residuals(y, x) ** 2) / (len(x) - 2)),
    ),
    "mreg_slope(1, 9, open, close, close^2, min_periods=6)": (9, lambda x, y: fit(y, x, x**2)[1]),
    "mean(close, 80, min_periods=5)": (80, lambda x, y: x.mean()),
    "stddev(close, 80, min_periods=5)": (80, lambda x, y: x.std(ddof=1)),
    "mreg_slope(2, 80, open, close, close^2, min_periods=6)": (80, lambda x, y: fit(y, x, x**2)[2]),
    "reg_slope(open, close, 80, min_periods=5)": (80, lambda x, y: fit(y, x)[1]),
    "ts_min(close, 80, min_periods=5)": (80, lambda x, y: x.min()),
}


@pytest.fixture(scope="module")
def long(panel_of):
    panel = panel_of(130, 6, seed=3)
    # constant windows have a test of their own: a plain evaluator leaves rounding there
    panel.fields["close"][:, 3] *= 1 + 0.01 * np.random.default_rng(1).random(130)
    return panel


def windows(panel, d, value, least):
    """The value over every window by slicing; pairs with a hole are left out where that is allowed."""
    x, y = panel.fields["close"], panel.fields["open"]
    out = np.full(x.shape, NAN)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in range(len(x)):
            for j in range(x.shape[1]):
                a, b = x[max(t - d + 1, 0) : t + 1, j], y[max(t - d + 1, 0) : t + 1, j]
                there = ~np.isnan(a) & ~np.isnan(b)
                if there.sum() >= least:
                    out[t, j] = finite(value(a[there], b[there]))
    return out


def agree(result, expected, scale=1.0):
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_allclose(result, expected, rtol=2e-8, atol=2e-9 * scale)


@pytest.fixture(scope="module")
def strict_results(long):
    return compile_library({f: f for f in WINDOWS}).run(long.fields, dates=long.dates)


@pytest.mark.parametrize("formula", WINDOWS)
def test_a_strict_window_is_its_definition_where_every_row_is_there(formula, strict_results, long):
    d, value = WINDOWS[formula]
    agree(strict_results[formula], windows(long, d, value, d), 50.0)


@pytest.fixture(scope="module")
def masked_results(long):
    return compile_library({f: f for f in MASKED}).run(long.fields, dates=long.dates)


@pytest.mark.parametrize("formula", MASKED)
def test_with_min_periods_the_missing_rows_are_left_out(formula, masked_results, long):
    d, value = MASKED[formula]
    least = int(formula.split("min_periods=")[1].rstrip(")"))
    agree(masked_results[formula], windows(long, d, value, least), 50.0)


def one(formula, x, settings="paper", **more):
    """A formula of close over one asset."""
    fields = {"close": np.array(x, float)[:, None], **{k: np.array(v, float)[:, None] for k, v in more.items()}}
    dates = np.datetime64("2020-01-01") + np.arange(len(x))
    return compile_library({"f": formula}, conventions(settings)).run(fields, dates=dates)["f"][:, 0]


def test_a_constant_window_has_no_variance_no_correlation_and_no_skewness():
    x, noise = [0.1] * 12, list(np.arange(12.0))
    assert (one("stddev(close, 5)", x)[4:] == 0).all()
    for d in (5, 8):
        assert np.isnan(one(f"corr(close, open, {d})", x, open=noise)).all()
    assert np.isnan(one("skew(close, 5)", x)).all()
    assert (one("corr(close, open, 5)", x, {"corr_zero_variance": "zero"}, open=noise)[4:] == 0).all()
    steps = [0.1 + 0.2, 0.3] * 6  # one rounding apart
    assert np.isnan(one("corr(close, open, 5)", steps, open=noise)).all()


def test_ties_are_averaged_in_ranks_and_go_to_the_oldest_or_latest_extreme():
    x = [1.0, 3.0, 3.0, 1.0, 3.0]
    assert one("ts_rank(close, 5)", x)[-1] == pytest.approx(4 / 5)
    assert one("ts_argmax(close, 5)", x)[-1] == 2
    assert one("highday(close, 5)", x)[-1] == 0
    assert one("lowday(close, 5)", x)[-1] == 1
    assert one("ts_argmax(close, 5)", x, {"argmax_basis": "days_ago"})[-1] == 3
    assert one("ts_argmax(close, 5)", x, {"argmax_basis": "oldest_0"})[-1] == 1
    assert one("ts_rank(close, 5)", x, {"ts_rank_scale": "unit"})[-1] == pytest.approx(3 / 4)
    assert one("ts_rank(close, 5)", x, {"ts_rank_ties": "min", "ts_rank_scale": "count"})[-1] == 3


@pytest.mark.parametrize(
    ("formula", "x", "expected"),
    [
        ("1 / close", [0.0, 2.0], [NAN, 0.5]),
        ("log(close)", [0.0, -1.0, math.e], [NAN, NAN, 1.0]),
        ("sqrt(close)", [-1.0, 4.0], [NAN, 2.0]),
        ("close ^ 0.3", [-1.0, 0.0, 1.0], [NAN, 0.0, 1.0]),
        ("close ^ -2.5", [0.0, 4.0], [NAN, 1 / 32]),
        ("signedpower(close, 3)", [-2.0, 2.0], [-8.0, 8.0]),
        ("signedpower(close, close)", [0.0, -2.0, 2.0], [0.0, -0.25, 4.0]),
        ("signedpower(close, 0)", [0.0, -3.0, 3.0], [0.0, -1.0, 1.0]),
        ("signedpower(close, -1)", [0.0, -2.0], [NAN, -0.5]),
        ("close ^ close", [0.0, 2.0], [1.0, 4.0]),
        ("close - 0.3", [0.1 + 0.2, 0.30000001], [0.0, 1e-8]),
        ("close + -0.3", [0.1 + 0.2, 1.3], [0.0, 1.0]),
        ("close < 0.30000000000000004", [0.3, 0.29, NAN], [0.0, 1.0, NAN]),
        ("close >= 0.30000000000000004", [0.3, 0.29], [1.0, 0.0]),
        ("close == 0.30000000000000004", [0.3, 0.31, NAN], [1.0, 0.0, NAN]),
        ("close != 0.30000000000000004", [0.3, 0.31], [0.0, 1.0]),
        ("close * close", [1e200, 2.0], [NAN, 4.0]),
        ("exp(close)", [1000.0, 0.0], [NAN, 1.0]),
        ("close + close", [1.7e308, 1.0], [NAN, 2.0]),
        ("sum(close, 2)", [1.7e308, 1.7e308, 1.0], [NAN, NAN, 1.7e308]),
        ("close % 3", [7.0, -1.0], [1.0, 2.0]),
        ("sign(close)", [-3.0, 0.0, 5.0], [-1.0, 0.0, 1.0]),
        ("clip(close, -1, 1)", [-3.0, 0.5, 5.0], [-1.0, 0.5, 1.0]),
        ("fillna(close, 7)", [NAN, 1.0], [7.0, 1.0]),
        ("isnan(close) ? 1 : 2", [NAN, 1.0], [1.0, 2.0]),
        ("coalesce(close, 3)", [NAN, 1.0], [3.0, 1.0]),
        ("max(close, 0)", [NAN, -1.0, 2.0], [NAN, 0.0, 2.0]),
        ("(close < 1) * -1", [NAN, 0.0, 2.0], [NAN, -1.0, 0.0]),
        ("close < 1 || close > 3", [NAN, 0.0, 2.0, 4.0], [NAN, 1.0, 0.0, 1.0]),
        ("!(close < 1) && close != 2", [0.0, 2.0, 4.0], [0.0, 0.0, 1.0]),
        ("close > 0 ? 1 / close : close", [0.0, 2.0], [0.0, 0.5]),
        ("close < 2 ? delay(close, 2) : close", [5.0, 5.0, 5.0, 1.0], [NAN, NAN, 5.0, 5.0]),
        ("close <= 2", [NAN, 2.0], [NAN, 1.0]),
    ],
)
def test_values_are_nan_where_undefined_and_only_there(formula, x, expected):
    np.testing.assert_allclose(one(formula, x), expected)


def test_a_lag_reads_one_row_whatever_lies_between():
    x = [1.0, 2.0, NAN, 4.0]
    np.testing.assert_allclose(one("delay(close, 3)", x), [NAN, NAN, NAN, 1.0])
    np.testing.assert_allclose(one("delay(delay(close), 2)", x), [NAN, NAN, NAN, 1.0])
    np.testing.assert_allclose(one("delta(close, 3)", x), [NAN, NAN, NAN, 3.0])
    np.testing.assert_allclose(one("pct_change(close, 1)", x), [NAN, 1.0, NAN, NAN])


def test_a_comparison_with_nothing_is_false_only_on_request_and_from_the_first_row_on():
    found = one("close < 1", [NAN, 2.0, NAN, 0.0, NAN], {"comparison_nan": "false"})
    np.testing.assert_array_equal(found, [NAN, 0.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(one("close < 1", [NAN, 2.0, NAN, 0.0]), [NAN, 0.0, NAN, 1.0])


def test_smoothing_starts_from_its_seed_and_holds_over_a_hole():
    x = [1.0, 2.0, 6.0, NAN, 4.0]
    np.testing.assert_allclose(one("ema(close, 3)", x), [NAN, NAN, 3.0, NAN, 3.5])
    np.testing.assert_allclose(one('ema(close, 3, seed="first")', x), [1.0, 1.5, 3.75, NAN, 3.875])
    np.testing.assert_allclose(one("sma(close, 4, 1)", x), [1.0, 1.25, 2.4375, NAN, 2.828125])
    np.testing.assert_allclose(one("wilder(close, 3)", x), [NAN, NAN, 3.0, NAN, 10 / 3])
    np.testing.assert_allclose(one("wilder_sum(close, 3)", x), [NAN, NAN, 8.0, NAN, 8 - 8 / 3 + 4])
    np.testing.assert_allclose(one("ewm(close, 0.5)", x), [1.0, 1.5, 3.75, NAN, 3.875])


def test_running_values_count_from_the_first_row_or_the_period():
    x = [1.0, 2.0, NAN, 3.0]
    np.testing.assert_allclose(one("cumsum(close)", x), [1, 3, NAN, 6])
    np.testing.assert_allclose(one("cumprod(close)", x), [1, 2, NAN, 6])
    np.testing.assert_allclose(one("cummax(-close)", x), [-1, -1, NAN, -1])
    np.testing.assert_allclose(one("barslast(close > 1)", x), [NAN, 0, NAN, 0])
    np.testing.assert_allclose(one("last_if(close, close < 2)", x), [1, 1, 1, 1])
    np.testing.assert_allclose(one("ffill(close, 1)", [NAN, 1.0, NAN, NAN]), [NAN, 1, 1, NAN])
    days = np.array(["2019-12-30", "2019-12-31", "2020-01-02", "2020-02-03"], "datetime64[D]")
    library = compile_library({"y": 'cumsum(close, reset="year")', "m": 'cumsum(close, reset="month")'})
    result = library.run({"close": np.ones((4, 1))}, dates=days)
    assert result["y"][:, 0].tolist() == [1, 2, 1, 2]
    assert result["m"][:, 0].tolist() == [1, 2, 1, 1]
