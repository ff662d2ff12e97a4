"""Operators across names against a plain reading, one date at a time; ranks on awkward values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, rankdata

from factors.library import compile_library
from factors.library.language.conventions import conventions

NAN = math.nan


def date(formula, x, settings_="paper", **more):
    """A formula over one date."""
    fields = {
        "close": np.array(x, float)[None],
        **{k: np.array(v, float)[None] for k, v in more.items() if k not in GROUPS},
    }
    groups = {k: np.array(v)[None] for k, v in more.items() if k in GROUPS}
    library = compile_library({"f": formula}, conventions(settings_))
    return library.run(fields, groups=groups, dates=np.array(["2020-01-01"], "datetime64[D]"))["f"][0]


GROUPS = ("sector",)
X = [3.0, NAN, -1.0, 3.0, 7.0, 0.5, 2.0, -4.0]
Y = [1.0, 2.0, NAN, 4.0, 0.0, 2.5, -1.0, 6.0]
V = np.array([v for v in X if v == v])
THERE = np.array([v == v for v in X])
BOTH = np.array([x == x and y == y for x, y in zip(X, Y, strict=True)])
XB, YB = np.array(X)[BOTH], np.array(Y)[BOTH]


def on_names(values):
    out = np.full(len(X), NAN)
    out[THERE] = values
    return out


def ols_rest(y, w, *x):
    D = np.column_stack([np.ones(len(y)), *x])
    b = np.linalg.lstsq(D * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    return y - D @ b


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("rank(close)", on_names(rankdata(V) / len(V))),
        ("scale(close)", on_names(V / np.abs(V).sum())),
        ("scale(close, 2)", on_names(2 * V / np.abs(V).sum())),
        ("zscore(close)", on_names((V - V.mean()) / V.std(ddof=1))),
        ("demean(close)", on_names(V - V.mean())),
        ("standardize(close, open)", on_names((V - np.average(XB, weights=np.abs(YB))) / V.std(ddof=1))),
        ("winsorize(close, 0.2)", on_names(np.clip(V, *np.quantile(V, [0.2, 0.8])))),
        ("winsorize_sigma(close, 1)", on_names(np.clip(V, V.mean() - V.std(ddof=1), V.mean() + V.std(ddof=1)))),
        ("gauss_rank(close)", on_names(norm.ppf((rankdata(V) - 0.5) / len(V)))),
        ("bucket(close, 3)", on_names(np.floor(3 * (rankdata(V) - 0.5) / len(V)))),
        ("cs_mean(close)", V.mean()),
        ("cs_sum(close)", V.sum()),
        ("cs_std(close)", V.std(ddof=1)),
        ("cs_median(close)", np.median(V)),
        ("cs_min(close)", -4.0),
        ("cs_max(close)", 7.0),
        ("cs_count(close)", 7.0),
        ("cs_quantile(close, 0.3)", np.quantile(V, 0.3)),
        ("cs_wmean(close, open)", np.average(XB, weights=np.abs(YB))),
        ("cs_wsum(close, open)", np.dot(XB, np.abs(YB))),
        ("cs_corr(close, low)", np.corrcoef(XB, YB)[0, 1]),
        ("cs_slope(low, close)", np.polyfit(XB, YB, 1)[0]),
    ],
)
def test_an_operator_across_names_is_its_definition(formula, expected):
    np.testing.assert_allclose(
        date(formula, X, open=np.abs(Y), low=Y), np.broadcast_to(expected, len(X)), rtol=1e-11, atol=1e-12
    )


def test_a_residual_is_that_of_least_squares_with_and_without_weights():
    rng = np.random.default_rng(0)
    y, a, b = rng.standard_normal((3, 30))
    w = rng.random(30)
    y[4] = a[9] = NAN
    ok = ~np.isnan(y) & ~np.isnan(a)
    plain = date("cs_residual(close, open, low)", y, open=a, low=b)
    weighted = date("cs_wresidual(close, high, open, low)", y, open=a, low=b, high=w)
    np.testing.assert_allclose(plain[ok], ols_rest(y[ok], np.ones(ok.sum()), a[ok], b[ok]), atol=1e-12)
    np.testing.assert_allclose(weighted[ok], ols_rest(y[ok], w[ok], a[ok], b[ok]), atol=1e-12)
    assert np.isnan(plain[~ok]).all()
    assert np.isnan(weighted[~ok]).all()


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("group_mean(close, sector)", lambda v, y: v.mean()),
        ("group_sum(close, sector)", lambda v, y: v.sum()),
        ("group_std(close, sector)", lambda v, y: v.std(ddof=1)),
        ("group_count(close, sector)", lambda v, y: len(v)),
        ("group_min(close, sector)", lambda v, y: v.min()),
        ("group_max(close, sector)", lambda v, y: v.max()),
        ("group_median(close, sector)", lambda v, y: np.median(v)),
        ("group_wmean(close, open, sector)", lambda v, y: np.average(v, weights=y)),
    ],
)
def test_a_broadcast_by_group_goes_to_every_member(formula, value):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(20), rng.random(20)
    x[[3, 11]] = NAN
    code = np.arange(20) % 3
    code[19] = -1
    result = date(formula, x, open=y, sector=code)
    for g in range(3):
        member = (code == g) & ~np.isnan(x)
        np.testing.assert_allclose(result[code == g], value(x[member], y[member]), rtol=1e-12)
    assert math.isnan(result[19])


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("indneutralize(close, sector)", lambda v: v - v.mean()),
        ("group_rank(close, sector)", lambda v: rankdata(v) / len(v)),
        ("group_zscore(close, sector)", lambda v: (v - v.mean()) / v.std(ddof=1)),
        ("group_scale(close, sector)", lambda v: v / np.abs(v).sum()),
    ],
)
def test_an_operator_by_group_sees_only_the_group(formula, value):
    x = np.random.default_rng(2).integers(-3, 4, 40).astype(float)
    x[[3, 11]] = NAN
    code = np.arange(40) % 4
    result = date(formula, x, sector=code)
    for g in range(4):
        member = (code == g) & ~np.isnan(x)
        np.testing.assert_allclose(result[member], value(x[member]), rtol=1e-12, atol=1e-15)
    assert np.isnan(result[[3, 11]]).all()


def test_the_level_of_neutralisation_can_be_a_convention():
    x, code = np.arange(6.0), np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(
        date("indneutralize(close, industry)", x, {"neutralisation": "sector"}, sector=code), [-1, 0, 1] * 2
    )
    np.testing.assert_allclose(date("indneutralize(close, industry) + 0", x, {"neutralisation": "none"}), x)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"rank_scale": "unit"}, [0, 1.5 / 3, 1.5 / 3, 1]),
        ({"rank_scale": "zero"}, [0, 1.5, 1.5, 3]),
        ({"rank_ties": "min"}, [0.25, 0.5, 0.5, 1]),
        ({"rank_ties": "max"}, [0.25, 0.75, 0.75, 1]),
        ({"rank_ties": "ordinal"}, [0.25, 0.5, 0.75, 1]),
    ],
)
def test_the_scale_and_the_ties_of_a_rank_are_conventions(setting, expected):
    assert date("rank(close)", [1.0, 2.0, 2.0, 3.0], setting).tolist() == expected


def test_too_few_names_give_nan_and_no_error():
    for formula in ("zscore(close)", "cs_std(close)", "cs_corr(close, close)", "cs_residual(close, close)"):
        assert np.isnan(date(formula, [1.0])).all()
        assert np.isnan(date(formula, [NAN, NAN])).all()
    assert date("rank(close)", [5.0]).tolist() == [1.0]
    assert np.isnan(date("rank(close)", [NAN, NAN])).all()
    assert np.isnan(date("scale(close)", [0.0, 0.0])).all()
    assert np.isnan(date("zscore(close)", [0.3, 0.1 + 0.2])).all()


@pytest.fixture(scope="module")
def ranker():
    return compile_library({"r": "rank(close)"})


def ranks_of(ranker, x):
    return ranker.run({"close": x[None]}, dates=np.array(["2020-01-01"], "datetime64[D]"))["r"][0]


@pytest.mark.parametrize("n", [1, 2, 7, 504, 1400, 1401, 3008, 5000])
@pytest.mark.parametrize(
    "kind",
    ["normal", "price", "ties", "two", "equal", "near one", "near one and zero", "tiny", "huge", "zeros", "sorted"],
)
def test_ranks_are_exact_on_every_kind_of_values(ranker, n, kind):
    rng = np.random.default_rng(n)
    x = {
        "normal": lambda: rng.standard_normal(n),
        "price": lambda: np.exp(rng.standard_normal(n) * 3 + 3),
        "ties": lambda: np.round(rng.standard_normal(n), 1),
        "two": lambda: rng.integers(0, 2, n).astype(float),
        "equal": lambda: np.full(n, 3.5),
        "near one": lambda: 1 + rng.integers(0, n, n) * 2.0**-52,
        # agree in every bit that the passes look at, apart from the low ones
        "near one and zero": lambda: np.where(np.arange(n) % 50 == 0, 0.0, 1 + rng.integers(0, n, n) * 2.0**-52),
        "tiny": lambda: rng.standard_normal(n) * 5e-324 * 1000,
        "huge": lambda: rng.standard_normal(n) * 1e307,
        "zeros": lambda: np.where(rng.random(n) < 0.5, -0.0, rng.integers(-1, 2, n)),
        "sorted": lambda: np.arange(n)[::-1] / 7,
    }[kind]()
    np.testing.assert_array_equal(ranks_of(ranker, x), rankdata(x) / n)
    x[::3] = NAN
    there = ~np.isnan(x)
    expected = np.full(n, NAN)
    if there.any():
        expected[there] = rankdata(x[there]) * (1.0 / there.sum())
    np.testing.assert_allclose(ranks_of(ranker, x), expected, rtol=1e-15)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_infinity=False, width=16)))
def test_ranks_are_exact_on_any_values(ranker, x):
    expected = rankdata(x, nan_policy="omit") / max(np.sum(~np.isnan(x)), 1)
    np.testing.assert_allclose(ranks_of(ranker, x), expected, rtol=1e-15)


class TestANameWithoutARowToday:
    """It has left, or pauses: it is not in today's cross-section, whatever its past rows would still give."""

    def run(self, formula, close, settings_="paper", *, listed=False, **more):
        fields = {"close": np.array(close, dtype=float), **{k: np.array(v, dtype=float) for k, v in more.items()}}
        library = compile_library({"f": formula}, conventions(settings_), listed=listed)
        return library.run(fields, dates=np.datetime64("2024-01-02") + np.arange(len(close)))["f"]

    CLOSE = ([1.0, 2.0, 9.0], [2.0, 1.0, 9.0], [3.0, 1.0, np.nan], [4.0, 1.0, 9.0])

    def test_is_not_ranked_nor_counted(self):
        found = self.run("rank(delay(close, 1))", self.CLOSE)
        np.testing.assert_array_equal(found[2], [1.0, 0.5, np.nan])
        np.testing.assert_allclose(found[3], [1.0, 0.5, np.nan])  # its row of the day before is missing

    @pytest.mark.parametrize(
        ("formula", "expected"),
        [
            ("cs_mean(delay(close, 1))", [1.5, 1.5, 1.5]),
            ("cs_count(mean(close, 2, min_periods=1))", [2.0, 2.0, 2.0]),
            ("demean(mean(close, 2, min_periods=1))", [0.75, -0.75, np.nan]),
            ("zscore(delay(close, 1))", [np.sqrt(0.5), -np.sqrt(0.5), np.nan]),
            ("scale(delay(close, 1))", [2 / 3, 1 / 3, np.nan]),
            ("cs_max(ffill(close, 3))", [3.0, 3.0, 3.0]),
            ("cs_quantile(delay(close, 1), 1)", [2.0, 2.0, 2.0]),
            ("bucket(delay(close, 1), 2)", [1.0, 0.0, np.nan]),
            ("cs_slope(delay(close, 1), fillna(close, 5))", [0.5, 0.5, 0.5]),
        ],
    )
    def test_has_no_value_and_counts_in_no_aggregate(self, formula, expected):
        np.testing.assert_allclose(self.run(formula, self.CLOSE)[2], expected, rtol=1e-12)

    def test_counts_where_the_conventions_are_those_of_a_peer_that_counts_it(self):
        found = self.run("rank(delay(close, 1))", self.CLOSE, {"absent": "counted"})
        np.testing.assert_allclose(found[2], [2 / 3, 1 / 3, 1.0])

    def test_is_there_when_any_field_of_the_formula_is(self):
        volume = [[1.0, 1.0, 1.0]] * 4
        found = self.run("rank(delay(close / volume, 1))", self.CLOSE, volume=volume)
        np.testing.assert_allclose(found[2], [2 / 3, 1 / 3, 1.0])

    def test_keeps_a_number_that_is_the_same_for_all_names(self):
        np.testing.assert_allclose(self.run("cs_mean(close)", self.CLOSE)[2], [2.0, 2.0, 2.0])

    def test_is_not_brought_back_by_a_benchmark_that_all_names_share(self):
        benchmark = [[1.0, 1.0, 1.0]] * 4
        found = self.run("rank(delay(close / benchmark_close, 1))", self.CLOSE, benchmark_close=benchmark)
        np.testing.assert_array_equal(found[2], [1.0, 0.5, np.nan])

    @pytest.mark.parametrize(
        ("formula", "expected"),
        [
            ("fillna(rank(close), 0)", [1.0, 0.5, np.nan]),
            ("mean(close, 2, min_periods=1)", [2.5, 1.0, np.nan]),
            ("delay(close, 1)", [2.0, 1.0, np.nan]),
        ],
    )
    def test_has_no_value_of_a_factor(self, formula, expected):
        np.testing.assert_allclose(self.run(formula, self.CLOSE, listed=True)[2], expected)
        assert np.isfinite(self.run(formula, self.CLOSE)[2, 2])  # the language alone says what it was asked
