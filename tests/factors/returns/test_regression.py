"""Cross-sectional factor returns against plain algebra, statsmodels, and their own algebra."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError
from factors.factor_model.settings import RegressionSettings
from factors.returns.date_tally import DateTally
from factors.returns.regression import CrossSectionalRegression

ROOT = Path(__file__).resolve().parents[3]
ORACLE = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
PLAIN = RegressionSettings(winsor_factor=None)


def market(n_dates=4, n_assets=80, n_sectors=4, n_styles=3, seed=0):
    rng = np.random.default_rng(seed)
    caps = np.exp(rng.normal(3.0, 1.0, (n_dates, n_assets)))
    codes = rng.permuted(np.tile(np.arange(n_assets) % n_sectors, (n_dates, 1)), axis=1).astype(np.int16)
    styles = rng.normal(size=(n_dates, n_styles, n_assets))
    returns = 0.01 * styles.sum(axis=1) + 0.02 * rng.standard_t(4, (n_dates, n_assets)) + 0.005 * codes
    return {
        "returns": returns,
        "weights": np.sqrt(caps),
        "caps": caps,
        "codes": codes,
        "styles": styles,
        "mask": np.ones(returns.shape, dtype=bool),
        "n_sectors": n_sectors,
    }


def plain(data, t, constraint):
    """Solve one date by a bordered system: no elimination, no segment sums."""
    S, L = data["n_sectors"], data["styles"].shape[1]
    X = np.column_stack([np.ones(data["codes"].shape[1]), np.eye(S)[data["codes"][t]], data["styles"][t].T])
    W = np.diag(data["weights"][t])
    c = np.zeros(1 + S + L)
    held = np.bincount(data["codes"][t], data["caps"][t], S)
    c[1 : 1 + S] = held / held.sum() if constraint == "cap_weighted" else 1.0
    bordered = np.block([[X.T @ W @ X, c[:, None]], [c[None, :], np.zeros((1, 1))]])
    inverse = np.linalg.inv(bordered)
    f = (inverse @ np.append(X.T @ W @ data["returns"][t], 0.0))[:-1]
    return f, X, W, inverse[:-1, :-1]


@pytest.mark.parametrize("constraint", ["cap_weighted", "unweighted"])
def test_factor_returns_and_errors_are_those_of_the_bordered_system(constraint):
    data = market()
    model = CrossSectionalRegression(RegressionSettings(winsor_factor=None, sector_constraint=constraint))
    out = model.fit(**data)
    for t in range(4):
        f, X, W, inverse = plain(data, t, constraint)
        e = data["returns"][t] - X @ f
        s2 = e @ W @ e / (len(e) - (X.shape[1] - 1))
        np.testing.assert_allclose(out.factor_returns[t], f, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(out.standard_errors[t], np.sqrt(s2 * np.diag(inverse)), rtol=1e-8)
        np.testing.assert_allclose(out.residuals[t], e, atol=1e-13)
        np.testing.assert_allclose(out.r2[t], 1 - e @ W @ e / (data["returns"][t] @ W @ data["returns"][t]))


def test_vif_is_that_of_regressing_each_style_on_everything_else():
    data = market()
    out = CrossSectionalRegression(PLAIN).fit(**data)
    _, X, W, _ = plain(data, 0, "cap_weighted")
    root = np.sqrt(np.diag(W))
    for k in range(3):
        y = X[:, 5 + k]
        others = np.delete(X, 5 + k, axis=1)[:, 1:]  # the sectors span the market
        e = y - others @ np.linalg.lstsq(root[:, None] * others, root * y, rcond=None)[0]
        centered = y - np.average(y, weights=root**2)
        np.testing.assert_allclose(out.vif[0, k], (root**2 @ centered**2) / (root**2 @ e**2), rtol=1e-9)


def test_mimicking_portfolios_earn_the_factor_returns_and_are_pure():
    data = market()
    model = CrossSectionalRegression(PLAIN)
    out = model.fit(**data)
    row = {name: value[0] for name, value in data.items() if name not in ("returns", "n_sectors")}
    P = model.mimicking_weights(**row, n_sectors=4)
    np.testing.assert_allclose(P @ data["returns"][0], out.factor_returns[0], atol=1e-13)
    _, X, W, _ = plain(data, 0, "cap_weighted")
    np.testing.assert_allclose((P @ X)[5:], np.eye(8)[5:], atol=1e-10)  # unit exposure to its style, none elsewhere
    np.testing.assert_allclose((P @ X)[:, 5:], np.eye(8)[:, 5:], atol=1e-10)
    assert P[0].sum() == pytest.approx(1.0)
    assert P[0] @ X[:, 1:5] == pytest.approx(np.bincount(data["codes"][0], data["caps"][0]) / data["caps"][0].sum())
    # Any returns that factors explain within the constraint come back as those factors.
    held = np.bincount(data["codes"][0], data["caps"][0])
    f = np.array([0.01, 0.02, -0.01, 0.03, 0.0, 0.005, -0.004, 0.001])
    f[4] = -(held[:3] @ f[1:4]) / held[3]
    np.testing.assert_allclose(P @ (X @ f), f, atol=1e-13)
    # Among the portfolios that are so, it has the least variance when 1 / w is the specific variance.
    other = P[6] + 0.01 * (np.eye(80)[0] - (X @ np.linalg.lstsq(X, np.eye(80)[0], rcond=None)[0]))
    np.testing.assert_allclose(other @ X, P[6] @ X, atol=1e-10)
    assert P[6] @ np.linalg.solve(W, P[6]) < other @ np.linalg.solve(W, other)


def test_statsmodels_gives_the_same_fit_errors_and_huber_weights(tmp_path):
    if not ORACLE.exists():
        pytest.skip("no .venv-oracles: run `make oracles`")
    data = market(n_dates=1)
    _, X, W, _ = plain(data, 0, "unweighted")
    R = np.vstack([np.eye(4), [0.0, -1.0, -1.0, -1.0]])
    Z = np.column_stack([X[:, :5] @ R, X[:, 5:]])
    np.savez(tmp_path / "in.npz", y=data["returns"][0], Z=Z, w=np.diag(W))
    script = """
