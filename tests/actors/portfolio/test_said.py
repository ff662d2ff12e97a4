"""What an answer about a book says of a question that could only be met in part."""

import datetime as dt

import numpy as np
import pytest
from fixtures_actors import ask

from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import DateOutsideModel, InvalidInput
from contracts.validation import validate


@pytest.fixture
def stress(risks, steady):
    weights = dict.fromkeys(steady[:4], 0.25)
    return lambda **fields: ask(risks.stress, pq.Stress(model_id="m", **{"portfolio_weights": weights, **fields}))


def told(answer):
    """What is told of the episodes, but for the factors without an estimate."""
    return {
        label: {name: value for name, value in row.items() if name != "not_estimated"}
        for label, row in answer.details["episodes"].items()
    }


def test_an_episode_says_which_days_it_was_made_of_and_what_of_it_is_missing(stress, fitted):
    days = [day.item() for day in fitted.dates_]
    inside = told(stress(episodes={"a": (days[-20], days[-16])}))
    assert inside["a"] == {"start_date": str(days[-20]), "end_date": str(days[-16]), "n_days": 5}
    cut = stress(episodes={"a": (days[0] - dt.timedelta(900), days[9]), "b": (days[20], days[30])})
    assert told(cut)["a"] == {"start_date": str(days[0]), "end_date": str(days[9]), "n_days": 9}
    (said,) = (line for line in cut.details["warnings"] if "is counted" in line)
    assert "'a'" in said
    assert f"only {days[0]} to {days[9]} is counted" in said
    # Styles that look back for longer than the history was then have no return in it.
    silent = [line for line in cut.details["warnings"] if "'a': without an estimate" in line]
    assert "beta" in cut.details["episodes"]["a"]["not_estimated"]
    assert len(silent) == 1
    assert "beta" in silent[0]
    late = stress(episodes={"a": (days[-3], days[-1] + dt.timedelta(30))})
    assert any(f"only {days[-3]} to {days[-1]} is counted" in line for line in late.details["warnings"])


def test_an_episode_without_factor_returns_is_an_error_and_not_a_calm_one(stress, fitted):
    first = fitted.dates_[0].item()
    with pytest.raises(DateOutsideModel, match="no factor returns") as caught:
        stress(episodes={"first": (first, first)})
    assert caught.value.field == "episodes.first"


def test_the_other_class_of_a_shocked_issuer_moves_as_their_covariance_expects(stress, fitted, names, steady):
    one, other = names[2:]
    latest = fitted.latest()
    at = [fitted.symbols_.index(name) for name in (one, other)]
    rho = next(
        c[0, 1] for g, c in zip(latest.linked.groups, latest.linked.correlations, strict=True) if set(g) == set(at)
    )
    assert rho > 0.3
    volatility = np.sqrt(latest.specific_variance[at])
    follows = max(-0.2 * rho * volatility[1] / volatility[0], -1.0)
    book = {"portfolio_weights": {other: 0.5, steady[0]: 0.5}, "name_shocks": {"a": {one: -0.2}}}
    assert stress(**book).values["a"]["by_name"] == pytest.approx(0.5 * follows, rel=1e-9)
    assert stress(**book, propagate=False).values["a"]["by_name"] == 0.0
    both = {**book, "name_shocks": {"a": {one: -0.2, other: 0.1}}}
    assert stress(**both).values["a"]["by_name"] == pytest.approx(0.05)
    assert validate(pq.Stress, {**book, "propagate": False}).ignored_fields == ()


def test_a_tail_of_too_few_days_is_told(risks, fitted, steady):
    def margin(row, **fields):
        asked = {"model_id": "m", "portfolio_weights": {steady[0]: 1.0}, "date_requested": fitted.dates_[row].item()}
        return ask(risks.margin, pq.Margin(**asked, **fields)).details

    assert "historical: of 60 past days" in margin(60)["warnings"][0]
    assert "warnings" not in margin(60, confidence=0.95)
    assert "warnings" not in margin(60, methods=("normal", "student_t"))
    assert "warnings" not in margin(150)


