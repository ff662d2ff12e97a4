"""Scores from long frames count who is there on the date, and nobody else."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.styles import factor_mom

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]
RETURNS = {
    "A": [0.01, 0.02, 0.03, 0.01, 0.0, 0.02],
    "B": [-0.01, 0.0, 0.01, -0.02, 0.01, 0.0],
    "C": [0.02, -0.01, 0.0, 0.01, 0.02, 0.01],
    "Z": [0.30, 0.25, 0.20],
}


def long(series):
    rows = [(day, name, r) for name, values in series.items() for day, r in zip(DAYS, values, strict=False)]
    return pl.DataFrame(rows, schema=["date", "symbol", "asset_returns"], orient="row")


def test_momentum_of_the_others_does_not_see_a_name_that_has_left():
    scores = factor_mom(long(RETURNS), trailing_days=2, half_life=2, lag=2, winsor_factor=0.0).collect()
    on = scores.filter(pl.col("date") == DAYS[4]).sort("symbol")
    assert on["symbol"].to_list() == ["A", "B", "C"]
    assert on["mom_score"].to_list() == pytest.approx([1.092, -0.222, -0.871], abs=5e-4)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    trailing=st.integers(1, 4),
    lag=st.integers(0, 5),
    winsor=st.sampled_from([0.0, 0.1]),
)
def test_momentum_of_any_names_is_that_of_the_names_with_a_row_on_the_date(seed, trailing, lag, winsor):
    """One name at a time over its own rows, then one date at a time over the names that have a row."""
    rng = np.random.default_rng(seed)
    there = rng.random((25, 6)) < 0.8
    there[:, 0] = True
    returns = rng.normal(0.0, 0.02, there.shape)
    weights = 0.5 ** (np.arange(trailing)[::-1] / 3.0)
    raw = np.full(there.shape, np.nan)
    for name in range(6):
        rows = np.flatnonzero(there[:, name])
        for k in range(lag + trailing - 1, len(rows)):
            window = returns[rows[k - lag - trailing + 1 : k - lag + 1], name]
            raw[rows[k], name] = np.prod(1.0 + weights * window) - 1.0
    expected = np.full(there.shape, np.nan)
    for t in range(25):
        known = raw[t][np.isfinite(raw[t])]
        if len(known) > 1:
            clipped = np.clip(raw[t], *np.percentile(known, [100 * winsor, 100 - 100 * winsor]))
            expected[t] = (clipped - np.nanmean(clipped)) / np.nanstd(clipped, ddof=1)
    dates = [dt.date(2024, 1, 1) + dt.timedelta(days=t) for t in range(25)]
    cells = [(dates[t], f"S{j}", returns[t, j]) for t, j in np.argwhere(there)]
    frame = pl.DataFrame(cells, schema=["date", "symbol", "asset_returns"], orient="row")
    found = factor_mom(frame, trailing, 3, lag, winsor).collect()["mom_score"].cast(pl.Float64).to_numpy()
    np.testing.assert_allclose(found, expected[there], rtol=1e-8, atol=1e-8)
