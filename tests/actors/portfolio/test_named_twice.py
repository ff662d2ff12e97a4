"""What names twice, nothing, or too little: a name counts once, and the error is of the field that has to change."""

import pytest
from fixtures_actors import ask

from contracts import portfolio_requests as pq
from contracts.errors import InvalidInput
from contracts.library_requests import FactorCorrelations
from contracts.requests import CleanFeatures, StyleFactors
from contracts.validation import validate


def test_a_name_that_is_repeated_has_one_part_of_the_risk(books, steady):
    def budget(symbols):
        return ask(books.risk_budget, validate(pq.RiskBudget, {"model_id": "m", "symbols": symbols})).values["weights"]

    once = budget(steady[:3])
    assert sum(once.values()) == pytest.approx(1.0)
    assert budget([*steady[:3], steady[0], steady[0]]) == once


@pytest.mark.parametrize(
    ("model", "given", "field"),
    [
        (StyleFactors, {"model_id": "m", "symbols": ["B", "A", "B"]}, "symbols"),
        (CleanFeatures, {"model_id": "m", "to_fill": ["B", "A", "B"]}, "to_fill"),
        (pq.FactorPerformance, {"factors": ["B", "A", "B"]}, "factors"),
        (pq.LibrarySignals, {"factors": ["B", "A", "B"]}, "factors"),
        (FactorCorrelations, {"factors": ["B", "A", "B"]}, "factors"),
    ],
)
def test_names_are_taken_once_in_their_order(model, given, field):
    assert list(getattr(validate(model, given), field)) == ["B", "A"]


def test_a_universe_of_nothing_is_an_error_of_the_symbols():
    with pytest.raises(InvalidInput) as caught:
        validate(pq.Optimize, {"symbols": []})
    assert caught.value.field == "symbols"


@pytest.mark.parametrize("kind", ["shocks", "name_shocks"])
def test_a_scenario_without_a_shock_is_no_calm_one(risks, steady, kind):
    with pytest.raises(InvalidInput, match="'x' has no shock") as caught:
        ask(risks.stress, pq.Stress(model_id="m", portfolio_weights={steady[0]: 1.0}, **{kind: {"x": {}}}))
    assert caught.value.field == f"{kind}.x"


def test_errors_of_limits_name_fields_that_requests_have(books, risks, steady):
    unbounded = pq.Optimize(
        model_id="m", alpha={steady[0]: 1.0}, risk_aversion=0.0, position=(None, None), net=(None, None)
    )
    with pytest.raises(InvalidInput, match="nothing limits the weights") as caught:
        ask(books.optimize, unbounded)
    assert caught.value.field == "position"
    hedge = pq.HedgeBook(
        model_id="m",
        portfolio_weights={steady[0]: 1.0},
        instruments=steady[1:2],
        neutral_factors=["beta", "size", "momentum"],
    )
    with pytest.raises(InvalidInput, match="cannot set 3 exposures to zero") as caught:
        ask(risks.hedge, hedge)
    assert caught.value.field == "neutral_factors"
