"""The workload actors as plain objects on a small market: what they answer is what the mathematics says."""

import datetime as dt
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from actors.workloads.covariance_matrix_computation import CovarianceMatrixComputation
from actors.workloads.factor_exposure_analysis import FactorExposureAnalysis
from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.factor_returns_estimation import FactorReturnsEstimation
from actors.workloads.momentum_factor import MomentumFactor
from actors.workloads.portfolio_factor_attribution import PortfolioFactorAttribution
from actors.workloads.risk_model_construction import RiskModelConstruction
from actors.workloads.size_factor import SizeFactor
from actors.workloads.style_factor_calculation import StyleFactorCalculation
from actors.workloads.value_factor import ValueFactor
from contracts import requests as rq
from contracts.errors import DateOutsideModel, EngineError, InvalidInput, UnknownModel, UnknownSymbol
from contracts.frames import encode
from contracts.settings import settings
from contracts.work import new_id
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.panel.panel import Panel
from factors.returns.date_tally import returns_told
from factors.risk.covariance import FactorCovariance
from factors.risk.settings import FactorCovarianceSettings
from factors.sample.market import sample_market
from store import ModelStore

N_DAYS = 330
COLUMNS = {"returns": "asset_returns"}


@pytest.fixture(scope="module")
def market():
    """As callers see it: through a frame, where a null sector is the sector Unknown."""
    return Panel.from_frame(sample_market(n_assets=60, n_days=N_DAYS).panel.to_frame(names=COLUMNS))


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(path))
    settings.cache_clear()
    yield path
    patch.undo()
    settings.cache_clear()


def start(kind):
    actor = kind()
    assert actor._ready.wait(120)
    assert actor._state == "READY", actor._reason
    return actor


def one(method, request):
    """Ask an operation one thing, as the actor's queue does."""
    answer = method([request])[0] if getattr(method, "batched", False) else method(request)
    if isinstance(answer, EngineError):
        raise answer
    return answer


def frame_of(panel):
    return encode(panel.to_frame(names=COLUMNS))


@pytest.fixture(scope="module")
def writer(store_dir):
    return start(FactorModelCreation)


@pytest.fixture(scope="module")
def model(writer, market):
    """The model `m` on all days but the last two; its fitted twin stays here for comparison."""
    panel = market.select(dates=market.dates[:-2])
    one(writer.create_model, rq.CreateModel(model_id="m", feature_data=frame_of(panel), request_id="c1"))
    return FactorModel().fit(panel)


@pytest.fixture(scope="module")
def exposures(model):
    return start(FactorExposureAnalysis)


def test_exposures_of_many_portfolios_are_the_products_with_the_fitted_exposures(exposures, model):
    rng = np.random.default_rng(1)
    X = model.exposures()
    requests = []
    for _ in range(5):
        chosen = rng.choice(len(model.symbols_), 10, replace=False)
        weights = {model.symbols_[i]: float(w) for i, w in zip(chosen, rng.dirichlet(np.ones(10)), strict=True)}
        requests.append(rq.FactorExposures(model_id="m", portfolio_weights=weights))
    answers = exposures.factor_exposures(requests)
    for request, answer in zip(requests, answers, strict=True):
        w = np.array([request.portfolio_weights.get(s, 0.0) for s in model.symbols_])
        assert list(answer.values) == list(model.factor_names_)
        np.testing.assert_allclose(list(answer.values.values()), w @ np.nan_to_num(X), atol=1e-12)
        assert answer.model_version == 1
        assert answer.device in ("cpu", "metal_gpu", "neural_engine")
        assert 0.0 < answer.confidence_score <= 1.0


def test_exposures_of_a_past_date_are_those_of_that_date(exposures, model):
    date = model.dates_[200]
    symbol = model.symbols_[int(np.flatnonzero(model.exposures(date)[:, 0] == 1.0)[0])]
    request = rq.FactorExposures(model_id="m", portfolio_weights={symbol: 1.0}, date_requested=date.item())
    answer = one(exposures.factor_exposures, request)
    expected = model.exposures(date)[model.symbols_.index(symbol)]
    np.testing.assert_allclose(list(answer.values.values()), expected, atol=1e-12)
    assert answer.details["date"] == str(date)


