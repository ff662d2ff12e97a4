"""A body becomes a request, or one error that names what is wrong with it."""

import pytest

from bus.read_request import request_of
from contracts import library_requests, portfolio_requests, requests
from contracts.errors import InvalidInput, MalformedBody
from contracts.operations import OPERATIONS
from contracts.requests import CreateModel, FactorExposures
from contracts.validation import validate

TABLE = {"date": ["2024-01-02"], "symbol": ["A"], "close": [1.0]}
FOUR_TABLES = dict.fromkeys(("returns_df", "market_cap_df", "sector_df", "style_df"), TABLE)


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_a_body_that_is_no_object_is_malformed(body):
    with pytest.raises(MalformedBody, match="JSON object"):
        validate(FactorExposures, body)


def test_a_missing_field_is_named():
    with pytest.raises(InvalidInput) as told:
        validate(FactorExposures, {})
    assert told.value.field == "portfolio_weights"


def test_a_value_of_the_wrong_type_is_named_with_its_way_down():
    with pytest.raises(InvalidInput) as told:
        validate(FactorExposures, {"portfolio_weights": {"A": "much"}})
    assert told.value.field.startswith("portfolio_weights.A")


def test_a_bad_table_is_named_by_the_requests_own_field_with_its_rows():
    table = {"date": ["2020-01-02", True, "2020-01-03"], "symbol": ["A", "B", "C"]}
    with pytest.raises(InvalidInput) as told:
        validate(CreateModel, {"model_id": "m", "feature_data": table})
    assert (told.value.field, told.value.rows) == ("feature_data.date", [1])
    assert "frame" not in told.value.detail


def test_of_many_faults_five_are_told_and_the_rest_counted():
    with pytest.raises(InvalidInput, match=r"and 3 more"):
        validate(FactorExposures, {"portfolio_weights": {f"S{i}": "x" for i in range(8)}})


def test_a_field_that_does_nothing_is_noted_and_a_slip_of_a_known_one_is_an_error():
    sent = {"portfolio_weights": {"A": 1.0}, "desk": "rates", "trader": 7}
    assert validate(FactorExposures, sent).ignored_fields == ("desk", "trader")
    assert validate(FactorExposures, {"portfolio_weights": {"A": 1.0}}).ignored_fields == ()
    for slip, meant in (
        ("date", "date_requested"),
        ("portfolio_weight", "portfolio_weights"),
        ("benchmrk", "benchmark"),
        ("dates", "date_requested"),
        ("weights", "portfolio_weights or benchmark_weights"),
    ):
        with pytest.raises(InvalidInput, match=f"did you mean {meant}") as told:
            validate(FactorExposures, {"portfolio_id": "market", slip: "2016-06-30"})
        assert told.value.field == slip


def test_a_word_of_two_fields_is_a_slip_of_either_and_one_of_many_or_a_short_one_is_none():
    for slip in ("date", "dates"):
        with pytest.raises(InvalidInput, match="did you mean start_date or end_date"):
            validate(requests.PortfolioAttribution, {"portfolio_id": "market", slip: "2016-06-30"})
    sent = {"style": "size", "id": "7"}  # of request_id and model_id
    assert validate(portfolio_requests.FactorAnalytics, sent).ignored_fields == ("id",)


def test_who_misspells_the_model_is_not_answered_about_the_default_one():
    sent = {"portfolio_weights": {"A": 1.0}, "model": "europe"}
    for default in ("main", None):
        with pytest.raises(InvalidInput, match="model is not a field of this request; did you mean model_id"):
            request_of(OPERATIONS["portfolio_risk"], sent, default)


WITH_BENCHMARK = [
    model
    for module in (requests, portfolio_requests)
    for model in vars(module).values()
    if isinstance(model, type) and {"benchmark", "benchmark_weights"} <= getattr(model, "model_fields", {}).keys()
]


