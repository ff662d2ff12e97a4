import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from contracts.requests import FactorExposures, PortfolioAttribution, PortfolioRisk
from contracts.validation import validate
from contracts.weights import GROSS_LIMIT, sane


@pytest.mark.parametrize("model", [FactorExposures, PortfolioAttribution, PortfolioRisk])
@pytest.mark.parametrize(
    "weights", [{"A": 1e308}, {"A": 1e308, "B": -1e308}, {"A": 1.7e308, "B": 1.7e308}, {"A": GROSS_LIMIT, "B": 1.0}]
)
def test_weights_whose_sum_is_no_number_that_means_anything_are_refused(model, weights):
    with pytest.raises(InvalidInput, match="the absolute weights add up to") as refused:
        validate(model, {"portfolio_weights": weights})
    assert refused.value.field == "portfolio_weights"


def test_benchmark_weights_are_held_to_the_same():
    with pytest.raises(InvalidInput) as refused:
        validate(PortfolioRisk, {"portfolio_weights": {"A": 1.0}, "benchmark_weights": {"A": 1e300}})
    assert refused.value.field == "benchmark_weights"


@given(st.lists(st.floats(-2 * GROSS_LIMIT, 2 * GROSS_LIMIT), min_size=1, max_size=5))
def test_the_bound_is_the_sums(numbers):
    weights = {f"S{i}": number for i, number in enumerate(numbers)}
    assume(abs(sum(map(abs, numbers)) / GROSS_LIMIT - 1.0) > 1e-12)  # nearer than that, the last digit decides
    if sum(map(abs, numbers)) <= GROSS_LIMIT:
        assert sane(weights) is weights
    else:
        with pytest.raises(ValueError, match="add up to"):
            sane(weights)


def test_shares_of_a_whole_and_amounts_of_money_pass():
    for weights in ({"A": 0.5, "B": -0.5}, {"A": 2.5e9, "B": -1e9}, {"A": 0.0}):
        assert validate(FactorExposures, {"portfolio_weights": weights}).portfolio_weights == weights
