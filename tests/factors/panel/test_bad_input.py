"""Input that is not as it should be: an error that names column, dates and symbols, or a documented answer."""

from __future__ import annotations

import datetime as dt
import json
import subprocess

import numpy as np
import polars as pl
import pytest
from fixtures_toraniko import ORACLE, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_scripts.toraniko_bad_input import FUNCTIONS, KEYS, ask, kinds, market
from polars.testing import assert_frame_equal

from factors import FactorError, FactorModel, ModelSettings, Panel, model, sample_market, styles
from factors.errors import DuplicateRowError, NegativeCapError, NonFiniteError, WrongTypeError
from factors.factor_model.settings import StyleSettings
from factors.panel.panel import Categories

AT = (70, 4)


@pytest.fixture(scope="module")
def panel():
    return sample_market(30, 80, seed=3).panel


@pytest.fixture(scope="module")
def whole(panel):
    return FactorModel().fit(panel)


def changed(panel, name, change):
    return panel.with_fields(**{name: change(panel.fields[name].copy())})


def at(value, where=AT):
    def change(values):
        values[where] = value
        return values

    return change


def finite(fitted):
    """Whether everything that answers come from is finite, and the covariance positive semidefinite."""
    F = fitted.factor_covariance_
    known = fitted.specific_variance_[~np.isnan(fitted.specific_variance_)]
    assert np.isfinite(fitted.factor_returns_[1:]).all()
    np.testing.assert_array_equal(np.isfinite(fitted.exposures()).all(axis=1), fitted.coverage_universe_[-1])
    assert np.array_equal(F, F.T)
    assert np.linalg.eigvalsh(F).min() >= -1e-12 * max(np.abs(F).max(), 1e-300)
    assert np.isfinite(known).all()
    return True


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("returns", np.inf, NonFiniteError, "infinite"),
        ("returns", -np.inf, NonFiniteError, "infinite"),
        ("returns", -1.01, NonFiniteError, "below -100 %"),
        ("market_cap", np.inf, NonFiniteError, "infinite"),
        ("market_cap", -1.0, NegativeCapError, "negative"),
    ],
)
@pytest.mark.parametrize("way", ["fit", "update", "frame"])
def test_a_value_that_cannot_be_is_refused_with_column_date_and_symbol(panel, name, value, error, words, way):
    bad = changed(panel, name, at(value))
    fitted = FactorModel()
    if way == "update":
        fitted.fit(panel.select(dates=slice(0, AT[0])))
        before = fitted.state()
    take = {
        "fit": lambda: fitted.fit(bad),
        "frame": lambda: fitted.set_features(bad.to_frame()),
        "update": lambda: fitted.update(bad.select(dates=slice(AT[0], AT[0] + 1))),
    }[way]
    with pytest.raises(error, match=words) as caught:
        take()
    assert caught.value.field == (name if way != "frame" or name == "market_cap" else "asset_returns")
    assert caught.value.rows == ((str(panel.dates[AT[0]]), panel.symbols[AT[1]]),)
    assert panel.symbols[AT[1]] in str(caught.value)
    if way == "update":  # a refused day leaves the model as it was
        assert len(fitted.dates_) == AT[0]
        assert all(np.array_equal(v, before.latest[k], equal_nan=True) for k, v in fitted.state().latest.items())


@pytest.mark.parametrize("name", ["book_price", "cf_price", "volume", "shares", "earnings", "debt", "close"])
def test_an_infinite_feature_is_a_missing_one(panel, name):
    infinite = FactorModel().fit(changed(panel, name, at(np.inf, (slice(20, 70), 4))))
    missing = FactorModel().fit(changed(panel, name, at(np.nan, (slice(20, 70), 4))))
    np.testing.assert_array_equal(infinite.scores_, missing.scores_)
    np.testing.assert_array_equal(infinite.factor_returns_, missing.factor_returns_)


@pytest.mark.parametrize("name", ["book_price", "volume", "earnings", "returns", "market_cap"])
def test_a_column_without_a_value_is_named_in_the_warnings_and_the_rest_is_answered(panel, name):
    fitted = FactorModel().fit(changed(panel, name, at(np.nan, slice(None))))
    assert finite(fitted)
    assert f"'{name}' holds no value from {panel.dates[0]} to {panel.dates[-1]}" in fitted.warnings_
    if name in ("returns", "market_cap"):
        assert not fitted.factor_returns_[1:].any()
        assert not fitted.n_obs_.any()
        assert any("no names" in warning for warning in fitted.warnings_)