@pytest.mark.parametrize("model", WITH_BENCHMARK, ids=lambda model: model.__name__)
def test_a_benchmark_by_name_beside_one_by_weights_or_of_nothing_is_refused(model):
    given = {
        "portfolio_weights": {"A": 1.0},
        "benchmark_weights": {"B": 1.0},
        "trades": {"A": 0.1},
        "instruments": ["A"],
        "shocks": {"fall": {"market": -0.1}},
        "book_value": 1e6,
        "alpha": {"A": 0.1},
    }
    sent = {name: value for name, value in given.items() if name in model.model_fields}
    validate(model, sent)
    with pytest.raises(InvalidInput, match="only one may be given") as told:
        validate(model, {**sent, "benchmark": "market"})
    assert told.value.field == "benchmark"
    with pytest.raises(InvalidInput):
        validate(model, {**sent, "benchmark_weights": {}})


@pytest.mark.parametrize(
    ("model", "plain", "idle", "wakes"),
    [
        (portfolio_requests.Optimize, {"symbols": ["A"]}, {"risk_aversion": 5.0}, {"alpha": {"A": 0.1}}),
        (portfolio_requests.Margin, {"portfolio_id": "p"}, {"n_scenarios": 2000}, {"methods": ["monte_carlo"]}),
        (
            portfolio_requests.WhatIf,
            {"portfolio_id": "p", "trades": {"A": 0.1}},
            {"confidence": 0.95},
            {"n_scenarios": 2000},
        ),
        (
            portfolio_requests.Stress,
            {"portfolio_id": "p", "episodes": {"fall": ["2020-02-19", "2020-03-23"]}},
            {"propagate": False},
            {"shocks": {"b": {"market": -0.1}}},
        ),
        (requests.StyleFactors, {"model_id": "m"}, {"intake": {}}, {}),
        (requests.StyleFactors, {"returns_data": TABLE}, {"model_id": "m"}, {}),
        (requests.FactorReturns, {"model_id": "m"}, {"residualize_styles": True, "winsor_factor": 0.1}, {}),
        (requests.FactorReturns, FOUR_TABLES, {"model_id": "m", "start_date": "2020-01-01"}, {}),
        (requests.MomentumFactor, {"model_id": "m"}, {"market_cap_data": TABLE, "intake": {}}, {}),
        (requests.ValueFactor, {"fundamental_data": TABLE}, {"model_id": "m", "trailing_days": 20}, {}),
        (requests.SizeFactor, {"model_id": "m"}, {"winsor_factor": 0.1, "trailing_days": 20}, {}),
        (requests.EvaluateFormula, {"formula": "close"}, {"bars": 2, "bar_s": 60.0}, {"frame_data": TABLE}),
        (
            library_requests.FactorCorrelations,
            {"factors": ["a", "b"]},
            {"neutralise_by": "sector", "winsor_deviations": 2.0},
            {"form": "neutralised"},
        ),
        (
            library_requests.FactorCorrelations,
            {"factors": ["a", "b"], "form": "zscore"},
            {"neutralise_by": "sector"},
            {},
        ),
    ],
)
def test_a_field_that_does_nothing_beside_the_others_is_noted_where_it_was_sent(model, plain, idle, wakes):
    assert validate(model, plain).ignored_fields == ()
    assert validate(model, {**plain, **idle, "strange": 1}).ignored_fields == tuple(sorted([*idle, "strange"]))
    if wakes:
        assert validate(model, {**plain, **idle, **wakes}).ignored_fields == ()


def test_the_default_model_is_none_that_a_sender_of_tables_gave():
    made = validate(requests.SizeFactor, {"market_cap_data": TABLE, "model_id": "main"}, filled=("model_id",))
    assert made.ignored_fields == ()


def test_tables_without_one_of_them_are_not_answered_by_the_model():
    some = {name: table for name, table in FOUR_TABLES.items() if name != "returns_df"}
    with pytest.raises(InvalidInput, match="missing: returns_df"):
        validate(requests.FactorReturns, {**some, "model_id": "main"}, filled=("model_id",))
