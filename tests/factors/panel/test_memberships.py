"""Names of several sectors: their shares are exposures, held to a plain dense regression."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors import FactorModel, ModelSettings, Panel, sample_market
from factors.errors import FactorError
from factors.factor_model.settings import RegressionSettings
from factors.numeric.kernels import exposure_rows
from factors.panel.corrections import ROW, corrected
from factors.panel.memberships import SHARES, label_of, shares_table
from factors.portfolio.exposures import exposure_matrix
from factors.portfolio.risk import portfolio_risk
from factors.returns.regression import CrossSectionalRegression

SECTORS = ("Energy", "Tech", "Utilities")
MIXED = {0: (0.5, 0.5, 0.0), 1: (0.2, 0.3, 0.5), 5: (0.0, 0.75, 0.25)}


def dense_fit(y, X, w, c):
    """Weighted least squares under c'f = 0, by the conditions of Lagrange; X is whole."""
    K = X.shape[1]
    system = np.zeros((K + 1, K + 1))
    system[:K, :K] = X.T @ (w[:, None] * X)
    system[:K, K] = system[K, :K] = c
    # A column of nothing gets 0, as the least of all answers.
    return np.linalg.lstsq(system, np.concatenate([X.T @ (w * y), [0.0]]), rcond=None)[0][:K]