def test_one_bad_portfolio_does_not_spoil_the_batch(exposures, model):
    good = rq.FactorExposures(model_id="m", portfolio_weights={model.symbols_[0]: 1.0})
    bad = [
        good.model_copy(update=changed)
        for changed in (
            {"portfolio_weights": {"NOPE": 1.0, model.symbols_[0]: 0.5}},
            {"model_id": "none"},
            {"date_requested": dt.date(1999, 1, 4)},
            {"model_id": None},
        )
    ]
    answers = exposures.factor_exposures([bad[0], good, *bad[1:]])
    assert answers[1].model_version == 1
    kinds = [type(a) for i, a in enumerate(answers) if i != 1]
    assert kinds == [UnknownSymbol, UnknownModel, DateOutsideModel, InvalidInput]
    assert answers[0].rows == ["NOPE"]
    assert answers[0].field == "portfolio_weights"
    assert answers[3].field == "date_requested"


def test_a_bad_portfolio_alone_is_named_too(exposures, model):
    with pytest.raises(UnknownSymbol, match="NOPE"):
        one(exposures.factor_exposures, rq.FactorExposures(model_id="m", portfolio_weights={"NOPE": 1.0}))


def test_status_and_list_tell_what_is_stored(exposures, model):
    body = one(exposures.model_status, rq.ModelRef(model_id="m")).body
    assert (body["n_dates"], body["n_assets"]) == (N_DAYS - 2, 60)
    assert body["factors"] == list(model.factor_names_)
    listed = one(exposures.list_models, rq.Empty()).body
    assert "m" in [m["model_id"] for m in listed["models"]]


@pytest.mark.parametrize("damage", ["half a manifest", "a manifest that says little", "no parts"])
def test_one_damaged_model_is_named_and_the_actor_answers_of_all_others(model, store_dir, damage):
    store = ModelStore(store_dir)
    bad = store.root / "bad"
    shutil.copytree(store.root / "m", bad)
    try:
        if damage == "half a manifest":
            (bad / "manifest.json").write_bytes((bad / "manifest.json").read_bytes()[:1000])
        elif damage == "a manifest that says little":
            text = (bad / "manifest.json").read_text()
            (bad / "manifest.json").write_text(text.replace('"factor_names"', '"names_of_factors"'))
        else:
            for path in (bad / "parts").iterdir():
                path.unlink()
        actor = start(FactorExposureAnalysis)
        listed = one(actor.list_models, rq.Empty()).body
        assert "m" in [row["model_id"] for row in listed["models"]]
        assert [row["model_id"] for row in listed["unreadable"]] == ["bad"]
        assert listed["unreadable"][0]["reason"]
        assert one(actor.model_status, rq.ModelRef(model_id="m")).body["model_version"] >= 1
    finally:
        shutil.rmtree(bad)


def test_a_model_that_is_deleted_while_an_actor_opens_what_there_is_stops_nothing(model, monkeypatch):
    """The listing still names it; the look at it finds none."""
    monkeypatch.setattr(ModelStore, "ids", lambda self: ["gone", "m"])
    actor = start(FactorExposureAnalysis)
    assert [row["model_id"] for row in one(actor.list_models, rq.Empty()).body["models"]] == ["m"]


def test_an_appended_day_gives_the_model_of_the_longer_panel_even_after_a_restart(writer, market):
    first = market.select(dates=market.dates[:-2])
    one(writer.create_model, rq.CreateModel(model_id="grow", feature_data=frame_of(first), request_id="g1"))
    day = market.select(dates=market.dates[-2:-1])
    answer = one(writer.append_day, rq.AppendDay(model_id="grow", feature_data=frame_of(day), request_id="g2"))
    assert (answer.model_version, answer.values["n_dates"]) == (2, N_DAYS - 1)
    writer._models.pop("grow")  # a restarted writer has none in memory
    answer = one(
        writer.append_day, rq.AppendDay(model_id="grow", feature_data=frame_of(market.last(1)), request_id="g3")
    )
    assert (answer.model_version, answer.values["n_dates"]) == (3, N_DAYS)
    whole = FactorModel().fit(market)
    version = writer.store.head("grow")
    np.testing.assert_array_equal(np.asarray(version.day("factor_returns")), whole.factor_returns_)
    np.testing.assert_array_equal(version.latest("answer/factor_covariance"), whole.factor_covariance_)
    np.testing.assert_array_equal(version.latest("answer/specific_variance"), whole.specific_variance_)
    assert len(version.manifest.blocks) == 3
    assert len(writer._models.get("grow")[1].dates_) == 1  # it keeps what the next day needs, not the history


