"""An error about a name that is not there says which one was meant, and names the field that it was given in."""

import datetime as dt

import pytest
from fixtures_actors import ask

from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import DateOutsideModel, InvalidInput, UnknownFactor, UnknownPortfolio, UnknownSymbol
from contracts.validation import validate


def refused(kind, method, request):
    with pytest.raises(kind) as caught:
        ask(method, request)
    return caught.value


def test_a_symbol_in_another_spelling(risks, names):
    spelled = f" {names[0].lower()}"
    error = refused(
        UnknownSymbol, risks.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights={spelled: 1.0})
    )
    assert error.detail.endswith(f"did you mean {names[0]}?")
    assert (error.field, error.rows) == ("portfolio_weights", [spelled])
    error = refused(
        UnknownSymbol, risks.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights={"nobody": 1.0})
    )
    assert "did you mean" not in error.detail


@pytest.mark.parametrize("field", ["benchmark", "portfolio_id"])
def test_a_book_is_named_by_the_field_it_was_given_in(risks, names, field):
    weights = {} if field == "portfolio_id" else {"portfolio_weights": {names[0]: 1.0}}
    error = refused(
        UnknownPortfolio, risks.portfolio_risk, rq.PortfolioRisk(model_id="m", **weights, **{field: "Markt"})
    )
    assert error.field == field
    assert error.detail == "the portfolio 'Markt' does not exist; did you mean market?"


def test_a_benchmark_of_a_history_too(books, names):
    asked = pq.RiskHistory(model_id="m", portfolio_weights={names[0]: 1.0}, benchmark="markt")
    assert refused(UnknownPortfolio, books.risk_history, asked).field == "benchmark"


def test_a_factor_of_a_scenario(risks, names):
    asked = pq.Stress(model_id="m", portfolio_weights={names[0]: 1.0}, shocks={"fall": {"Market": -0.1}})
    error = refused(UnknownFactor, risks.stress, asked)
    assert "did you mean market, " in error.detail
    assert (error.field, error.rows) == ("shocks.fall", ["Market"])


def test_a_scenario_without_a_name_says_how_one_is_written():
    for field in ("shocks", "name_shocks"):
        with pytest.raises(InvalidInput, match="each scenario has a name") as caught:
            validate(pq.Stress, {"portfolio_weights": {"A": 1.0}, field: {"market": -0.1}})
        assert caught.value.field == field


def test_a_period_that_ends_before_it_starts(books, names, fitted):
    first, last = (fitted.dates_[at].item() for at in (-2, -9))
    asked = pq.RiskHistory(model_id="m", portfolio_weights={names[0]: 1.0}, start_date=first, end_date=last)
    error = refused(DateOutsideModel, books.risk_history, asked)
    assert (error.field, error.detail) == ("start_date", f"start_date {first} is after end_date {last}")
    assert isinstance(first, dt.date)


def test_what_is_expected_of_names_is_sought_unless_something_else_is_asked(books, steady):
    alpha = {steady[0]: 0.5}
    asked = {"model_id": "m", "symbols": list(steady)}
    given = ask(books.optimize, validate(pq.Optimize, {**asked, "alpha": alpha}))
    named = ask(books.optimize, validate(pq.Optimize, {**asked, "alpha": alpha, "objective": "max_alpha"}))
    least = ask(books.optimize, validate(pq.Optimize, {**asked, "alpha": alpha, "objective": "min_risk"}))
    plain = ask(books.optimize, validate(pq.Optimize, asked))
    assert given.values == named.values
    assert given.message.startswith("max_alpha over")
    assert given.values["alpha_annual"] > least.values["alpha_annual"]
    assert least.values["weights"] == plain.values["weights"]
    assert plain.message.startswith("min_risk over")


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        (pq.Optimize, {"alpha": {"A": 0.1}, "alpha_style": "value"}, "alpha_style"),
        (pq.Frontier, {"alpha": {"A": 0.1}, "alpha_style": "value"}, "alpha_style"),
    ],
)
def test_a_field_that_would_do_nothing_beside_another_is_refused(kind, fields, field):
    with pytest.raises(InvalidInput) as caught:
        validate(kind, fields)
    assert caught.value.field == field