def problem(seed, n=60, n_styles=3):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(3), 4)
    codes = rng.integers(0, 3 + 4, n).astype(np.int16)
    codes[:3] = np.arange(3)  # no sector is without a name of its own
    caps = np.exp(rng.standard_normal(n) + 20.0)
    styles = rng.standard_normal((n_styles, n))
    S = np.vstack([np.eye(3), shares])[codes]
    X = np.column_stack([np.ones(n), S, styles.T])
    y = 0.02 * rng.standard_normal(n)
    return y, X, S, codes, shares, caps, styles


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), constraint=st.sampled_from(["cap_weighted", "unweighted"]))
def test_factor_returns_are_those_of_the_dense_regression_on_the_shares(seed, constraint):
    y, X, S, codes, shares, caps, styles = problem(seed)
    w = np.sqrt(caps)
    c = np.zeros(X.shape[1])
    c[1:4] = caps @ S if constraint == "cap_weighted" else 1.0
    f = dense_fit(y, X, w, c)
    model = CrossSectionalRegression(RegressionSettings(winsor_factor=None, sector_constraint=constraint))
    row = {"weights": w[None], "caps": caps[None], "codes": codes[None], "styles": styles[None],
           "mask": np.ones((1, len(y)), bool)}  # fmt: skip
    out = model.fit(y[None], **row, n_sectors=3, shares=shares)
    np.testing.assert_allclose(out.factor_returns[0], f, rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(out.residuals[0], y - X @ f, atol=1e-12)
    e, spare = y - X @ f, len(y) - (X.shape[1] - 1)
    # Standard errors by the null space of the constraint.
    Z = np.linalg.svd(c[None, :])[2][1:].T
    V = Z @ np.linalg.inv(Z.T @ (X.T * w) @ X @ Z) @ Z.T
    np.testing.assert_allclose(out.standard_errors[0], np.sqrt((w @ e**2) / spare * np.diag(V)), rtol=1e-7)
    one = {name: values[0] for name, values in row.items()}
    P = model.mimicking_weights(**one, n_sectors=3, shares=shares)
    np.testing.assert_allclose(P @ y, f, atol=1e-12)


def test_without_mixed_names_a_table_of_shares_changes_no_bit():
    y, _, _, codes, shares, caps, styles = problem(3)
    codes = np.minimum(codes, 2)
    row = (np.sqrt(caps)[None], caps[None], codes[None], styles[None], np.ones((1, len(y)), bool), 3)
    model = CrossSectionalRegression(RegressionSettings(thin_sector_names=30.0, huber=1.345))
    one, other = model.fit(y[None], *row), model.fit(y[None], *row, shares=shares)
    np.testing.assert_array_equal(one.factor_returns, other.factor_returns)
    np.testing.assert_array_equal(one.residuals, other.residuals)


def test_a_share_of_one_is_the_sector_itself_also_where_thin_sectors_are_shrunk():
    y, _, _, codes, _, caps, styles = problem(4)
    pure = np.minimum(codes, 2)
    same = np.where(np.arange(len(y)) % 2, pure, pure + 3).astype(np.int16)
    rest = (styles[None], np.ones((1, len(y)), bool), 3)
    for chosen in (RegressionSettings(thin_sector_names=40.0), RegressionSettings(design="two_stage", huber=1.345)):
        model = CrossSectionalRegression(chosen)
        one = model.fit(y[None], np.sqrt(caps)[None], caps[None], pure[None], *rest)
        other = model.fit(y[None], np.sqrt(caps)[None], caps[None], same[None], *rest, shares=np.eye(3))
        np.testing.assert_allclose(one.factor_returns, other.factor_returns, rtol=1e-9, atol=1e-14)


def test_exposures_of_a_few_names_are_those_of_the_kernel():
    _, X, _, codes, shares, caps, styles = problem(5)
    expected = np.zeros(X.shape)
    exposure_rows(styles, caps, codes, shares, expected)
    np.testing.assert_array_equal(expected, X)
    np.testing.assert_array_equal(exposure_matrix(styles, caps > 0.0, codes, 3, shares), X)


@pytest.fixture(scope="module")
def frame():
    """Sixty days of thirty names with columns of shares; three names are of several sectors."""
    panel = sample_market(n_assets=30, n_days=90, seed=6).panel
    long = panel.to_frame().drop("sector", "industry", "subindustry", strict=False)
    names = {symbol: i for i, symbol in enumerate(panel.symbols)}
    shares = [MIXED.get(names[s], tuple(float(k == names[s] % 3) for k in range(3))) for s in long["symbol"]]
    return long.with_columns(pl.Series(name, [row[k] for row in shares]) for k, name in enumerate(SECTORS))


@pytest.fixture(scope="module")
def panel(frame):
    return Panel.from_frame(frame, sector_encodings=SECTORS)


@pytest.fixture(scope="module")
def fitted(panel):
    return FactorModel(ModelSettings(regression=RegressionSettings(winsor_factor=None))).fit(panel)


def test_a_model_of_shares_has_them_as_exposures_in_returns_and_in_risk(frame, panel, fitted):
    X = fitted.exposures()
    given_rows = {row["symbol"]: [row[name] for name in SECTORS] for row in frame.filter(
        frame["date"] == frame["date"].max()).iter_rows(named=True)}  # fmt: skip
    assert fitted.sector_names_ == SECTORS
    for symbol, row in zip(fitted.symbols_, X, strict=True):
        if np.isfinite(row).all():
            assert row[1:4].tolist() == given_rows[symbol]
    # The regression of the last day, whole: exposures of the day before explain it.
    t = panel.n_dates - 1
    before = fitted.exposures(panel.dates[t - 1])
    at = fitted.estimation_universe_[t - 1] & np.isfinite(panel.fields["returns"][t])
    caps = fitted._held._row(fitted._held._caps_name, t - 1)
    y = panel.fields["returns"][t][at]
    held = caps[at]
    c = np.zeros(X.shape[1])
    c[1:4] = held @ before[at][:, 1:4]
    f = dense_fit(y, before[at], np.sqrt(held), c)
    np.testing.assert_allclose(fitted.factor_returns_[t], f, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fitted.residuals_[t][at], y - before[at] @ fitted.factor_returns_[t], atol=1e-12)
    held_names = np.flatnonzero(np.isfinite(X).all(axis=1))
    weights = np.zeros(len(X))
    weights[held_names] = 1.0 / len(held_names)
    latest = fitted.latest()
    risk = portfolio_risk(weights[None], X, latest.factor_covariance, latest.specific_variance)
    plain = np.nan_to_num(X).T @ weights
    assert risk.factor[0] ** 2 == pytest.approx(plain @ latest.factor_covariance @ plain)
    # Groups take the largest share.
    names = panel.categories["sector"].names
    labels = {s: names[c] for s, c in zip(panel.symbols, panel.categories["sector"].codes[-1], strict=True) if c >= 0}
    for symbol, row in given_rows.items():
        assert labels[symbol] == SECTORS[int(np.argmax(row))]
    assert [f.kind for f in panel.quality().findings if f.kind == "sector_memberships"]


def test_days_one_by_one_are_the_fit_also_where_shares_change_or_are_new(frame, panel, fitted, tmp_path):
    dates = panel.dates
    moved = frame.with_columns(
        pl.when((pl.col("date") == frame["date"].max()) & (pl.col("symbol") == panel.symbols[7]))
        .then(pl.Series(name, [share] * frame.height))
        .otherwise(pl.col(name))
        .alias(name)
        for name, share in zip(SECTORS, (0.1, 0.1, 0.8), strict=True)
    )
    whole = FactorModel().fit(Panel.from_frame(moved, sector_encodings=SECTORS))
    days = Panel.from_frame(moved, sector_encodings=SECTORS)
    grown = FactorModel().fit(days.select(dates=dates[:-3]))
    grown.save(tmp_path / "model")
    grown = FactorModel.load(tmp_path / "model")
    for t in (-3, -2):
        grown.update(days.select(dates=dates[t : t + 1]))
    only = moved.filter(moved["date"] == moved["date"].max())
    day = Panel.from_frame(only, sector_encodings=SECTORS)  # its own vocabulary of memberships
    peeked = grown.peek(day)
    grown.update(day)
    np.testing.assert_array_equal(peeked.exposures, grown.exposures())
    np.testing.assert_array_equal(peeked.fits.factor_returns[0], grown.factor_returns_[-1])
    np.testing.assert_array_equal(grown.factor_returns_[-3:], whole.factor_returns_[-3:])
    np.testing.assert_array_equal(grown.exposures(), whole.exposures())
    place = whole.symbols_.index(panel.symbols[7])
    assert whole.exposures()[place, 1:4].tolist() == [0.1, 0.1, 0.8]
    # A day of one sector each goes on with the model.
    one = only.with_columns(pl.lit(1.0 if name == "Tech" else 0.0).alias(name) for name in SECTORS).with_columns(
        pl.lit(only["date"][0]).dt.offset_by("1d").alias("date")
    )
    pure = FactorModel().fit(days).update(Panel.from_frame(one, sector_encodings=SECTORS))
    known = np.isfinite(pure.exposures()).all(axis=1)
    assert (pure.exposures()[known, 2] == 1.0).all()


def test_a_correction_replaces_shares_by_others_or_by_one_sector(frame, panel):
    last = frame.filter(frame["date"] == frame["date"].max())
    symbol = panel.symbols[0]
    for shares in ((0.9, 0.1, 0.0), (0.0, 1.0, 0.0)):
        rows = last.filter(last["symbol"] == symbol).select("date", "symbol").with_columns(
            *(pl.lit(share).alias(name) for name, share in zip(SECTORS, shares, strict=True)), pl.lit(1.0).alias(ROW)
        )  # fmt: skip
        fixed, changed = corrected(panel, Panel.from_frame(rows, sector_encodings=SECTORS, required=()))
        assert changed == 1
        row = FactorModel().fit(fixed).exposures()[0, 1:4]
        assert row.tolist() == list(shares)


def test_a_panel_of_shares_survives_as_a_frame_and_labels_that_are_none_are_refused(panel):
    again = Panel.from_frame(panel.to_frame())
    codes, names = again.categories[SHARES].codes, again.categories[SHARES].names
    assert {names[c] for c in codes[-1] if c >= 0} == {
        label_of(dict(zip(SECTORS, row, strict=True))) for row in MIXED.values()
    }
    assert json.loads(names[0])
    for labels in (("nonsense",), ('{"Nowhere": 1.0}',)):
        with pytest.raises(FactorError, match="membership"):
            shares_table(labels, SECTORS)
