"""The technical indicators restated for names that pause: TA-Lib's smoothers on the rows that are there, windows plain.

    python talib_pauses.py PANEL.npz OUT.npz

TA-Lib knows no missing row. Here a window is of the panel's rows and missing where one of them is; a change is from the
row before and missing where that is; and what smooths without end passes over what is missing and goes on where it was:
TA-Lib's own EMA, RMA, SAR, MAMA and Hilbert transforms are given the values that are there and none else. Every average
begins with the mean of its own first values. The rest is written out in numpy from the sources that the entries cite,
without anything of ours; on a name without a pause it is TA-Lib's, which the test holds it to.
"""

import sys

import numpy as np
import talib
from numpy.lib.stride_tricks import sliding_window_view


def present(function, *series):
    """Give TA-Lib the rows on which all series are there, and put its values back on them."""
    there = np.isfinite(series).all(axis=0)
    out = np.full(len(there), np.nan)
    if there.any():
        out[there] = function(*(np.ascontiguousarray(x[there]) for x in series))
    return out


def ema(x, n):
    return present(lambda kept: talib.EMA(kept, n), x)


def wilder(x, n):
    return present(lambda kept: talib.RMA(kept, n), x)


def wilder_sum(x, n):
    """Wilder's sum: the first n - 1 values added, then less an n-th of itself and the new value."""

    def run(kept):
        out, total = np.full(len(kept), np.nan), kept[: n - 1].sum()
        for t in range(n - 1, len(kept)):
            out[t] = total = total - total / n + kept[t]
        return out

    return present(run, x)


def over(n, function, x):
    """Function of every window of n rows, missing where a row is."""
    out = np.full(len(x), np.nan)
    if len(x) >= n:
        out[n - 1 :] = function(sliding_window_view(x, n))
    return out


def before(x, n=1):
    return np.concatenate([np.full(n, np.nan), x[:-n]])


def mean(x, n):
    return over(n, lambda w: w.mean(axis=1), x)


def total(x, n):
    return over(n, lambda w: w.sum(axis=1), x)


def highest(x, n):
    return over(n, lambda w: w.max(axis=1), x)


def lowest(x, n):
    return over(n, lambda w: w.min(axis=1), x)


def deviation(x, n):
    return over(n, lambda w: np.abs(w - w.mean(axis=1, keepdims=True)).mean(axis=1), x)


def days_since(x, n, place):
    """Rows since the latest of the window's extremes."""
    return over(n, lambda w: np.where(np.isnan(w).any(axis=1), np.nan, place(w[:, ::-1], axis=1)), x)


def kaufman(c, n):
    """Adaptive average; it begins at the price before the first whole window and stays where it was over a pause."""
    path = total(np.abs(c - before(c)), n)
    out, level = np.full(len(c), np.nan), np.nan
    for t in range(len(c)):
        if np.isfinite(path[t]):
            change = c[t] - c[t - n]
            ratio = 1.0 if path[t] <= change else abs(change / path[t])
            level = c[t - 1] if np.isnan(level) else level
            level += (ratio * (2 / 3 - 2 / 31) + 2 / 31) ** 2 * (c[t] - level)
            out[t] = level
    return out


def forecast(w):
    steps = np.arange(w.shape[1]) - (w.shape[1] - 1) / 2
    slope = (w * steps).sum(axis=1) / (steps**2).sum()
    return w.mean(axis=1) + slope * (w.shape[1] + 1) / 2


def directional(h, lo, c):
    up, down = h - before(h), before(lo) - lo
    known = np.isfinite(up) & np.isfinite(down)
    ranges = wilder_sum(true_range(h, lo, c), 14)
    plus = 100 * wilder_sum(np.where(known, np.where((up > down) & (up > 0), up, 0.0), np.nan), 14) / ranges
    minus = 100 * wilder_sum(np.where(known, np.where((down > up) & (down > 0), down, 0.0), np.nan), 14) / ranges
    dx = 100 * np.abs(plus - minus) / (plus + minus)
    adx = wilder(dx, 14)
    return {
        "ta_plus_di_14": plus, "ta_minus_di_14": minus, "ta_dx_14": dx, "ta_adx_14": adx,
        "ta_adxr_14": (adx + before(adx, 13)) / 2,
    }  # fmt: skip


def true_range(h, lo, c):
    return np.maximum(h - lo, np.maximum(np.abs(h - before(c)), np.abs(lo - before(c))))


