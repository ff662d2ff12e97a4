"""The same rows dated daily and weekly: what is a row's stays, what is a year's follows the dates."""

import numpy as np
import pytest
from fixtures_actors import ask, start

from actors.workloads.covariance_matrix_computation import CovarianceMatrixComputation
from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.factor_returns_estimation import FactorReturnsEstimation
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.frames import encode
from factors import Panel, sample_market

ROOT = (52 / 252) ** 0.5
"""A year's deviation of weekly rows to that of the same rows taken for daily ones."""


@pytest.fixture(scope="module")
def twins(stored, market):
    """Models of the same rows, by how far apart their dates lie."""
    writer = start(FactorModelCreation)
    daily = sample_market(n_assets=30, n_days=150, seed=2).panel
    weekly = Panel(
        np.datetime64("2016-01-01") + 7 * np.arange(daily.n_dates), daily.symbols, daily.fields, daily.categories
    )
    for name, panel in {"daily": daily, "weekly": weekly}.items():
        ask(writer.create_model, rq.CreateModel(model_id=name, feature_data=encode(panel.to_frame()), request_id=name))
    return ("daily", "weekly"), daily.symbols[:6]


@pytest.fixture
def both(twins):
    models, _ = twins

    def answers(method, request, **fields):
        found = [ask(method, request(model_id=model, **fields)) for model in models]
        assert [answer.details["periods_per_year"] for answer in found] == [252.0, 52.0]
        return [answer.values for answer in found]

    return answers


def scaled(pair, path, factor):
    first, second = pair
    for key in path:
        first, second = first[key], second[key]
    assert second == pytest.approx(factor * first, rel=1e-6), path


def test_risk_of_a_weekly_panel_is_annualised_by_its_weeks_and_horizons_stay_days(both, twins, risks):
    weights = dict.fromkeys(twins[1], 1 / 6)
    against = {"portfolio_weights": weights, "benchmark": "market"}
    risk = both(risks.portfolio_risk, rq.PortfolioRisk, **against, horizon_days=10)
    for path, factor in (
        (("total_risk",), 1.0),
        (("total_risk_annual",), ROOT),
        (("active", "active_risk"), 1.0),
        (("active", "active_risk_annual"), ROOT),
        (("value_at_risk",), ROOT),
        (("expected_shortfall",), ROOT),
    ):
        scaled(risk, path, factor)
    margin = both(risks.margin, pq.Margin, portfolio_weights=weights, methods=("normal", "historical"))
    for path, factor in (
        (("volatility",), 1.0),
        (("volatility_annual",), ROOT),
        (("margin", "normal", "10", "value_at_risk"), ROOT),
        (("margin", "historical", "1", "expected_shortfall"), ROOT),
    ):
        scaled(margin, path, factor)
    traded = both(risks.what_if, pq.WhatIf, portfolio_weights=weights, trades={twins[1][0]: 0.1})
    for side in ("before", "after"):
        scaled(traded, (side, "total_risk_annual"), ROOT)


def test_estimates_and_figures_of_a_weekly_panel_are_annualised_by_its_weeks(both, risks, stored):
    model = both(risks.risk_model, rq.RiskModel)
    assert model[0]["factor_volatility_annual"]["market"] * ROOT == pytest.approx(
        model[1]["factor_volatility_annual"]["market"], rel=1e-6
    )
    covariance = both(start(CovarianceMatrixComputation).covariance, rq.Covariance)
    scaled(covariance, ("volatility_annual", "market"), ROOT)
    figures = both(start(FactorReturnsEstimation).factor_performance, pq.FactorPerformance, factors=["market"])
    scaled(figures, ("market", "volatility"), 1.0)
    scaled(figures, ("market", "annual_volatility"), ROOT)


def test_books_that_are_looked_for_read_yearly_limits_by_the_weeks(both, books):
    made = both(books.optimize, pq.Optimize)
    scaled(made, ("risk_annual",), ROOT)
    limited = both(books.optimize, pq.Optimize, objective="max_alpha", alpha_style="size", max_risk=0.5)
    assert all(answer["risk_annual"] <= 0.5 + 1e-6 for answer in limited)