import json, sys
import numpy as np, statsmodels.api as sm
d = np.load(sys.argv[1])
wls = sm.WLS(d["y"], d["Z"], weights=d["w"]).fit()
root = np.sqrt(d["w"])
rlm = sm.RLM(root * d["y"], root[:, None] * d["Z"], M=sm.robust.norms.HuberT(1.345)).fit(maxiter=200, tol=1e-12)
print(json.dumps({"f": wls.params.tolist(), "se": wls.bse.tolist(), "huber": rlm.params.tolist()}))
"""
    done = subprocess.run([ORACLE, "-c", script, tmp_path / "in.npz"], capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    kept = [0, 1, 2, 3, 5, 6, 7]  # statsmodels has no column for the eliminated sector
    out = CrossSectionalRegression(RegressionSettings(winsor_factor=None, sector_constraint="unweighted")).fit(**data)
    np.testing.assert_allclose(out.factor_returns[0, kept], theirs["f"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(out.standard_errors[0, kept], theirs["se"], rtol=1e-10)
    huber = RegressionSettings(winsor_factor=None, sector_constraint="unweighted", huber=1.345)
    robust = CrossSectionalRegression(huber).fit(**data)
    np.testing.assert_allclose(robust.factor_returns[0, kept], theirs["huber"], rtol=1e-6, atol=1e-9)


def test_statsmodels_constrained_fit_gives_the_same_returns_and_errors_under_cap_weights(tmp_path):
    if not ORACLE.exists():
        pytest.skip("no .venv-oracles: run `make oracles`")
    data = market(n_dates=1, seed=4)
    _, X, W, _ = plain(data, 0, "cap_weighted")
    c = np.zeros(8)
    c[1:5] = np.bincount(data["codes"][0], data["caps"][0]) / data["caps"][0].sum()
    np.savez(tmp_path / "in.npz", y=data["returns"][0], X=X, w=np.diag(W), c=c)
    script = """