@pytest.mark.parametrize(
    ("kind", "operation", "request_"),
    [
        (MomentumFactor, "momentum", lambda: rq.MomentumFactor(model_id="styled", trailing_days=60)),
        (ValueFactor, "value", lambda: rq.ValueFactor(model_id="styled")),
    ],
)
def test_a_style_carried_over_new_days_is_the_style_computed_afresh(writer, market, kind, operation, request_):
    """A reader that saw the days before, one that sees the model for the first time, and one after a rewrite."""
    first = market.select(dates=market.dates[:-3])
    one(writer.create_model, rq.CreateModel(model_id="styled", feature_data=frame_of(first)))
    carried = start(kind)
    ask = lambda actor: one(getattr(actor, operation), request_())  # noqa: E731
    assert len(ask(carried).values) > 40
    for row in (-3, -2):
        day = market.select(dates=market.dates[row : row + 1])
        one(writer.append_day, rq.AppendDay(model_id="styled", feature_data=frame_of(day)))
        assert ask(carried).values == ask(start(kind)).values
    one(writer.create_model, rq.CreateModel(model_id="styled", feature_data=frame_of(market.last(200))))
    assert ask(carried).values == ask(start(kind)).values


def test_a_repeated_write_makes_no_second_version(writer, market, model):
    panel = market.select(dates=market.dates[:-2])
    request = rq.CreateModel(model_id="m", feature_data=frame_of(panel), request_id="c1")
    assert one(writer.create_model, request).model_version == 1
    assert writer.store.head("m").manifest.version == 1


def test_cleaning_makes_a_version_with_a_recipe(writer, market):
    one(writer.create_model, rq.CreateModel(model_id="clean", feature_data=frame_of(market.last(60))))
    asked = rq.CleanFeatures(model_id="clean", to_winsorize={"volume": 0.05}, to_fill=["close"])
    answer = one(writer.clean_features, asked)
    assert answer.model_version == 2
    recipe = writer.store.head("clean").manifest.meta["recipe"]
    assert recipe["to_winsorize"] == asked.to_winsorize
    assert recipe["to_fill"] == asked.to_fill


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"to_fill": ["nonsense"]}, "to_fill"),
        ({"to_winsorize": {"nonsense": 0.1}}, "to_winsorize.nonsense"),
        ({"to_smooth": {"nonsense": 3}}, "to_smooth.nonsense"),
    ],
)
def test_cleaning_a_field_that_is_not_there_names_it_and_makes_no_version(writer, market, model, asked, field):
    with pytest.raises(FactorError, match="nonsense") as caught:
        one(writer.clean_features, rq.CleanFeatures(model_id="m", **asked))
    assert caught.value.field == field
    assert writer.store.head("m").manifest.version == 1


def test_a_reduced_universe_is_the_estimation_universe(writer, market):
    one(writer.create_model, rq.CreateModel(model_id="top", feature_data=frame_of(market.last(60))))
    one(writer.reduce_universe, rq.ReduceUniverse(model_id="top", top_n=25))
    version = writer.store.head("top")
    assert version.manifest.version == 2
    assert np.asarray(version.day_asset("estimation")).sum(axis=1).max() == 25


def test_estimating_again_commits_the_new_settings(writer, market):
    one(writer.create_model, rq.CreateModel(model_id="again", feature_data=frame_of(market.last(120))))
    one(writer.estimate_style_scores, rq.EstimateStyles(model_id="again", trailing_days=40, winsor_factor=0.02))
    one(writer.estimate_factor_returns, rq.EstimateReturns(model_id="again", winsor_factor=0.05))
    manifest = writer.store.head("again").manifest
    assert manifest.version == 3
    assert manifest.meta["settings"]["style_factors"]["mom"]["trailing_days"] == 40
    assert manifest.meta["settings"]["regression"]["winsor_factor"] == 0.05