def test_costs_stand_against_a_years_alpha(books, steady):
    asked = {"model_id": "m", "symbols": steady[:4], "portfolio_weights": {steady[0]: 1.0}, "risk_aversion": 0.0}
    alpha = {steady[1]: 0.05}
    cheap = ask(books.optimize, pq.Optimize(**asked, alpha=alpha, cost_bps=200)).values
    assert cheap["weights"][steady[1]] == pytest.approx(1.0, abs=1e-5)
    assert cheap["cost"] == pytest.approx(0.04, rel=1e-4)
    dear = ask(books.optimize, pq.Optimize(**asked, alpha=alpha, cost_bps=300)).values
    assert dear["turnover"] == pytest.approx(0.0, abs=1e-5)


def test_an_alpha_of_a_name_that_may_not_be_held_is_told(books, steady):
    asked = {"model_id": "m", "symbols": steady[:3], "alpha": {steady[0]: 0.1, steady[5]: 0.2}}
    assert ask(books.optimize, pq.Optimize(**asked)).details["alpha_left_out"] == [steady[5]]
    assert "alpha_left_out" not in ask(books.optimize, pq.Optimize(**{**asked, "symbols": steady[:6]})).details


def test_limits_and_names_that_would_do_something_else_or_nothing_are_refused_or_told(steady):
    with pytest.raises(InvalidInput, match="active_position needs benchmark"):
        validate(pq.Optimize, {"active_position": 0.02})
    assert validate(pq.Optimize, {"active_position": 0.02, "benchmark": "market"}).active_position == 0.02
    both = validate(pq.RiskBudget, {"symbols": steady[:2], "budgets": {steady[3]: 1.0}})
    assert both.ignored_fields == ("symbols",)


def test_a_risk_model_has_what_the_risk_of_a_book_is_made_of_share_classes_included(risks, names, steady):
    universe = [*names[2:], *steady[:3]]
    made = ask(risks.risk_model, rq.RiskModel(model_id="m", universe_symbols=universe))
    symbols, x = made.values["symbols"], np.array([made.values["exposures"][i] for i in range(len(universe))])
    year = made.details["periods_per_year"]
    volatility = np.array([made.values["specific_volatility_annual"][s] for s in symbols]) / np.sqrt(year)
    correlation = np.eye(len(symbols))
    for row in made.details["specific_correlations"]:
        at = [symbols.index(symbol) for symbol in row["symbols"]]
        correlation[np.ix_(at, at)] = row["correlation"]
    V = x @ np.array(made.values["factor_covariance"]) @ x.T + correlation * np.outer(volatility, volatility)
    book = {names[2]: 0.5, names[3]: -0.4, steady[0]: 0.2}
    w = np.array([book.get(symbol, 0.0) for symbol in symbols])
    told = ask(risks.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights=book)).values
    assert np.sqrt(w @ V @ w) == pytest.approx(told["total_risk"], rel=1e-9)
    alone = ask(risks.risk_model, rq.RiskModel(model_id="m", universe_symbols=steady[:3]))
    assert "specific_correlations" not in alone.details


def test_a_risk_model_names_what_was_asked_for_and_is_not_there(risks, names, steady):
    asked = {"model_id": "m", "universe_symbols": [names[1], *steady[:4]]}
    assert ask(risks.risk_model, rq.RiskModel(**asked)).details["uncovered_symbols"] == [names[1]]
    assert "cut_symbols" not in ask(risks.risk_model, rq.RiskModel(**asked)).details
    small = ask(risks.risk_model, rq.RiskModel(**asked, universe_size=3))
    assert len(small.values["symbols"]) == 3
    assert {*small.values["symbols"], *small.details["cut_symbols"]} == set(steady[:4])
