"""A library with one of everything, and how tests run it over a random panel."""

import numpy as np

# one of everything: each kernel, lags across phases, shared buffers, recursion, conditionals, groups
FORMULAS = {
    "alpha": "rank(ts_argmax(signedpower(returns < 0 ? stddev(returns, 6) : close, 2), 5)) - 0.5",
    "lagged_rank": "corr(rank(close), delay(rank(delay(rank(volume), 2)), 1), 6)",
    "windows": "ts_rank(close, 5) + ts_max(high, 7) - ts_min(low, 4) + decay_linear(vwap, 6) * product(close / open, 3)",  # noqa: E501
    "long": "sum(returns, 70) + mean(close, 66) / stddev(close, 80) + corr(close, volume, 65) + ts_max(close, 67)",
    "moments": "skew(returns, 8) + kurt(returns, 9) + rsquare(close, 7) + avedev(close, 5)",
    "sorted": "ts_quantile(close, 9, 0.8) + mean_largest(returns, 8, 3) + median(volume, 5)",
    "masked": "mean(returns, 20, min_periods=5) + reg_slope(returns, benchmark_return, 15, min_periods=6) + ew_mean(close, 9, 4)",  # noqa: E501
    "regression": "mreg_slope(2, 12, returns, benchmark_return, delay(benchmark_return)) + coskew(returns, benchmark_return, 9)",  # noqa: E501
    "long_fit": "mreg_residual(66, returns, benchmark_return, delay(benchmark_return)) + mreg_slope(1, 70, close, volume, open, min_periods=20)",  # noqa: E501
    "smooth": "ema(close, 6) + sma(volume, 9, 2) + wilder_sum(high - low, 5) + kama(close, 5)",
    "cycle": "ht_sine(close) + mama(close, 0.5, 0.05) + ht_trendmode(close) + ht_dcperiod(close)",
    "path": 'sar(high, low, 0.02, 0.2) + cumsum(returns, reset="month") + barslast(close > open) + ffill(close, 3)',
    "across": "zscore(winsorize(close, 0.1)) + cs_wmean(returns, market_cap) + cs_residual(close, open, volume)",
    "group": "indneutralize(close, industry) + group_rank(volume, sector) + group_wmean(returns, market_cap, sector)",
    "market": "returns - mkt_return + industry_return",
    "benchmark": "reg_residual_std(returns, benchmark_return, 10)",
    "market_past": "reg_slope(delay(returns, 1), delay(mkt_return, 2), 8, min_periods=4) + cs_mslope(1, close, open)",
    "market_long": "reg_r2(returns, mkt_return, 70, min_periods=10) - mreg_slope(2, 66, returns, mkt_return, delay(mkt_return, 3), min_periods=9)",  # noqa: E501
    "market_path": 'close / ema(cs_mean(close), 5) + median(cs_sum(volume), 7) + ts_max(cs_std(returns), 70) + cumsum(mkt_return, reset="year")',  # noqa: E501
    "filled": "mean(fillna(returns, 0), 6) + delay(isnan(close) ? 1 : 0, 2) - delay(coalesce(volume, 3) * 2, 1)",
}


def rows(panel, t, names=slice(None)):
    fields = {name: values[t, names] for name, values in panel.fields.items()}
    groups = {name: values[t, names] for name, values in panel.groups.items()}
    return fields, groups, panel.dates[t]


def batch(library, panel, dates=slice(None), **kwargs):
    fields = {name: values[dates] for name, values in panel.fields.items()}
    groups = {name: values[dates] for name, values in panel.groups.items()}
    return library.run(fields, groups=groups, dates=panel.dates[dates], **kwargs)


def same(a, b):
    np.testing.assert_array_equal(a, b)


def listing(panel, listed, shared=()):
    """Blank each name's rows before its listing; what is `shared` stands for every name."""
    unlisted = np.arange(len(panel.dates))[:, None] < listed
    for name, values in panel.fields.items():
        if name not in shared:
            values[unlisted] = np.nan
    for codes in panel.groups.values():
        codes[unlisted] = -1
    return panel