def test_a_deleted_model_is_gone_for_readers(writer, exposures, market):
    one(writer.create_model, rq.CreateModel(model_id="gone", feature_data=frame_of(market.last(60))))
    request_id = new_id()
    answer = one(writer.delete_model, rq.ModelRef(model_id="gone", request_id=request_id))
    assert answer.model_version == 2
    assert one(writer.delete_model, rq.ModelRef(model_id="gone", request_id=request_id)).model_version == 2
    with pytest.raises(UnknownModel):
        one(exposures.model_status, rq.ModelRef(model_id="gone"))


def scored(model, fitted, style):
    """Scores of a fitted model's last date, of the names that the model covers; a missing one is not there."""
    row = fitted.scores_[-1, fitted.style_names_.index(style)]
    covered = model.exposures()[:, 0] == 1.0
    pairs = zip(model.symbols_, row, covered, strict=True)
    return {symbol: score for symbol, score, known in pairs if known and np.isfinite(score)}


def test_style_factors_of_the_model_are_the_stored_scores(model):
    actor = start(StyleFactorCalculation)
    answer = one(actor.style_factors, rq.StyleFactors(model_id="m"))
    assert answer.details["stored"] is True
    assert list(answer.values) == list(model.style_names_)
    expected = {style: scored(model, model, style) for style in model.style_names_}
    assert sum(len(scores) > 30 for scores in expected.values()) >= 10
    assert {style: dict(values) for style, values in answer.values.items()} == expected


def test_style_factors_with_another_window_are_computed(model):
    actor = start(StyleFactorCalculation)
    answer = one(actor.style_factors, rq.StyleFactors(model_id="m", trailing_days=60))
    assert answer.details["stored"] is False
    settings = ModelSettings()
    styles = settings.style_factors
    changed = replace(settings, style_factors=replace(styles, mom=replace(styles.mom, trailing_days=60)))
    fitted = FactorModel(changed).fit(model.panel_)
    assert len(scored(model, fitted, "momentum")) > 30
    for style in model.style_names_:
        assert dict(answer.values.get(style, {})) == scored(model, fitted, style)


def test_signals_weigh_styles_by_their_momentum(model):
    actor = start(StyleFactorCalculation)
    answer = one(actor.factor_signals, rq.FactorSignals(model_id="m", window_days=21))
    history = model.factor_returns_[-21:, -len(model.style_names_) :]
    deviation = history.std(axis=0, ddof=1)
    t = history.mean(axis=0) * np.sqrt(21) / np.where(deviation > 0, deviation, np.inf)
    got = [answer.values["styles"][name]["momentum_t"] for name in model.style_names_]
    assert [g is None for g in got] == list(deviation == 0.0)
    np.testing.assert_allclose([g or 0.0 for g in got], t, rtol=1e-9)
    symbol = next(iter(answer.values["composite"]))
    x = model.exposures()[model.symbols_.index(symbol), -len(t) :]
    assert answer.values["composite"][symbol] == pytest.approx(x @ t / np.abs(t).sum(), abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "operation", "request_", "columns"),
    [
        (MomentumFactor, "momentum", lambda f: rq.MomentumFactor(returns_data=f, trailing_days=60), ["asset_returns"]),
        (SizeFactor, "size", lambda f: rq.SizeFactor(market_cap_data=f), ["market_cap"]),
    ],
)
def test_an_individual_factor_of_a_posted_frame_is_standardised(store_dir, market, kind, operation, request_, columns):
    frame = market.last(120).to_frame(names=COLUMNS).select("date", "symbol", *columns)
    answer = one(getattr(start(kind), operation), request_(encode(frame)))
    values = np.array(list(answer.values.values()))
    assert len(values) > 40
    assert values.std() == pytest.approx(1.0, abs=0.1)
    assert answer.model_version is None


def test_value_of_posted_fundamentals_orders_names_by_their_ratios(store_dir):
    n = 20
    ratios = np.linspace(0.1, 2.0, n)
    frame = pl.DataFrame(
        {
            "date": [dt.date(2020, 1, 2)] * n,
            "symbol": [f"S{i:02d}" for i in range(n)],
            "book_price": ratios,
            "sales_price": ratios * 2,
            "cf_price": ratios / 3,
        }
    )
    answer = one(start(ValueFactor).value, rq.ValueFactor(fundamental_data=encode(frame)))
    assert sorted(answer.values, key=answer.values.get) == [f"S{i:02d}" for i in range(n)]