def test_one_asset_is_the_market_and_its_style_scores_explain_nothing(panel):
    fitted = FactorModel().fit(panel.select(symbols=[panel.symbols[1]]))
    assert finite(fitted)
    returns = panel.fields["returns"][:, 1]
    live = fitted.n_obs_ == 1
    assert live.sum() > 70
    np.testing.assert_allclose(fitted.factor_returns_[live, 0], returns[live], atol=1e-15)
    assert not fitted.factor_returns_[1:, 1:].any()
    np.testing.assert_allclose(fitted.residuals_[live, 0], 0.0, atol=1e-15)
    assert np.isnan(fitted.standard_errors_).all()
    (told,) = fitted.warnings_
    assert told.startswith("never estimated, their returns are 0: ")
    assert told.partition(": ")[2].split(", ") == list(fitted.factor_names_[1:]), "all but the market"


def test_with_one_sector_its_return_is_zero_and_the_market_takes_it_all(panel):
    codes = np.zeros(panel.shape, dtype=np.int16)
    one = FactorModel().fit(Panel(panel.dates, panel.symbols, panel.fields, {"sector": Categories(codes, ("All",))}))
    none = FactorModel().fit(Panel(panel.dates, panel.symbols, panel.fields))
    assert finite(one)
    assert not one.factor_returns_[1:, 1].any()
    np.testing.assert_allclose(one.factor_returns_[1:, 0], none.factor_returns_[1:, 0], atol=1e-14)
    np.testing.assert_allclose(one.factor_returns_[1:, 2:], none.factor_returns_[1:, 1:], atol=1e-13)


@pytest.mark.parametrize("style", ["value", "size", "dividend_yield"])
def test_scores_that_do_not_differ_are_zero_and_earn_nothing(panel, style):
    fields = {"value": ("book_price", "sales_price", "cf_price"), "size": ("market_cap",), "dividend_yield": ()}[style]
    flat = panel.with_fields(**{name: np.full(panel.shape, 0.37) for name in fields})
    if style == "dividend_yield":
        flat = flat.with_fields(dividends=0.02 * panel.fields["market_cap"])
    settings = ModelSettings(smooth_features={})
    fitted = FactorModel(settings).fit(flat)
    assert finite(fitted)
    column = fitted.style_names_.index(style)
    scores = fitted.scores_[:, column]
    assert not np.nan_to_num(scores).any()
    assert np.isfinite(scores[fitted.coverage_universe_]).any()
    assert not fitted.factor_returns_[1:, 1 + len(fitted.sector_names_) + column].any()


def test_assets_with_a_cap_of_zero_are_outside_every_universe(panel, whole):
    fitted = FactorModel().fit(changed(panel, "market_cap", at(0.0, (slice(None), slice(0, 5)))))
    assert finite(fitted)
    assert not fitted.coverage_universe_[:, :5].any()
    assert np.isnan(fitted.exposures()[:5]).all()
    assert np.isnan(fitted.residuals_[:, :5]).all()
    left = FactorModel().fit(changed(panel, "market_cap", at(np.nan, (slice(None), slice(0, 5)))))
    np.testing.assert_array_equal(fitted.factor_returns_, left.factor_returns_)
    assert not np.array_equal(fitted.factor_returns_, whole.factor_returns_)


def test_float32_other_orders_in_memory_and_wide_codes_give_the_bits_of_float64(panel):
    rounded = {name: values.astype(np.float32) for name, values in panel.fields.items()}
    codes = {name: Categories(c.codes.astype(np.int64), c.names) for name, c in panel.categories.items()}
    double = {name: np.asfortranarray(values.astype(np.float64)) for name, values in rounded.items()}
    one = FactorModel().fit(Panel(panel.dates, panel.symbols, rounded, codes))
    other = FactorModel().fit(Panel(panel.dates, panel.symbols, double, panel.categories))
    np.testing.assert_array_equal(one.factor_returns_, other.factor_returns_)
    assert one.scores_.dtype == one.residuals_.dtype == np.float64
    day = FactorModel().fit(Panel(panel.dates, panel.symbols, double).select(dates=slice(0, 79)))
    day.update(Panel(panel.dates, panel.symbols, rounded).select(dates=slice(79, 80)))
    assert np.isfinite(day.factor_returns_[-1]).all()