import json, sys
import numpy as np, statsmodels.api as sm
d = np.load(sys.argv[1])
fit = sm.GLM(d["y"], d["X"], var_weights=d["w"]).fit_constrained((d["c"][None, :], np.zeros(1)))
print(json.dumps({"f": fit.params.tolist(), "se": np.sqrt(np.diag(fit.cov_params())).tolist()}))
"""
    done = subprocess.run([ORACLE, "-c", script, tmp_path / "in.npz"], capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    out = CrossSectionalRegression(PLAIN).fit(**data)
    np.testing.assert_allclose(out.factor_returns[0], theirs["f"], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(out.standard_errors[0], theirs["se"], rtol=1e-9)


def test_without_a_constraint_names_outside_every_sector_identify_the_market():
    data = market(n_dates=1)
    data["codes"][0, :20] = -1
    out = CrossSectionalRegression(RegressionSettings(winsor_factor=None, sector_constraint="none")).fit(**data)
    S = np.where(data["codes"][0, :, None] == np.arange(4), 1.0, 0.0)
    X = np.column_stack([np.ones(80), S, data["styles"][0].T])
    W = np.diag(data["weights"][0])
    inverse = np.linalg.inv(X.T @ W @ X)
    f = inverse @ X.T @ W @ data["returns"][0]
    e = data["returns"][0] - X @ f
    assert out.status[0] == 1
    np.testing.assert_allclose(out.factor_returns[0], f, rtol=1e-9)
    np.testing.assert_allclose(out.standard_errors[0], np.sqrt(e @ W @ e / (80 - 8) * np.diag(inverse)), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), n_assets=st.integers(1, 14), n_styles=st.integers(0, 4),
    constraint=st.sampled_from(["cap_weighted", "unweighted", "none"]),
)  # fmt: skip
def test_any_cross_section_gets_the_minimum_norm_answer_and_its_rank_is_reported(seed, n_assets, n_styles, constraint):
    data = market(n_dates=1, n_assets=n_assets, n_styles=n_styles, seed=seed)
    rng = np.random.default_rng(seed)
    if n_styles > 1 and seed % 3 == 0:
        data["styles"][0, 1] = 2.0 * data["styles"][0, 0]
    data["codes"][0, rng.random(n_assets) < 0.2] = -1
    out = CrossSectionalRegression(RegressionSettings(winsor_factor=None, sector_constraint=constraint)).fit(**data)
    f = out.factor_returns[0]
    codes = data["codes"][0]
    X = np.column_stack([np.ones(n_assets), np.where(codes[:, None] == np.arange(4), 1.0, 0.0), data["styles"][0].T])
    c = np.zeros((1, X.shape[1]))
    if constraint != "none":
        held = data["caps"][0] if constraint == "cap_weighted" else 1.0
        c[0, 1:5] = (X[:, 1:5] * np.reshape(held, (-1, 1))).sum(axis=0)
        c[0, 1:5] = np.where(X[:, 1:5].any(axis=0), c[0, 1:5] if constraint == "cap_weighted" else 1.0, 0.0)
        c /= max(c.sum(), 1.0)
    root = np.sqrt(data["weights"][0])[:, None]
    _, s, Vt = np.linalg.svd(np.vstack([root * X, c]))
    free = Vt[(s > 1e-9 * s[0]).sum() :]  # what neither the fit nor the constraint sees
    np.testing.assert_allclose(c @ f, 0.0, atol=1e-12)
    np.testing.assert_allclose(free @ f, 0.0, atol=1e-9 * max(1.0, np.abs(f).max()))
    # No other answer within the constraint fits better.
    _, sc, Vc = np.linalg.svd(c)
    Z = Vc[(sc > 1e-14).sum() :].T
    best = Z @ np.linalg.lstsq(root * X @ Z, root[:, 0] * data["returns"][0], rcond=None)[0]
    loss, least = (np.sum((root[:, 0] * (data["returns"][0] - X @ g)) ** 2) for g in (f, best))
    assert loss == pytest.approx(least, rel=1e-7, abs=1e-12)
    members = X.any(axis=0).sum() - (1 if c.any() else 0)
    assert out.status[0] == (1 if np.linalg.matrix_rank(root * X @ Z) == members else 2)
    known = ~np.isnan(out.residuals[0])
    np.testing.assert_allclose((X @ f + out.residuals[0])[known], data["returns"][0][known], atol=1e-12)


def test_huber_gives_less_weight_to_an_outlier():
    data = market(n_dates=1)
    data["returns"][0, 3] = 5.0
    least_squares = CrossSectionalRegression(PLAIN).fit(**data).factor_returns[0, 0]
    huber = (
        CrossSectionalRegression(RegressionSettings(winsor_factor=None, huber=1.345)).fit(**data).factor_returns[0, 0]
    )
    clean = data["returns"][0].copy()
    clean[3] = np.median(clean)
    data["returns"] = clean[None, :]
    target = CrossSectionalRegression(PLAIN).fit(**data).factor_returns[0, 0]
    assert abs(huber - target) < 0.2 * abs(least_squares - target)


def test_collinear_styles_get_the_minimum_norm_answer_and_are_reported():
    data = market(n_dates=1)
    data["styles"][0, 2] = data["styles"][0, 1]
    out = CrossSectionalRegression(PLAIN).fit(**data)
    assert out.status[0] == 2
    assert out.factor_returns[0, 6] == pytest.approx(out.factor_returns[0, 7])
    single = CrossSectionalRegression(PLAIN).fit(**(data | {"styles": data["styles"][:, :2]}))
    assert 2 * out.factor_returns[0, 6] == pytest.approx(single.factor_returns[0, 6])
    tally = DateTally(out.factor_returns.shape[1])
    tally.add(np.array(["2024-01-02"], dtype="datetime64[D]"), out.status, out.factor_returns, out.standard_errors)
    assert "minimum-norm" in tally.sentences([f"f{k}" for k in range(out.factor_returns.shape[1])])[0]


def test_a_sector_without_members_and_a_style_without_scores_return_zero_without_error():
    data = market(n_dates=1)
    data["codes"][data["codes"] == 2] = 1
    data["styles"][0, 0] = np.nan
    out = CrossSectionalRegression(PLAIN).fit(**data)
    assert out.status[0] == 1
    assert out.factor_returns[0, 3] == 0.0
    assert out.factor_returns[0, 5] == 0.0
    assert np.isnan(out.standard_errors[0, [3, 5]]).all()
    assert np.isfinite(out.standard_errors[0, [0, 1, 2, 4, 6, 7]]).all()


@pytest.mark.parametrize("n_assets", [1, 2, 5])
@pytest.mark.parametrize("design", ["single", "two_stage"])
def test_tiny_cross_sections_give_an_answer_that_keeps_the_constraint(n_assets, design):
    data = market(n_dates=1, n_assets=n_assets)
    chosen = RegressionSettings(winsor_factor=None, design=design, sector_constraint="unweighted")
    out = CrossSectionalRegression(chosen).fit(**data)
    assert np.isfinite(out.factor_returns).all()
    held = np.unique(data["codes"][0])
    assert out.factor_returns[0, 1 + held].sum() == pytest.approx(0.0, abs=1e-12)


def test_a_date_without_names_is_empty_and_zero():
    data = market(n_dates=2)
    data["mask"][1] = False
    out = CrossSectionalRegression(PLAIN).fit(**data)
    assert out.status.tolist() == [1, 0]
    assert not out.factor_returns[1].any()
    assert np.isnan(out.residuals[1]).all()


def test_thin_sectors_are_shrunk_towards_the_market():
    data = market(n_dates=1)
    thin = np.flatnonzero(data["codes"][0] == 3)[2:]
    data["codes"][0, thin] = 0
    before = CrossSectionalRegression(PLAIN).fit(**data).factor_returns[0, 4]
    after = CrossSectionalRegression(RegressionSettings(winsor_factor=None, thin_sector_names=10)).fit(**data)
    assert 0.0 < abs(after.factor_returns[0, 4]) < 0.6 * abs(before)


def test_thin_sector_shrinkage_is_that_of_dummy_names_with_sector_return_zero():
    data = market(n_dates=1)
    data["codes"][0, np.flatnonzero(data["codes"][0] == 3)[2:]] = 0
    f, X, W, _ = plain(data, 0, "cap_weighted")
    w = np.diag(W)[data["codes"][0] == 3]
    names = w.sum() ** 2 / (w**2).sum()
    extra = np.zeros(8)
    extra[4] = np.sqrt((10 - names) * w.sum() / names)
    c = np.zeros(8)
    c[1:5] = np.bincount(data["codes"][0], data["caps"][0])
    c /= c.sum()
    A = X.T @ W @ X + np.outer(extra, extra)
    bordered = np.block([[A, c[:, None]], [c[None, :], np.zeros((1, 1))]])
    expected = np.linalg.solve(bordered, np.append(X.T @ W @ data["returns"][0], 0.0))[:-1]
    shrunk = CrossSectionalRegression(RegressionSettings(winsor_factor=None, thin_sector_names=10)).fit(**data)
    np.testing.assert_allclose(shrunk.factor_returns[0], expected, rtol=1e-9, atol=1e-14)
    assert abs(expected[4]) < abs(f[4])


def test_condition_numbers_are_those_of_numpy_with_columns_of_unit_length():
    data = market(n_dates=1)
    data["codes"][0, :20] = -1
    S = np.where(data["codes"][0, :, None] == np.arange(4), 1.0, 0.0)
    X = np.sqrt(data["weights"][0])[:, None] * np.column_stack([np.ones(80), S, data["styles"][0].T])
    row = {name: value[0] for name, value in data.items() if name not in ("returns", "n_sectors")}
    free = CrossSectionalRegression(RegressionSettings(winsor_factor=None, sector_constraint="none"))
    number = free.condition_number(**row, n_sectors=4)
    assert number == pytest.approx(np.linalg.cond(X / np.linalg.norm(X, axis=0)), rel=1e-9)


def test_a_sector_code_that_is_none_of_the_sectors_is_refused():
    data = market()
    data["codes"][2, 7] = 4
    with pytest.raises(FactorError, match="sector codes must be -1 to 3"):
        CrossSectionalRegression(PLAIN).fit(**data)


def test_residuals_are_of_the_raw_returns_when_the_fit_is_of_clipped_ones():
    data = market()
    out = CrossSectionalRegression(RegressionSettings(winsor_factor=0.05)).fit(**data)
    f = out.factor_returns[0]
    explained = f[0] + f[1 + data["codes"][0]] + data["styles"][0].T @ f[5:]
    np.testing.assert_allclose(explained + out.residuals[0], data["returns"][0], atol=1e-14)


def test_threads_do_not_change_a_bit():
    data = market(n_dates=40)
    one, two = (CrossSectionalRegression(threads=n).fit(**data) for n in (1, 2))
    np.testing.assert_array_equal(one.factor_returns, two.factor_returns)
    np.testing.assert_array_equal(one.residuals, two.residuals)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e6), design=st.sampled_from(["single", "two_stage"]))
def test_order_of_assets_and_dates_scale_of_caps_and_empty_assets_do_not_matter(seed, scale, design):
    data = market(n_dates=2, n_assets=40, seed=seed)
    model = CrossSectionalRegression(RegressionSettings(design=design))
    base = model.fit(**data)
    order = np.random.default_rng(seed).permutation(40)
    shuffled = {name: value[..., order] if name != "n_sectors" else value for name, value in data.items()}
    np.testing.assert_allclose(model.fit(**shuffled).factor_returns, base.factor_returns, rtol=1e-8, atol=1e-12)
    back = {name: value[::-1] if name != "n_sectors" else value for name, value in data.items()}
    np.testing.assert_array_equal(model.fit(**back).factor_returns, base.factor_returns[::-1])
    scaled = data | {"caps": data["caps"] * scale, "weights": data["weights"] * np.sqrt(scale)}
    np.testing.assert_allclose(model.fit(**scaled).factor_returns, base.factor_returns, rtol=1e-8, atol=1e-12)
    fill = {"returns": np.nan, "weights": np.nan, "caps": np.nan, "codes": -1, "styles": np.nan, "mask": False}
    wider = {
        name: np.concatenate([data[name], np.full((*data[name].shape[:-1], 3), value, dtype=data[name].dtype)], axis=-1)
        for name, value in fill.items()
    }
    np.testing.assert_array_equal(model.fit(**wider, n_sectors=4).factor_returns, base.factor_returns)
