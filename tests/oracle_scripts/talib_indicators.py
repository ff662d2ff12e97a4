"""Run TA-Lib on every column of a panel, scaled as the catalogue's entries are.

    python talib_indicators.py PANEL.npz OUT.npz

``PANEL.npz`` holds ``[n_dates, n_assets]`` arrays open, high, low, close, volume, NaN where a name has no row.
TA-Lib is run anew on every stretch of rows without a gap.
``OUT.npz`` gets one array per catalogue id, NaN between the stretches.
"""

import sys

import numpy as np
import talib


def rolling(x, d, reduce):
    out = np.full(len(x), np.nan)
    for t in range(d - 1, len(x)):
        out[t] = reduce(x[t - d + 1 : t + 1])
    return out


def indicators(o, h, lo, c, v):
    aroon_down, aroon_up = talib.AROON(h, lo, 14)
    slow_k, slow_d = talib.STOCH(h, lo, c, 5, 3, 0, 3, 0)
    mama, fama = talib.MAMA(c, 0.5, 0.05)
    vortex_plus, vortex_minus = talib.VORTEX(h, lo, c, 14)
    volume_20 = rolling(v, 20, np.mean)
    obv = talib.OBV(c, v)
    return {
        "ta_plus_di_14": talib.PLUS_DI(h, lo, c, 14),
        "ta_minus_di_14": talib.MINUS_DI(h, lo, c, 14),
        "ta_dx_14": talib.DX(h, lo, c, 14),
        "ta_adx_14": talib.ADX(h, lo, c, 14),
        "ta_adxr_14": talib.ADXR(h, lo, c, 14),
        "ta_aroon_up_14": aroon_up,
        "ta_aroon_down_14": aroon_down,
        "ta_aroonosc_14": talib.AROONOSC(h, lo, 14),
        "ta_cci_14": talib.CCI(h, lo, c, 14),
        "ta_rsi_14": talib.RSI(c, 14),
        "ta_stoch_k": slow_k,
        "ta_stoch_d": slow_d,
        "ta_stochrsi": talib.STOCHRSI(c, 14, 5, 3, 0)[0],
        "ta_trix_30": talib.TRIX(c, 30),
        "ta_ultosc": talib.ULTOSC(h, lo, c, 7, 14, 28),
        "ta_willr_14": talib.WILLR(h, lo, c, 14),
        "ta_ppo": talib.PPO(c, 12, 26, 1),
        "ta_macdhist": talib.MACD(c, 12, 26, 9)[2] / c,
        "ta_adosc": talib.ADOSC(h, lo, c, v, 3, 10) / volume_20,
        "ta_obv_z60": (obv - rolling(obv, 60, np.mean)) / rolling(obv, 60, lambda w: np.std(w, ddof=1)),
        "ta_natr_14": talib.NATR(h, lo, c, 14),
        "ta_kama_30": talib.KAMA(c, 30) / c,
        "ta_dema_30": talib.DEMA(c, 30) / c,
        "ta_tema_30": talib.TEMA(c, 30) / c,
        "ta_t3_5": talib.T3(c, 5, 0.7) / c,
        "ta_mama": mama / c,
        "ta_fama": fama / c,
        "ta_sar": talib.SAR(h, lo, 0.02, 0.2) / c,
        "ta_trima_30": talib.TRIMA(c, 30) / c,
        "ta_midprice_14": talib.MIDPRICE(h, lo, 14) / c,
        "ta_ht_trendline": talib.HT_TRENDLINE(c) / c,
        "ta_tsf_14": talib.TSF(c, 14) / c,
        "ta_ht_dcperiod": talib.HT_DCPERIOD(c),
        "ta_ht_dcphase": talib.HT_DCPHASE(c),
        "ta_ht_sine": talib.HT_SINE(c)[0],
        "ta_ht_trendmode": talib.HT_TRENDMODE(c).astype(float),
        "ta_ht_phasor_q": talib.HT_PHASOR(c)[1] / c,
        "ta_avgdev_14": talib.AVGDEV(c, 14) / c,
        "ta_er_10": talib.ER(c, 10),
        "ta_vhf_28": talib.VHF(c, 28),
        "ta_massi": talib.MASSI(h, lo, 9, 25),
        "ta_vortex_plus_14": vortex_plus,
        "ta_vortex_minus_14": vortex_minus,
        "ta_tsi": talib.TSI(c, 25, 13),
        "ta_force_13": talib.EFI(c, v, 13) / rolling(c * v, 20, np.mean),
        "ta_pvo": talib.PVO(v, 12, 26, 1),
        "ta_coppock": talib.COPPOCK(c, 10, 11, 14),
        "ta_cvi_10": talib.CVI(h, lo, 10, 10),
        "ta_qstick_10": talib.QSTICK(o, c, 10) / c,
    }


def stretches(there):
    """First row and the row after the last of each run of rows that are there."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


def main(panel, out):
    with np.load(panel) as arrays:
        fields = [arrays[name].astype(float) for name in ("open", "high", "low", "close", "volume")]
    n_dates, n_assets = fields[0].shape
    results = {}
    for i in range(n_assets):
        for begin, end in stretches(np.isfinite(fields[3][:, i])):
            columns = [np.ascontiguousarray(x[begin:end, i]) for x in fields]
            for name, values in indicators(*columns).items():
                results.setdefault(name, np.full((n_dates, n_assets), np.nan))[begin:end, i] = values
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