def test_a_panel_that_contradicts_itself_is_refused(panel):
    sector = panel.categories["sector"]
    beyond = sector.codes.copy()
    beyond[AT] = len(sector.names)
    with pytest.raises(FactorError, match="none of its") as caught:
        FactorModel().fit(Panel(panel.dates, panel.symbols, panel.fields, {"sector": Categories(beyond, sector.names)}))
    assert caught.value.rows == ((str(panel.dates[AT[0]]), panel.symbols[AT[1]]),)
    with pytest.raises(FactorError, match="occurs more than once"):
        FactorModel().fit(Panel(panel.dates, ("A",) * panel.n_assets, panel.fields))
    with pytest.raises(WrongTypeError, match="book_price"):
        FactorModel().fit(panel.with_fields(book_price=np.full(panel.shape, "x")))


@pytest.fixture(scope="module")
def long():
    return market().with_columns(sector=pl.col("symbol").str.slice(2, 1))


CHOSEN = ModelSettings(style_factors=StyleSettings(names=("size", "value")), top_n_by_mkt_cap=None)


def fitted_from(frame):
    return FactorModel(CHOSEN).set_features(frame.drop(c for c in frame.columns if c.startswith("sector_"))).fit()


def test_rows_in_any_order_give_the_bits_of_sorted_ones(long):
    order = np.random.default_rng(0).permutation(len(long))
    one, other = fitted_from(long), fitted_from(long[order.tolist()])
    assert one.symbols_ == other.symbols_
    np.testing.assert_array_equal(one.factor_returns_, other.factor_returns_)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-6, 0.5, 1e3]))
def test_order_of_rows_unit_of_caps_and_an_asset_with_no_data_do_not_matter_to_drop_in_functions(long, seed, scale):
    order = np.random.default_rng(seed).permutation(len(long)).tolist()
    nobody = long.filter(pl.col("symbol") == "S03").with_columns(symbol=pl.lit("NOBODY"))
    nobody = nobody.with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in ("asset_returns", "market_cap"))
    for function in FUNCTIONS:
        base = ask(function, long, model, styles)
        keys = [key for key in KEYS if key in base.columns]
        shuffled = ask(function, long[order], model, styles).select(base.columns).sort(keys)
        scaled = ask(function, long.with_columns(pl.col("market_cap") * scale), model, styles)
        for other in (shuffled, scaled.sort(keys)):
            assert_frame_equal(other, base.sort(keys), rel_tol=1e-9, abs_tol=1e-11, check_dtypes=False)
        if function in ("mom", "sze"):
            wider = ask(function, pl.concat([long, nobody]), model, styles).filter(pl.col("symbol") != "NOBODY")
            assert_frame_equal(wider.sort(keys), base.sort(keys), rel_tol=1e-12, abs_tol=1e-14)


def test_rows_that_occur_twice_are_refused_with_dates_and_symbols(long):
    with pytest.raises(DuplicateRowError) as caught:
        fitted_from(pl.concat([long, long.slice(40, 3)]))
    assert caught.value.n_rows == 3
    assert caught.value.rows[0] == (str(long["date"][40]), long["symbol"][40])


def test_dates_of_two_time_zones_in_one_column_are_refused(long):
    text = pl.concat_str(pl.col("date").cast(pl.String), pl.lit("T16:00:00"))
    zone = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("+00:00")).otherwise(pl.lit("-05:00"))
    with pytest.raises(FactorError, match="mixes the time zones") as caught:
        fitted_from(long.with_columns(date=pl.concat_str(text, zone)))
    assert caught.value.field == "date"


def test_a_new_day_in_another_time_zone_is_the_day_of_its_own_clock(long):
    zoned = long.with_columns(date=pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("Asia/Tokyo"))
    one, other = fitted_from(long), fitted_from(zoned)
    assert same_days(one, other)


def same_days(one, other):
    return one.dates_.tolist() == other.dates_.tolist() and np.array_equal(
        one.factor_returns_, other.factor_returns_, equal_nan=True
    )


