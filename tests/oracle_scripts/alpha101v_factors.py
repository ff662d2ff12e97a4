"""Run alpha101v's 101 alphas in the oracle environment.

    python alpha101v_factors.py CONVENTION PANEL.npz OUT.npz

``PANEL.npz`` holds ``[n_dates, n_assets]`` arrays open, high, low, close, volume, vwap, returns, market_cap and integer
codes sector, industry, subindustry. ``CONVENTION`` is ``own`` (alpha101v as it comes: rank in [0, 1], population
standard deviation, argmax in days ago) or ``paper`` (its own switches set to rank over count, sample deviation,
position from the oldest). Both with a decay that wants whole windows (alpha101v's research mode), because the other
default reads a missing value as zero.
"""

import functools
import sys

import alpha101v
import numpy as np
import pandas as pd

SWITCHES = {
    "rank": {"normalization": "one_over_n"},
    "ts_rank": {"normalization": "one_over_n"},
    "stddev": {"ddof": 1},
    "covariance": {"ddof": 1},
    "ts_argmax": {"basis": "window_start"},
    "ts_argmin": {"basis": "window_start"},
}


def main(convention, panel, out):
    with np.load(panel) as arrays:
        frames = {name: pd.DataFrame(arrays[name]) for name in arrays.files}
    for frame in frames.values():
        frame.index = pd.date_range("2020-01-01", periods=len(frame), freq="B")
    frames["Open"], frames["cap"] = frames.pop("open"), frames.pop("market_cap")
    frames["amount"] = frames["vwap"] * frames["volume"]
    for level in ("sector", "industry", "subindustry"):
        frames[f"ind_{level}"] = frames.pop(level)
    if convention == "paper":
        for name, switches in SWITCHES.items():
            setattr(alpha101v.factors, name, functools.partial(getattr(alpha101v.factors, name), **switches))
    results = {}
    with alpha101v.research_mode():
        for name in alpha101v.ALL_FACTOR_NAMES:
            values = alpha101v.run_factor_raw(name, frames).to_numpy(dtype=float)
            results[name] = np.where(np.isfinite(values), values, np.nan)
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