def test_a_posted_frame_with_a_duplicate_row_names_it(store_dir, market):
    frame = market.last(30).to_frame(names=COLUMNS).select("date", "symbol", "asset_returns")
    twice = pl.concat([frame, frame.head(1)])
    with pytest.raises(InvalidInput) as caught:
        one(start(MomentumFactor).momentum, rq.MomentumFactor(returns_data=encode(twice)))
    assert caught.value.field.startswith("returns_data")
    assert caught.value.rows == [[str(frame["date"][0]), frame["symbol"][0]]]


def test_factor_returns_of_the_model_are_the_stored_ones(model):
    actor = start(FactorReturnsEstimation)
    answer = one(actor.factor_returns, rq.FactorReturns(model_id="m"))
    told = returns_told(model.factor_returns_[-1], model.standard_errors_[-1])
    assert np.isnan(told).any()  # a style of which this market knows nothing
    np.testing.assert_allclose(np.array(list(answer.values.values()), dtype=float), told)
    assert len(answer.details["history"]["data"]) == 252
    first, last = model.dates_[10].item(), model.dates_[19].item()
    answer = one(actor.factor_returns, rq.FactorReturns(model_id="m", start_date=first, end_date=last))
    assert [row[0] for row in answer.details["history"]["data"]] == [str(d) for d in model.dates_[10:20]]


def test_factor_returns_of_posted_frames_explain_a_planted_market(store_dir):
    rng = np.random.default_rng(0)
    n, days = 40, [dt.date(2020, 1, 2), dt.date(2020, 1, 3)]
    keys = {"date": [d for d in days for _ in range(n)], "symbol": [f"S{i:02d}" for _ in days for i in range(n)]}
    tech = np.tile(np.arange(n) < n // 2, 2)
    score = np.tile(rng.standard_normal(n), 2)
    move = np.repeat([0.01, -0.02], n) + np.where(tech, 0.005, -0.005) + 0.003 * score
    base = pl.DataFrame(keys)
    request = rq.FactorReturns(
        returns_df=encode(base.with_columns(asset_returns=pl.Series(move))),
        market_cap_df=encode(base.with_columns(market_cap=pl.Series(np.ones(2 * n)))),
        sector_df=encode(base.with_columns(T=pl.Series(tech.astype(float)), O=pl.Series((~tech).astype(float)))),
        style_df=encode(base.with_columns(s=pl.Series(score))),
        winsor_factor=None,
    )
    answer = one(start(FactorReturnsEstimation).factor_returns, request)
    assert answer.values["s"] == pytest.approx(0.003, abs=1e-3)
    assert answer.values["market"] == pytest.approx(-0.02, abs=2e-3)
    assert len(answer.details["history"]["data"]) == 2


def estimated(model, method):
    """Estimate from the days on which a factor was estimated; a factor that was not has no return, which is not 0."""
    returns = np.where(np.isfinite(model.standard_errors_), model.factor_returns_, np.nan)
    seen = returns[np.isfinite(returns).any(axis=1)]
    return FactorCovariance(FactorCovarianceSettings(method=method, window=len(seen))).fit(seen).covariance_


@pytest.mark.parametrize("method", ["model", "sample", "ewma", "ledoit_wolf", "oas"])
def test_covariances_are_those_of_their_estimators_symmetric_and_positive_semidefinite(model, method):
    actor = start(CovarianceMatrixComputation)
    answer = one(actor.covariance, rq.Covariance(model_id="m", method=method))
    matrix = np.array(answer.values["covariance"])
    assert matrix.shape == (len(model.factor_names_),) * 2
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    own = {"model", "ewma"}  # over the whole history, with the model's own half-lives
    expected = model.factor_covariance_ if method in own else estimated(model, method)
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-18)