def test_all_null_and_float32_columns_of_a_frame_are_read(long):
    blank = fitted_from(long.with_columns(book_price=pl.lit(None), cf_price=pl.lit(None, dtype=pl.Float32)))
    assert any("'book_price' holds no value" in warning for warning in blank.warnings_)
    assert np.isfinite(blank.scores_[-1, blank.style_names_.index("value")]).all()  # the third ratio is left
    single = fitted_from(long.with_columns(pl.col(pl.Float64).cast(pl.Float32)))
    np.testing.assert_allclose(single.factor_returns_[1:], fitted_from(long).factor_returns_[1:], atol=1e-6)


# What we refuse, with words of the error.
REFUSED = {
    ("duplicated", "mom"): r"more than once \(rows: 2024-01-03 S12",
    ("no rows", "mom"): "`returns_df` has no rows",
    ("no rows", "returns"): "`returns_df` has no rows",
}
# Where toraniko fails, we answer: a date with a missing value has no factor returns and no residuals.
ANSWERED = {(kind, "returns") for kind in ("null column", "infinities", "nan", "null")}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Toraniko's answers and errors to every kind of bad input."""
    if not ORACLE.exists():
        pytest.skip("no .venv-oracles: run `make oracles`")
    folder = tmp_path_factory.mktemp("bad-input")
    script = ROOT / "tests" / "oracle_scripts" / "toraniko_bad_input.py"
    subprocess.run([ORACLE, script, folder], check=True, capture_output=True)
    return folder, json.loads((folder / "errors.json").read_text())


@pytest.fixture(scope="module")
def frames():
    return kinds()


@pytest.mark.oracle
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", list(kinds()))
def test_drop_in_functions_answer_bad_frames_as_toraniko_does_or_say_what_is_wrong(theirs, frames, kind, function):
    folder, errors = theirs
    name = f"{kind}-{function}"
    if (kind, function) in REFUSED:
        with pytest.raises(FactorError, match=REFUSED[kind, function]):
            ask(function, frames[kind], model, styles)
        return
    ours = ask(function, frames[kind], model, styles)
    if name in errors:
        assert (kind, function) in ANSWERED, errors[name]
        return
    answer = pl.read_parquet(folder / f"{name}.parquet")
    assert set(answer.columns) <= set(ours.columns)
    keys = [key for key in KEYS if key in answer.columns]
    ours, answer = ours.select(answer.columns).sort(keys), answer.sort(keys)
    assert ours.select(keys).equals(answer.select(keys))
    values = [column for column in answer.columns if column not in keys]
    a, b = (frame.select(pl.col(values).cast(pl.Float64)).to_numpy() for frame in (ours, answer))
    tolerance = 1e-5 if kind == "float32" else 1e-10
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_drop_in_frames_of_two_time_zones_do_not_meet(long):
    sectors = [name for name in long.columns if name.startswith("sector_")]
    parts = [long.select(*KEYS, *names) for names in (["asset_returns"], ["market_cap"], sectors, ["one", "two"])]
    stamp = pl.col("date").cast(pl.Datetime("us"))
    parts = [part.with_columns(stamp.dt.replace_time_zone("UTC")) for part in parts]
    parts[1] = parts[1].with_columns(pl.col("date").dt.convert_time_zone("Asia/Tokyo"))
    with pytest.raises(FactorError, match="time zone") as caught:
        model.estimate_factor_returns(*parts)
    assert caught.value.field == "date"
    assert dt.date(2024, 1, 1) == long["date"].min()


# What a frame of each kind is refused for; the others are fitted.
REFUSED_FRAMES = {"infinities": "asset_returns", "duplicated": "symbol", "no rows": "frame"}


@pytest.mark.parametrize("kind", list(kinds()))
def test_the_model_takes_a_frame_of_each_kind_or_names_the_column(frames, kind):
    frame = frames[kind].with_columns(asset_returns=pl.col("asset_returns").clip(lower_bound=-0.5))
    sectors = [name for name in frame.columns if name.startswith("sector_")]
    fitted = FactorModel(CHOSEN)
    if kind in REFUSED_FRAMES:
        with pytest.raises(FactorError) as caught:
            fitted.set_features(frame, sectors)
        assert caught.value.field == REFUSED_FRAMES[kind]
        return
    assert finite(fitted.set_features(frame, sectors).fit())
    assert fitted.factor_returns_.shape == (30, 1 + len(fitted.sector_names_) + 2)
    assert bool(fitted.n_obs_[1:].all()) == (kind != "null column")