def oscillators(h, lo, c):
    move, ranges = c - before(c), true_range(h, lo, c)
    up, down = (14 - days_since(x, 15, place) for x, place in ((h, np.argmax), (lo, np.argmin)))
    typical = (h + lo + c) / 3
    gain, loss = wilder(np.maximum(move, 0), 14), wilder(np.maximum(-move, 0), 14)
    rsi = 100 * gain / (gain + loss)
    fast = 100 * (c - lowest(lo, 5)) / (highest(h, 5) - lowest(lo, 5))
    pressure = c - np.minimum(lo, before(c))
    seven, fourteen, month = (total(pressure, n) / total(ranges, n) for n in (7, 14, 28))
    span = highest(h, 14) - lowest(lo, 14)
    triple = ema(ema(ema(c, 30), 30), 30)
    return {
        "ta_aroon_up_14": 100 * up / 14, "ta_aroon_down_14": 100 * down / 14, "ta_aroonosc_14": 100 * (up - down) / 14,
        "ta_cci_14": (typical - mean(typical, 14)) / (0.015 * deviation(typical, 14)),
        "ta_rsi_14": rsi, "ta_stoch_k": mean(fast, 3), "ta_stoch_d": mean(mean(fast, 3), 3),
        "ta_stochrsi": 100 * (rsi - lowest(rsi, 5)) / (highest(rsi, 5) - lowest(rsi, 5)),
        "ta_trix_30": 100 * (triple / before(triple) - 1),
        "ta_ultosc": 100 * (4 * seven + 2 * fourteen + month) / 7,
        "ta_willr_14": -100 * (highest(h, 14) - c) / span,
        "ta_natr_14": 100 * wilder(ranges, 14) / c,
        "ta_vortex_plus_14": total(np.abs(h - before(lo)), 14) / total(ranges, 14),
        "ta_vortex_minus_14": total(np.abs(lo - before(h)), 14) / total(ranges, 14),
        "ta_tsi": 100 * ema(ema(move, 25), 13) / ema(ema(np.abs(move), 25), 13),
        "ta_coppock": over(
            10, lambda w: w @ np.arange(1.0, 11) / 55, 100 * (c / before(c, 14) + c / before(c, 11) - 2)
        ),
        "ta_er_10": np.abs(c - before(c, 10)) / total(np.abs(move), 10),
        "ta_vhf_28": (highest(c, 28) - lowest(c, 28)) / total(np.abs(move), 28),
    }  # fmt: skip


def averages(o, h, lo, c):
    one = ema(c, 30)
    two = ema(one, 30)
    t3 = [c]
    for _ in range(6):
        t3.append(ema(t3[-1], 5))
    a = 0.7  # Tillson's volume factor
    macd = ema(c, 12) - ema(c, 26)
    spread = ema(h - lo, 9)
    wide = ema(h - lo, 10)
    return {
        "ta_ppo": 100 * macd / ema(c, 26), "ta_macdhist": (macd - ema(macd, 9)) / c,
        "ta_kama_30": kaufman(c, 30) / c,
        "ta_dema_30": (2 * one - two) / c, "ta_tema_30": (3 * one - 3 * two + ema(two, 30)) / c,
        "ta_t3_5": (
            -(a**3) * t3[6] + 3 * (a**2 + a**3) * t3[5] - 3 * (2 * a**2 + a + a**3) * t3[4] + (1 + a) ** 3 * t3[3]
        ) / c,
        "ta_trima_30": mean(mean(c, 15), 16) / c, "ta_midprice_14": (highest(h, 14) + lowest(lo, 14)) / 2 / c,
        "ta_tsf_14": over(14, forecast, c) / c, "ta_avgdev_14": deviation(c, 14) / c,
        "ta_massi": total(spread / ema(spread, 9), 25), "ta_cvi_10": 100 * (wide / before(wide, 10) - 1),
        "ta_qstick_10": mean(c - o, 10) / c,
        "ta_sar": present(lambda high, low: talib.SAR(high, low, 0.02, 0.2), h, lo) / c,
    }  # fmt: skip


def chaikin(place, n):
    """Average of the accumulation line over n rows, begun as if every bar before the first had been as the first."""
    line, alpha = np.cumsum(place), 2 / (n + 1)
    out, level = np.empty(len(line)), line[0] - line[0] / alpha
    for t, today in enumerate(line):
        out[t] = level = level + alpha * (today - level)
    return out


def volumes(h, lo, c, v):
    place = np.where(h == lo, 0.0, ((c - lo) - (h - c)) / (h - lo)) * v
    fast, slow = (present(lambda kept, n=n: chaikin(kept, n), place) for n in (3, 10))
    flow = present(np.cumsum, np.sign(c - before(c)) * v)
    return {
        "ta_adosc": (fast - slow) / mean(v, 20),
        "ta_obv_z60": (flow - mean(flow, 60)) / over(60, lambda w: w.std(axis=1, ddof=1), flow),
        "ta_force_13": ema((c - before(c)) * v, 13) / mean(c * v, 20),
        "ta_pvo": 100 * (ema(v, 12) - ema(v, 26)) / ema(v, 26),
    }


def trend_mode(kept):
    """TA-Lib's whole numbers have no NaN before the transform has settled."""
    mode = talib.HT_TRENDMODE(kept).astype(float)
    mode[:63] = np.nan
    return mode


def cycles(c):
    return {
        "ta_mama": present(lambda kept: talib.MAMA(kept, 0.5, 0.05)[0], c) / c,
        "ta_fama": present(lambda kept: talib.MAMA(kept, 0.5, 0.05)[1], c) / c,
        "ta_ht_trendline": present(talib.HT_TRENDLINE, c) / c,
        "ta_ht_dcperiod": present(talib.HT_DCPERIOD, c),
        "ta_ht_dcphase": present(talib.HT_DCPHASE, c),
        "ta_ht_sine": present(lambda kept: talib.HT_SINE(kept)[0], c),
        "ta_ht_trendmode": present(trend_mode, c),
        "ta_ht_phasor_q": present(lambda kept: talib.HT_PHASOR(kept)[1], c) / c,
    }


def main(panel, out):
    with np.load(panel) as arrays:
        columns = [arrays[name].astype(float) for name in ("open", "high", "low", "close", "volume")]
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for o, h, lo, c, v in zip(*(x.T for x in columns), strict=True):
            found.append(
                directional(h, lo, c) | oscillators(h, lo, c) | averages(o, h, lo, c) | volumes(h, lo, c, v) | cycles(c)
            )
    values = {name: np.stack([of[name] for of in found], axis=1) for name in found[0]}
    np.savez(out, **{name: np.where(np.isfinite(x), x, np.nan) for name, x in values.items()})  # a quotient by 0


if __name__ == "__main__":
    main(*sys.argv[1:])