def test_a_risk_model_covers_the_universe_asked_for(model):
    actor = start(RiskModelConstruction)
    symbols = [s for s, x in zip(model.symbols_, model.exposures(), strict=True) if x[0] > 0][:20]
    answer = one(actor.risk_model, rq.RiskModel(model_id="m", universe_symbols=symbols, universe_size=10))
    values = answer.values
    assert len(values["symbols"]) == 10
    assert set(values["symbols"]) <= set(symbols)
    assert np.array(values["exposures"]).shape == (10, len(model.factor_names_))
    specific = [v for v in values["specific_volatility_annual"].values() if v is not None]
    assert len(specific) >= 9, "one of ten may be too young"
    assert min(specific) > 0.0
    with pytest.raises(UnknownSymbol) as caught:
        one(actor.risk_model, rq.RiskModel(model_id="m", universe_symbols=["NOPE"]))
    assert caught.value.field == "universe_symbols"
    with pytest.raises(DateOutsideModel):
        one(actor.risk_model, rq.RiskModel(model_id="m", start_date=dt.date(1990, 1, 1), end_date=dt.date(1990, 2, 1)))


def test_portfolio_risk_adds_up(model):
    actor = start(RiskModelConstruction)
    covered = [s for s, x in zip(model.symbols_, model.exposures(), strict=True) if x[0] > 0]
    weights = dict.fromkeys(covered[:10], 0.1)
    benchmark = dict.fromkeys(covered, 1 / len(covered))
    answer = one(
        actor.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights=weights, benchmark_weights=benchmark)
    )
    v = answer.values
    assert v["total_risk"] ** 2 == pytest.approx(v["factor_risk"] ** 2 + v["specific_risk"] ** 2)
    assert sum(v["percent_factor"].values()) + v["percent_specific"] == pytest.approx(1.0, abs=1e-10)
    assert sum(v["percent_by_symbol"].values()) == pytest.approx(1.0, abs=1e-10)
    assert v["expected_shortfall"] > v["value_at_risk"] > 0
    held = {s: weights.get(s, 0.0) - benchmark[s] for s in covered}
    active = one(actor.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights=held)).values
    assert v["active"]["active_risk"] == pytest.approx(active["total_risk"])


def test_attribution_ties_out_to_the_portfolio_return(model):
    actor = start(PortfolioFactorAttribution)
    covered = [s for s, x in zip(model.symbols_, model.exposures(), strict=True) if x[0] > 0]
    weights = dict.fromkeys(covered[:10], 0.1)
    start_date = model.dates_[-30].item()
    request = rq.PortfolioAttribution(model_id="m", portfolio_weights=weights, start_date=start_date)
    answer = one(actor.portfolio_attribution, request)
    v = answer.values
    assert v["sum_of_parts"] == pytest.approx(v["portfolio_return"], abs=1e-10)
    columns = [model.symbols_.index(s) for s in weights]
    # A name without a return on a day leaves its weight to the others.
    daily = np.nanmean(model.panel_.fields["returns"][-30:, columns], axis=1)
    assert v["portfolio_return"] == pytest.approx(np.prod(1 + daily) - 1, abs=1e-10)


def test_sectors_come_one_hot_by_name_or_as_a_table(writer, market):
    panel = market.last(60)
    frame = panel.to_frame(names=COLUMNS).filter(pl.col("sector").is_not_null())
    names = sorted(frame["sector"].unique())
    hot = [pl.when(pl.col("sector") == n).then(1.0).otherwise(0.0).alias(n) for n in names]
    wide = frame.with_columns(hot).drop("sector")
    one(writer.create_model, rq.CreateModel(model_id="hot", feature_data=encode(wide), sector_encodings=names))
    table = frame.select("date", "symbol", *hot)
    plain = frame.drop("sector")
    one(
        writer.create_model,
        rq.CreateModel(model_id="table", feature_data=encode(plain), sector_encodings=encode(table)),
    )
    a, b = (writer.store.head(m) for m in ("hot", "table"))
    assert a.manifest.meta["category_names"]["sector"] == names
    np.testing.assert_array_equal(np.asarray(a.day("factor_returns")), np.asarray(b.day("factor_returns")))
    with pytest.raises(InvalidInput) as caught:
        one(writer.create_model, rq.CreateModel(model_id="x", feature_data=encode(wide), sector_encodings=["Nope"]))
    assert caught.value.field == "sector_encodings"
