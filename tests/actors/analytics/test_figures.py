"""Figures of factors by the actors: what is asked by style, library factor, formula or posted scores is the same."""

import numpy as np
import polars as pl
import pytest
from fixtures_actors import ask, start
from pydantic import ValidationError

from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.factor_returns_estimation import FactorReturnsEstimation
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import InvalidInput, UnknownFactor, UnknownSymbol
from contracts.frames import encode
from contracts.settings import settings
from factors import FactorModel, Panel, sample_market
from factors.analytics import crowding, performance, tear_sheet

COLUMNS = {"returns": "asset_returns"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fitted model, its twin `m` in the store."""
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
    settings.cache_clear()
    frame = sample_market(n_assets=30, n_days=120, seed=4).panel.to_frame(names=COLUMNS)
    ask(
        start(FactorModelCreation).create_model,
        rq.CreateModel(model_id="m", feature_data=encode(frame), request_id="r"),
    )
    yield FactorModel().fit(Panel.from_frame(frame))
    patch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def returns(fitted):
    return start(FactorReturnsEstimation)


@pytest.fixture(scope="module")
def library(fitted):
    return start(FactorLibrary)


def judged(library, **fields):
    return ask(library.factor_analytics, pq.FactorAnalytics(model_id="m", horizons=(1, 5), **fields))


def test_a_style_is_judged_as_the_mathematics_judges_its_scores(library, fitted):
    found = judged(library, style="size").values
    scores = fitted.scores_[:, fitted.style_names_.index("size")]
    chosen = tear_sheet(scores, fitted.panel_.fields["returns"], fitted.dates_).figures
    assert found["horizons"][0]["ic"] == pytest.approx(chosen["horizons"][0]["ic"], nan_ok=True)
    assert found["horizons"][1]["spread"]["mean"] == pytest.approx(chosen["horizons"][1]["spread"]["mean"])
    others = {name: fitted.scores_[:, i] for i, name in enumerate(fitted.style_names_) if name != "size"}
    panels = tear_sheet(scores, fitted.panel_.fields["returns"], fitted.dates_, others=others).figures
    assert [row["factor"] for row in found["correlations"]] == [*others]
    for ours, theirs in zip(found["correlations"], panels["correlations"], strict=True):
        assert ours == pytest.approx(theirs), ours["factor"]


def test_the_same_scores_by_factor_formula_and_posted_give_the_same_sheet(library, fitted):
    by_factor = judged(library, factor="alpha101_101").values
    formula = library._describe("alpha101_101")["formula"]
    by_formula = judged(library, formula=formula).values
    assert by_factor["horizons"] == by_formula["horizons"]
    scores = fitted.scores_[:, fitted.style_names_.index("size")]
    posted = {
        str(date): {s: float(x) for s, x in zip(fitted.symbols_, row, strict=True) if np.isfinite(x)}
        for date, row in zip(fitted.dates_, scores, strict=True)
    }
    assert judged(library, scores=posted).values["horizons"] == judged(library, style="size").values["horizons"]


@pytest.mark.parametrize("window", [50, 100])
def test_windows_that_speak_early_are_judged_from_their_first_value_on(library, fitted, window):
    text, returns = f"mean(close, {window}) / close", fitted.panel_.fields["returns"]
    closes = fitted.panel_.fields["close"]
    close = pl.DataFrame(closes).fill_nan(None)
    found = judged(library, formula=text, min_periods="one")
    strict = judged(library, formula=text)
    assert (found.details["min_periods"], strict.details["min_periods"]) == ("one", "strict")
    for answer, least in ((found, 1), (strict, window)):
        scores = close.select(pl.all().rolling_mean(window, min_samples=least).fill_null(np.nan)).to_numpy() / closes
        expected = tear_sheet(scores, returns, fitted.dates_).figures
        for place in (0, 1):
            ours, theirs = answer.values["horizons"][place], expected["horizons"][place]
            assert ours["ic"] == pytest.approx(theirs["ic"], nan_ok=True)
    assert found.values["horizons"] != strict.values["horizons"]
    by_factor = judged(library, factor="alpha101_024", min_periods="one").values
    formula = library._describe("alpha101_024")["formula"]
    assert by_factor["horizons"] == judged(library, formula=formula, min_periods="one").values["horizons"]
    assert by_factor["horizons"] != judged(library, factor="alpha101_024").values["horizons"]


def test_min_periods_of_what_has_no_windows_is_refused():
    for fields in ({"style": "size"}, {"scores": {"2019-01-02": {"S0001": 1.0}}}):
        with pytest.raises(ValueError, match="min_periods is about windows"):
            pq.FactorAnalytics(model_id="m", min_periods="one", **fields)


def test_a_period_is_judged_without_what_lies_outside_of_it(library, fitted):
    start_date, end_date = fitted.dates_[40].item(), fitted.dates_[99].item()
    found = judged(library, style="beta", start_date=start_date, end_date=end_date).values
    assert (found["first_date"], found["last_date"], found["n_dates"]) == (str(start_date), str(end_date), 60)


@pytest.mark.parametrize(
    ("dialect", "text", "own"),
    [
        ("qlib", "Ref($close, 5) / $close - 1", "delay(close, 5) / close - 1"),
        ("brain", "-ts_delta(close, 5);", "-delta(close, 5)"),
        ("paper", "\u22121 \u00d7 rank(delta(close, 5))", "-1 * rank(delta(close, 5))"),
    ],
)
def test_a_formula_of_a_dialect_is_judged_as_its_translation_which_is_shown(library, dialect, text, own):
    found = judged(library, formula=text, dialect=dialect)
    assert found.values["horizons"] == judged(library, formula=own).values["horizons"]
    assert found.details["translation"]["formula"].replace("(", "").replace(")", "") == own.replace("(", "").replace(
        ")", ""
    )
    early = judged(library, formula=text, dialect=dialect, min_periods="one")
    assert early.details["min_periods"] == "one"
    with pytest.raises(InvalidInput, match="unknown operator") as caught:
        judged(library, formula="nosuch(close, 5)", dialect=dialect)
    assert caught.value.field == "formula"
    with pytest.raises(ValueError, match="dialect is about a formula"):
        pq.FactorAnalytics(model_id="m", style="beta", dialect=dialect)


def test_posted_dates_that_judge_nothing_are_told(library, fitted):
    """A month that ends on a Saturday was no date of the market, and a date before the period is not looked at."""
    dates = [str(day) for day in fitted.dates_]
    row = {symbol: float(i) for i, symbol in enumerate(fitted.symbols_)}
    scores = dict.fromkeys(dates[40:80], row)
    assert "warnings" not in judged(library, scores=scores).details
    saturday = next(str(day) for day in np.arange(dates[50], dates[60], dtype="datetime64[D]") if str(day) not in dates)
    found = judged(library, scores={**scores, saturday: row, dates[3]: row}, start_date=dates[10], end_date=dates[-1])
    (said,) = found.details["warnings"]
    assert said.startswith("2 of 42 dates")
    assert f"{dates[3]}, {saturday}" in said
    assert found.values["horizons"] == judged(library, scores=scores, start_date=dates[10]).values["horizons"]


def test_the_page_comes_where_it_is_asked_for(library):
    assert "<svg" in judged(library, style="size", html=True).values["html"]
    assert "html" not in judged(library, style="size").values


def test_what_is_not_there_is_named(library):
    with pytest.raises(UnknownFactor, match="nope"):
        judged(library, style="nope")
    with pytest.raises(UnknownFactor):
        judged(library, factor="nope")
    with pytest.raises(InvalidInput, match="nosuchfield"):
        judged(library, formula="rank(nosuchfield)")
    with pytest.raises(UnknownSymbol, match="NOBODY"):
        judged(library, scores={"2015-01-02": {"NOBODY": 1.0}})
    with pytest.raises(InvalidInput, match="ISO date"):
        judged(library, scores={"01/02/2015": {"S0000": 1.0}})
    with pytest.raises(ValueError, match="one of style, factor, formula, scores"):
        pq.FactorAnalytics(style="size", factor="alpha101_101")


def test_performance_is_that_of_the_stored_factor_returns(returns, fitted):
    found = ask(returns.factor_performance, pq.FactorPerformance(model_id="m", start_date=fitted.dates_[20].item()))
    series = np.where(np.isfinite(fitted.standard_errors_), fitted.factor_returns_, np.nan)[20:, 0]
    own = performance(series)
    assert found.values["market"]["information_ratio"] == pytest.approx(own.information_ratio)
    assert found.values["market"]["max_drawdown"] == pytest.approx(own.max_drawdown)
    assert found.values["market"]["drawdown_end"] == str(fitted.dates_[20 + own.drawdown_end])
    assert found.details["correlation"]["market"]["market"] == pytest.approx(1.0)
    with pytest.raises(UnknownFactor, match="nope"):
        ask(returns.factor_performance, pq.FactorPerformance(model_id="m", factors=["nope"]))


def test_trend_and_crowding_are_those_of_the_window(returns, fitted):
    found = ask(returns.factor_trend, pq.FactorTrend(model_id="m", window_days=60, quantile=0.2)).values
    series = fitted.factor_returns_[-60:, 0]
    assert found["market"]["momentum"] == pytest.approx(np.prod(1.0 + series) - 1.0)
    row = fitted.scores_[-1, fitted.style_names_.index("size")]
    high = np.quantile(row[~np.isnan(row)], 0.8)
    assert found["size"]["crowding_high"] == pytest.approx(crowding(fitted.residuals_[-60:], row >= high))
    assert "crowding_high" not in found["market"]


def test_signals_of_factors_and_formulas_are_ics_and_a_blend_of_zscores(library, fitted):
    found = ask(
        library.library_signals,
        pq.LibrarySignals(
            model_id="m", factors=("alpha101_101",), formulas={"back": "-delta(close, 5)"}, window_days=40
        ),
    ).values
    symbols = fitted.panel_.symbols
    zscores, t_statistics = [], []
    for name, asked in (("alpha101_101", {"factor": "alpha101_101"}), ("back", {"formula": "-delta(close, 5)"})):
        factor = found["factors"][name]
        dates = [str(day) for day in fitted.dates_]
        sheet = judged(library, start_date=dates[-41], end_date=dates[-1], **asked).values["horizons"][0]["ic"]
        assert (factor["ic"], factor["ic_t"]) == (pytest.approx(sheet["mean"]), pytest.approx(sheet["t_statistic"]))
        assert factor["n_days"] == 40
        t_statistics.append(factor["ic_t"])
        zscores.append([factor["zscores"][symbol] for symbol in symbols])
    z = np.array(zscores, dtype=float)
    assert np.nanmean(z, axis=1) == pytest.approx(0.0, abs=1e-12)
    assert np.nanstd(z, axis=1, ddof=1) == pytest.approx(1.0)
    for n, symbol in enumerate(symbols):
        known = [k for k in range(2) if not np.isnan(z[k, n])]
        weight = sum(abs(t_statistics[k]) for k in known)
        expected = sum(t_statistics[k] * z[k, n] for k in known) / weight if known else None
        assert found["composite"][symbol] == (pytest.approx(expected) if known else None)


def test_signals_are_of_the_past_of_their_date(library, fitted):
    asked = pq.LibrarySignals(
        model_id="m", formulas={"back": "-delta(close, 5)"}, window_days=20, date_requested=str(fitted.dates_[-30])
    )
    found = ask(library.library_signals, asked)
    sheet = judged(
        library, formula="-delta(close, 5)", start_date=str(fitted.dates_[-50]), end_date=str(fitted.dates_[-30])
    ).values["horizons"][0]["ic"]
    assert found.values["factors"]["back"]["ic"] == pytest.approx(sheet["mean"])
    assert found.details["date"] == str(fitted.dates_[-30])


def test_signals_that_cannot_be_made_say_why(library):
    with pytest.raises(ValidationError, match="factors or formulas must be given"):
        pq.LibrarySignals(model_id="m")
    with pytest.raises(InvalidInput, match="days before"):
        ask(library.library_signals, pq.LibrarySignals(model_id="m", factors=("alpha101_101",), window_days=300))
    with pytest.raises(UnknownFactor):
        ask(library.library_signals, pq.LibrarySignals(model_id="m", factors=("no_such",)))
    with pytest.raises(UnknownSymbol):
        ask(
            library.library_signals,
            pq.LibrarySignals(model_id="m", factors=("alpha101_101",), symbols=["NOBODY"], window_days=20),
        )
    with pytest.raises(InvalidInput, match="named twice"):
        ask(
            library.library_signals,
            pq.LibrarySignals(
                model_id="m", factors=("alpha101_101",), formulas={"alpha101_101": "close"}, window_days=20
            ),
        )
