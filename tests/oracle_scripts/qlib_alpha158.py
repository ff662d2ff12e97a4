"""Alpha158 with whole windows: qlib's operators written out with pandas, in the oracle environment.

    python qlib_alpha158.py PANEL.npz OUT.npz

qlib's own operators (pyqlib_formulas.py) give a value from the first row of a window on, and take a comparison with a
missing value as false; here windows are whole and such a comparison is undefined. Else they are qlib's: Std with ddof
1, Rank as a share, Quantile by linear interpolation, IdxMax and IdxMin counted from 1 at the oldest row, Slope,
Rsquare and Resi against 1..N, Corr NaN where a standard deviation is within 2e-5 of zero. ``PANEL.npz`` holds
``[n_dates, n_assets]`` arrays open, high, low, close, volume, vwap.
"""

import sys

import numpy as np
import pandas as pd

WINDOWS = (5, 10, 20, 30, 60)
CORR_TOLERANCE = 2e-5


class Operators:
    """Rolling operators over frames of dates by assets."""

    def rolling(self, x, n):
        return x.rolling(n)

    def argument(self, x, n, function):
        return self.rolling(x, n).apply(lambda w: function(w) + 1, raw=True)

    def corr(self, x, y, n):
        result = self.rolling(x, n).corr(y)
        flat = np.isclose(self.rolling(x, n).std(), 0, atol=CORR_TOLERANCE)
        flat |= np.isclose(self.rolling(y, n).std(), 0, atol=CORR_TOLERANCE)
        return result.mask(flat)

    def trend(self, x, n, kind):
        def fit(window):
            steps = np.arange(n, dtype=float) + 1
            slope, intercept = np.polyfit(steps, window, 1)
            residuals = window - (slope * steps + intercept)
            if kind == "slope":
                return slope
            if kind == "residual":
                return residuals[-1]
            total = ((window - window.mean()) ** 2).sum()
            return 1 - (residuals**2).sum() / total if total > 0 else np.nan

        return self.rolling(x, n).apply(fit, raw=True)


def candles(o, h, low, c, vwap):
    span, top, bottom = h - low + 1e-12, np.maximum(o, c), np.minimum(o, c)
    return {
        "kmid": (c - o) / o, "klen": (h - low) / o, "kmid2": (c - o) / span,
        "kup": (h - top) / o, "kup2": (h - top) / span, "klow": (bottom - low) / o, "klow2": (bottom - low) / span,
        "ksft": (2 * c - h - low) / o, "ksft2": (2 * c - h - low) / span,
        "open0": o / c, "high0": h / c, "low0": low / c, "vwap0": vwap / c,
    }  # fmt: skip


def prices(q, h, low, c, d):
    highest, lowest = q.rolling(h, d).max(), q.rolling(low, d).min()
    place_high, place_low = q.argument(h, d, np.argmax), q.argument(low, d, np.argmin)
    return {
        "roc": c.shift(d) / c, "ma": q.rolling(c, d).mean() / c, "std": q.rolling(c, d).std() / c,
        "beta": q.trend(c, d, "slope") / c, "rsqr": q.trend(c, d, "r2"), "resi": q.trend(c, d, "residual") / c,
        "max": highest / c, "min": lowest / c,
        "qtlu": q.rolling(c, d).quantile(0.8) / c, "qtld": q.rolling(c, d).quantile(0.2) / c,
        "rank": q.rolling(c, d).rank(pct=True), "rsv": (c - lowest) / (highest - lowest + 1e-12),
        "imax": place_high / d, "imin": place_low / d, "imxd": (place_high - place_low) / d,
    }  # fmt: skip


def moves(q, c, v, d):
    move, change = c - c.shift(1), v - v.shift(1)
    known = move.notna()
    rising, falling = (move > 0).astype(float).where(known), (move < 0).astype(float).where(known)
    weighted = (c / c.shift(1) - 1).abs() * v

    def total(x):
        return q.rolling(x, d).sum()

    gain, loss, size = total(move.clip(lower=0)), total((-move).clip(lower=0)), total(move.abs()) + 1e-12
    more, less, churn = total(change.clip(lower=0)), total((-change).clip(lower=0)), total(change.abs()) + 1e-12
    up, down = q.rolling(rising, d).mean(), q.rolling(falling, d).mean()
    return {
        "corr": q.corr(c, np.log(v + 1), d), "cord": q.corr(c / c.shift(1), np.log(v / v.shift(1) + 1), d),
        "cntp": up, "cntn": down, "cntd": up - down,
        "sump": gain / size, "sumn": loss / size, "sumd": (gain - loss) / size,
        "vma": q.rolling(v, d).mean() / (v + 1e-12), "vstd": q.rolling(v, d).std() / (v + 1e-12),
        "wvma": q.rolling(weighted, d).std() / (q.rolling(weighted, d).mean() + 1e-12),
        "vsump": more / churn, "vsumn": less / churn, "vsumd": (more - less) / churn,
    }  # fmt: skip


def main(panel, out):
    with np.load(panel) as arrays:
        o, h, low, c, v, vwap = (
            pd.DataFrame(arrays[name]) for name in ("open", "high", "low", "close", "volume", "vwap")
        )
    operators = Operators()
    results = candles(o, h, low, c, vwap)
    for d in WINDOWS:
        for name, values in (prices(operators, h, low, c, d) | moves(operators, c, v, d)).items():
            results[f"{name}{d}"] = values
    np.savez(out, **{name: values.to_numpy(dtype=float) for name, values in results.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
