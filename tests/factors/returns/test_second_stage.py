"""Styles whose Gram matrices come from elsewhere, short of digits: the returns are those of float64 all the same."""

import numpy as np
import polars as pl
import pytest

from factors.model import estimate_factor_returns
from factors.returns.second_stage import style_returns

N_DATES, N_ASSETS, N_STYLES = 70, 90, 5


def frames(seed=0, spoil=None):
    rng = np.random.default_rng(seed)
    dates = np.datetime64("2020-01-01") + np.arange(N_DATES)
    n = N_DATES * N_ASSETS
    symbols = [f"S{i:03}" for i in range(N_ASSETS)] * N_DATES
    base = pl.DataFrame({"date": pl.Series(np.repeat(dates, N_ASSETS)), "symbol": symbols})
    styles = rng.standard_normal((n, N_STYLES))
    styles[:, 1] = styles[:, 0] + 0.1 * styles[:, 1]  # two of them nearly the same
    sector = np.arange(n) % 7
    y = 0.02 * rng.standard_t(3, n) + styles @ [0.01, -0.004, 0.0, 0.002, 0.003]
    made = {
        "returns_df": base.with_columns(asset_returns=pl.Series(y)),
        "mkt_cap_df": base.with_columns(market_cap=pl.Series(np.exp(rng.normal(22, 1.5, n)))),
        "sector_df": base.with_columns([pl.Series(f"sector{k}", (sector == k).astype(float)) for k in range(7)]),
        "style_df": base.with_columns([pl.Series(f"style{k}", styles[:, k]) for k in range(N_STYLES)]),
    }
    return made if spoil is None else spoil(made)


def absent(made):
    """Names that are not there on some dates."""
    return {**made, "returns_df": made["returns_df"].filter(pl.int_range(pl.len()) % 11 != 3)}


def missing(made):
    """A return that is missing: its date has no factor returns."""
    values = pl.when(pl.int_range(pl.len()) == 400).then(None).otherwise(pl.col("asset_returns"))
    return {**made, "returns_df": made["returns_df"].with_columns(asset_returns=values)}


def alike(made):
    """Two styles that are the same on one date: what is over is split by the least norm."""
    first = pl.col("date") == made["style_df"]["date"][0]
    return {
        **made,
        "style_df": made["style_df"].with_columns(style3=pl.when(first).then("style2").otherwise("style3")),
    }


def grams(kind):
    """Matrices with the digits of a kind, scaled into its range as the kernels do."""

    def made(X, w, y):
        made.dates += len(X)
        scales = w.max(), np.abs(y).max()
        X, w, y = (np.asarray(array, dtype=kind) for array in (X, w / scales[0], y / scales[1]))
        weighted = (X * w[:, :, None]).transpose(0, 2, 1)
        left, right = weighted @ X, (weighted @ y[:, :, None])[:, :, 0]
        return left.astype(np.float64) * scales[0], right.astype(np.float64) * scales[0] * scales[1]

    made.dates = 0
    return made


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("spoil", [None, absent, missing, alike])
@pytest.mark.parametrize(("winsor", "residualize"), [(0.05, True), (None, False)])
def test_returns_and_residuals_are_those_of_one_pass(kind, spoil, winsor, residualize):
    given = frames(spoil=spoil)
    how = {"winsor_factor": winsor, "residualize_styles": residualize}
    right, right_left = estimate_factor_returns(**given, **how)
    elsewhere = grams(kind)
    found, left = estimate_factor_returns(**given, **how, grams=elsewhere)
    assert elsewhere.dates == N_DATES - (spoil is missing)
    assert found.columns == right.columns
    assert left.columns == right_left.columns
    for one, other in ((found, right), (left, right_left)):
        values, expected = (frame.drop("date").to_numpy() for frame in (one, other))
        np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-11)


def test_a_matrix_that_is_too_far_off_solves_nothing():
    rng = np.random.default_rng(0)
    x, w, y = rng.standard_normal((3, 4, 50)), rng.uniform(1, 2, (3, 50)), rng.standard_normal((3, 50))

    def wrong(X, w, y):
        left = np.einsum("tni,tn,tnj->tij", X, w, X)
        left[1] = np.eye(4)
        left[2, 0, 0] = np.nan
        return left, np.einsum("tni,tn->ti", X, w * y)

    found, solved = style_returns(x, w, y, wrong)
    assert solved.tolist() == [True, False, False]
    np.testing.assert_allclose(found[0], np.linalg.lstsq((x[0] * np.sqrt(w[0])).T, y[0] * np.sqrt(w[0]), rcond=None)[0])
