"""The factor library's actor on a small model: definitions, values, correlations, formulas of the caller's own."""

import numpy as np
import pytest

from actors.factor_library import FactorLibrary
from actors.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.errors import EngineError, InvalidInput, UnknownFactor, UnknownSymbol
from contracts.frames import encode
from contracts.settings import settings
from factors.panel import Panel
from factors.sample import sample_market

COLUMNS = {"returns": "asset_returns"}
N_DAYS = 90


@pytest.fixture(scope="module")
def market():
    return Panel.from_frame(sample_market(n_assets=30, n_days=N_DAYS).panel.to_frame(names=COLUMNS))


@pytest.fixture(scope="module")
def writer(market, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
    settings.cache_clear()
    actor = started(FactorModelCreation)
    panel = market.select(dates=market.dates[:-2])
    ask(actor.create_model, rq.CreateModel(model_id="m", feature_data=encode(panel.to_frame(names=COLUMNS))))
    plain = panel.to_frame(names=COLUMNS).select("date", "symbol", "asset_returns", "market_cap", "sector", "close")
    ask(actor.create_model, rq.CreateModel(model_id="plain", feature_data=encode(plain)))
    yield actor
    patch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def library(writer):
    return started(FactorLibrary)


def started(kind):
    actor = kind()
    assert actor._ready.wait(150)
    assert actor._state == "READY", actor._reason
    return actor


def ask(method, request):
    answer = method([request.model_dump()])[0]
    if isinstance(answer, EngineError):
        raise answer
    return answer


def test_definitions_tell_what_is_loaded_computable_and_missing_and_why(library):
    body = ask(library.definitions, rq.Definitions(model_id="m"))["body"]
    assert body["loaded"] == len(body["definitions"]) >= 506
    assert body["computable"] + len(body["missing"]) == body["loaded"]
    assert body["computable"] >= 506
    plain = ask(library.definitions, rq.Definitions(model_id="plain"))["body"]
    assert plain["computable"] < body["computable"]
    assert "shares" in plain["proxies"]
    assert all(reason.startswith("needs ") for reason in plain["missing"].values())


def test_without_a_model_nothing_is_computable_and_the_reason_says_so(library):
    body = ask(library.definitions, rq.Definitions())["body"]
    assert body["computable"] == 0
    assert set(body["missing"].values()) == {"no model is loaded"}


def test_a_category_holds_its_definitions_and_an_unknown_one_is_named(library):
    body = ask(library.factor_category, rq.FactorCategory(category="alpha101", model_id="m"))["body"]
    assert body["loaded"] == 101
    assert {d["category"] for d in body["definitions"]} == {"alpha101"}
    with pytest.raises(UnknownFactor, match="nonsense"):
        ask(library.factor_category, rq.FactorCategory(category="nonsense"))


def test_a_formula_of_the_callers_own_is_evaluated(library, market):
    request = rq.EvaluateFormula(formula="close / delay(close, 5) - 1", model_id="m")
    answer = ask(library.evaluate_formula, request)
    closes = market.fields["close"][:-2]
    expected = dict(zip(market.symbols, closes[-1] / closes[-6] - 1, strict=True))
    assert answer["values"]
    for symbol, value in answer["values"].items():
        assert value == pytest.approx(expected[symbol], rel=1e-12)
    assert answer["extra"]["warmup"] == 5


def test_a_malformed_formula_says_where(library):
    with pytest.raises(InvalidInput) as caught:
        ask(library.evaluate_formula, rq.EvaluateFormula(formula="rank(close,,)", model_id="m"))
    assert caught.value.field == "formula"
    assert "line 1, column" in caught.value.detail


def test_a_formula_whose_field_the_model_lacks_says_which(library):
    with pytest.raises(InvalidInput, match="earnings"):
        ask(library.evaluate_formula, rq.EvaluateFormula(formula="earnings / market_cap", model_id="plain"))


def test_all_factors_of_a_symbol_follow_the_appended_days(library, writer, market):
    symbol = str(market.symbols[int(np.flatnonzero(np.isfinite(market.fields["close"][-3:]).all(axis=0))[0])])
    first = ask(library.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m"))
    assert first["extra"]["date"] == str(market.dates[-3])
    defined = [v for v in first["values"].values() if v is not None]
    assert len(defined) > 250
    for row in (-2, -1):
        day = market.select(dates=market.dates[row:][:1])
        ask(writer.append_day, rq.AppendDay(model_id="m", feature_data=encode(day.to_frame(names=COLUMNS))))
        stepped = ask(library.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m"))
        assert stepped["extra"]["date"] == str(market.dates[row])
    assert library.live.known("m").steps == 2
    other = started(FactorLibrary)
    anew = ask(other.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m"))
    assert anew["values"] == stepped["values"]
    assert anew["extra"] == stepped["extra"]
    results = ask(library.factor_results, rq.FactorResults(symbol=symbol, model_id="m"))
    assert results["values"] == stepped["values"]


def test_chosen_factors_on_a_past_date_are_those_of_that_date(library, market):
    symbol = str(market.symbols[0])
    ids = ["alpha101_101", "alpha101_012"]
    known = library.formulas.catalogue.entries
    ids = [i for i in ids if i in known] or list(known)[:2]
    date = market.dates[60].item()
    answer = ask(
        library.calculate_factors,
        rq.CalculateFactors(symbol=symbol, model_id="m", factors=ids, date_requested=date),
    )
    assert list(answer["values"]) == ids
    assert answer["extra"]["date"] == str(market.dates[60])
    with pytest.raises(UnknownFactor, match="nonsense"):
        ask(library.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m", factors=["nonsense"]))
    with pytest.raises(UnknownSymbol):
        ask(library.calculate_factors, rq.CalculateFactors(symbol="NOPE", model_id="m"))


def test_results_before_any_calculation_say_what_to_do(library):
    with pytest.raises(UnknownFactor, match="calculate"):
        ask(library.factor_results, rq.FactorResults(symbol="A", model_id="plain"))


def test_correlations_are_symmetric_with_ones_on_the_diagonal(library):
    ids = list(library.formulas.catalogue.categories()["alpha158"])[:4]
    answer = ask(library.factor_correlations, rq.FactorCorrelations(model_id="m", factors=ids, window_days=20))
    rows = answer["values"]["correlation"]
    for i, name in enumerate(ids):
        assert rows[i][name] is None or rows[i][name] == pytest.approx(1.0)
        for j, other in enumerate(ids):
            assert rows[i][other] == rows[j][name]


def test_a_registered_formula_is_a_definition_also_after_a_restart(library):
    request = rq.EvaluateFormula(formula="rank(close) - rank(volume)", model_id="m", register_as="my_spread")
    ask(library.evaluate_formula, request)
    ask(library.evaluate_formula, request)
    body = ask(library.factor_category, rq.FactorCategory(category="registered", model_id="m"))["body"]
    assert [d["id"] for d in body["definitions"]] == ["my_spread"]
    other = rq.EvaluateFormula(formula="rank(close)", model_id="m", register_as="my_spread")
    with pytest.raises(InvalidInput, match="another formula"):
        ask(library.evaluate_formula, other)
    again = started(FactorLibrary)
    assert list(again.formulas.registered) == ["my_spread"]
