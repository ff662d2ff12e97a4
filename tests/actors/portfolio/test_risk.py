"""Risk of books by weights and by name, at any date, with what the model does not cover."""

import numpy as np
import pytest
from fixtures_actors import ask

from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import Infeasible, InvalidInput, UnknownFactor, UnknownPortfolio, UnknownSymbol
from factors import FactorModel
from factors.portfolio.margin import MarginSettings, margin
from factors.portfolio.risk import portfolio_risk


def vector(model, weights):
    out = np.zeros((1, len(model.symbols_)))
    for symbol, weight in weights.items():
        out[0, model.symbols_.index(symbol)] = weight
    return out


def expected(model, weights, benchmark=None):
    latest = model.latest()
    against = None if benchmark is None else vector(model, benchmark)[0]
    return portfolio_risk(
        vector(model, weights), latest.exposures, latest.factor_covariance, latest.specific_variance, against,
        linked=latest.linked,
    )  # fmt: skip


def risk(risks, **fields):
    return ask(risks.portfolio_risk, rq.PortfolioRisk(model_id="m", **fields))


def test_risk_is_that_of_the_fitted_model_links_of_issuers_included(risks, fitted, names, steady):
    weights = {names[2]: 0.5, names[3]: -0.5, steady[0]: 0.2}
    found = risk(risks, portfolio_weights=weights)
    assert found.values["total_risk"] == pytest.approx(expected(fitted, weights).total[0], rel=1e-12)
    assert sum(found.values["percent_by_symbol"].values()) == pytest.approx(1.0)
    apart = risk(risks, portfolio_weights={names[2]: 1.0, names[3]: -1.0})
    alone = [risk(risks, portfolio_weights={name: 1.0}).values["specific_risk"] for name in names[2:]]
    assert apart.values["specific_risk"] < 0.8 * np.hypot(*alone)


def test_risk_of_a_past_date_is_what_a_model_fitted_to_that_date_predicts(risks, fitted, steady):
    weights = dict.fromkeys(steady[:4], 0.25)
    date = fitted.dates_[150]
    found = risk(risks, portfolio_weights=weights, date_requested=date.item())
    then = FactorModel().fit(fitted.panel_.select(dates=fitted.dates_[:151]))
    assert found.values["total_risk"] == pytest.approx(expected(then, weights).total[0], rel=1e-12)
    assert found.details["date"] == str(date)
    assert found.values["total_risk"] != risk(risks, portfolio_weights=weights).values["total_risk"]


def test_a_name_without_a_cap_is_named_refused_or_stood_in_for(risks, names, steady):
    gone = names[1]
    weights = {gone: 0.5, steady[0]: 0.5}
    warned = risk(risks, portfolio_weights=weights)
    assert warned.details["uncovered_symbols"] == [gone]
    assert warned.details["coverage"] == 0.5
    with pytest.raises(InvalidInput, match=gone) as caught:
        risk(risks, portfolio_weights=weights, uncovered="refuse")
    assert caught.value.rows == [gone]
    proxied = risk(risks, portfolio_weights=weights, uncovered="proxy")
    assert proxied.details["uncovered_symbols"] == [gone]
    assert proxied.values["total_risk"] > warned.values["total_risk"]
    with pytest.raises(InvalidInput, match="nothing that the model covers"):
        risk(risks, portfolio_weights={gone: 1.0})
    with pytest.raises(InvalidInput, match="benchmark_weights holds nothing"):
        risk(risks, portfolio_weights={steady[0]: 1.0}, benchmark_weights={gone: 1.0})
    assert risk(risks, portfolio_weights={gone: 1.0}, uncovered="proxy").values["total_risk"] > 0.0


def test_exposures_say_the_same_of_what_is_not_covered(exposures, names, steady):
    def exposed(**fields):
        return ask(exposures.factor_exposures, rq.FactorExposures(model_id="m", **fields))

    assert exposed(portfolio_weights={names[1]: 0.5, steady[0]: 0.5}).details["uncovered_symbols"] == [names[1]]
    with pytest.raises(InvalidInput, match="nothing that the model covers"):
        exposed(portfolio_weights={names[1]: 1.0})
    with pytest.raises(InvalidInput, match=names[1]):
        exposed(portfolio_weights={names[1]: 0.5, steady[0]: 0.5}, uncovered="refuse")
    proxied = exposed(portfolio_weights={names[1]: 1.0}, uncovered="proxy")
    assert proxied.values["market"] == 1.0
    beside = exposed(portfolio_weights={steady[0]: 1.0}, benchmark="market")
    active, own = beside.details["active_exposures"], beside.values
    assert active["market"] == pytest.approx(0.0, abs=1e-12)
    assert own["size"] - beside.details["benchmark_exposures"]["size"] == pytest.approx(active["size"])


def test_a_book_with_an_uncovered_name_in_a_batch_is_answered_as_the_rest_of_it_and_says_so(exposures, names, steady):
    whole = rq.FactorExposures(model_id="m", portfolio_weights={steady[0]: 0.25, steady[1]: -0.5})
    partly = whole.model_copy(update={"portfolio_weights": {names[1]: 0.25, **whole.portfolio_weights}})
    alone, beside, again = exposures.factor_exposures([whole, partly, whole])
    np.testing.assert_array_equal(list(beside.values.values()), list(alone.values.values()))
    assert beside.details["coverage"] == 0.75
    assert beside.details["uncovered_symbols"] == [names[1]]
    assert alone.details == again.details
    assert alone.details["coverage"] == 1.0
    assert beside.confidence_score == pytest.approx(0.75 * alone.confidence_score, abs=2e-6)
    # As the way that also reads the risk model, which a benchmark takes, says it.
    long_way = ask(exposures.factor_exposures, partly.model_copy(update={"benchmark": "market"}))
    assert long_way.details["uncovered_symbols"] == beside.details["uncovered_symbols"]
    assert long_way.confidence_score == beside.confidence_score
    np.testing.assert_allclose(list(long_way.values.values()), list(beside.values.values()), atol=1e-12)


def test_the_market_as_benchmark_is_the_estimation_universe_by_cap(risks, fitted, steady):
    caps = fitted.panel_.fields["market_cap"][-1]
    universe = fitted.estimation_universe_[-1]
    clean = fitted.state().day_asset.get("clean/market_cap", fitted.panel_.fields["market_cap"])[-1]
    weights = np.where(universe, clean, 0.0) / clean[universe].sum()
    market = {s: float(w) for s, w in zip(fitted.symbols_, weights, strict=True) if w > 0.0}
    own = {steady[0]: 0.6, steady[1]: 0.4}
    found = risk(risks, portfolio_weights=own, benchmark="market")
    assert np.isfinite(caps).any()
    assert found.values["active"]["active_risk"] == pytest.approx(
        expected(fitted, own, market).active.risk.total[0], rel=1e-9
    )
    nothing = risk(risks, portfolio_id="market", benchmark="market")
    assert nothing.values["active"]["active_risk"] == pytest.approx(0.0, abs=1e-12)
    assert nothing.values["active"]["beta"] == pytest.approx(1.0)


def test_cash_has_no_risk_and_a_sum_that_looks_like_percent_is_said(risks, steady):
    whole = risk(risks, portfolio_weights={steady[0]: 1.0})
    half = risk(risks, portfolio_weights={steady[0]: 0.5, "USD": 0.3, "CASH": 0.2})
    assert half.values["total_risk"] == pytest.approx(whole.values["total_risk"] / 2)
    assert half.details["cash"] == {"USD": 0.3, "CASH": 0.2}
    assert half.details["coverage"] == 1.0
    (said,) = risk(risks, portfolio_weights={steady[0]: 60.0, steady[1]: 40.0}).details["warnings"]
    assert "percent" in said
    (said,) = risk(risks, portfolio_weights={steady[0]: 60_000.0}).details["warnings"]
    assert "money" in said
    with pytest.raises(UnknownSymbol, match="NOPE"):
        risk(risks, portfolio_weights={"NOPE": 1.0, "USD": 1.0})
    with pytest.raises(UnknownPortfolio):
        risk(risks, portfolio_id="nobody")


def test_beside_a_benchmark_the_tails_are_of_the_book_and_those_of_the_difference_are_active(risks, fitted, steady):
    weights, benchmark = dict.fromkeys(steady[:5], 0.2), dict.fromkeys(steady[3:8], 0.2)
    alone = risk(risks, portfolio_weights=weights, horizon_days=10).values
    beside = risk(risks, portfolio_weights=weights, benchmark_weights=benchmark, horizon_days=10).values
    latest = fitted.latest()
    theirs = margin(
        vector(fitted, weights) - vector(fitted, benchmark), latest.exposures, latest.factor_covariance,
        latest.specific_variance, fitted.factor_returns_, MarginSettings(horizon_days=10), linked=latest.linked,
    )  # fmt: skip
    for name in ("value_at_risk", "expected_shortfall"):
        assert beside[name] == pytest.approx(alone[name], rel=1e-12)
        assert beside["active"][name] == pytest.approx(getattr(theirs, name)[0], rel=1e-9)


MARGINS = {
    "normal": {"method": "normal"},
    "student_t": {"method": "student_t"},
    "student_t_fitted": {"method": "student_t", "degrees_of_freedom": "fitted"},
    "historical": {"method": "historical"},
    "filtered_historical": {"method": "filtered_historical"},
}


def test_margin_is_that_of_the_mathematics_by_method_and_horizon(risks, fitted, steady):
    weights = dict.fromkeys(steady[:5], 0.2)
    found = ask(
        risks.margin,
        pq.Margin(
            model_id="m", portfolio_weights=weights, methods=tuple(MARGINS), horizons=(1, 10),
            book_value=1e6,
        ),
    )  # fmt: skip
    latest = fitted.latest()
    for method, settings in MARGINS.items():
        for days in (1, 10):
            theirs = margin(
                vector(fitted, weights), latest.exposures, latest.factor_covariance, latest.specific_variance,
                fitted.factor_returns_, MarginSettings(**settings, horizon_days=days),
            )  # fmt: skip
            row = found.values["margin"][method][str(days)]
            assert row["value_at_risk"] == pytest.approx(theirs.value_at_risk[0], rel=1e-9)
            assert row["expected_shortfall_money"] == pytest.approx(1e6 * theirs.expected_shortfall[0], rel=1e-9)
    parts = sum(found.values["percent_factor"].values()) + found.values["percent_specific"]
    assert parts == pytest.approx(1.0)


def test_margin_by_monte_carlo_is_near_the_tail_that_it_draws_from_and_the_same_each_time(risks, fitted, steady):
    weights = dict.fromkeys(steady[:5], 0.2)

    def tail(**fields):
        asked = pq.Margin(
            model_id="m",
            portfolio_weights=weights,
            methods=("monte_carlo",),
            horizons=(1, 10),
            confidence=0.95,
            **fields,
        )
        return ask(risks.margin, asked).values["margin"]["monte_carlo"]

    found = tail(n_scenarios=100_000)
    assert found == tail(n_scenarios=100_000)
    # an independent draw of factors and of specific returns, each on its own
    rng, n = np.random.default_rng(7), 400_000
    theirs = expected(fitted, weights)
    mixing = np.sqrt(3.0 / rng.chisquare(5, n))
    factor = theirs.factor[0] * rng.standard_normal(n) * mixing
    losses = np.sort(factor + theirs.specific[0] * rng.standard_normal(n))
    at = int(0.95 * n)
    assert found["1"]["value_at_risk"] == pytest.approx(losses[at], rel=0.02)
    assert found["1"]["expected_shortfall"] == pytest.approx(losses[at:].mean(), rel=0.03)
    assert found["10"]["value_at_risk"] == pytest.approx(np.sqrt(10) * found["1"]["value_at_risk"])


def test_stress_propagates_through_the_covariance_or_does_not(risks, fitted, steady):
    weights = dict.fromkeys(steady[:5], 0.2)
    names = fitted.factor_names_
    x = vector(fitted, weights)[0] @ np.nan_to_num(fitted.exposures())
    F = fitted.factor_covariance_
    shock = {"crash": {"market": -0.2}}

    def stress(**fields):
        return ask(risks.stress, pq.Stress(model_id="m", portfolio_weights=weights, **fields)).values

    moved = F[:, 0] / F[0, 0] * -0.2
    assert stress(shocks=shock)["crash"]["return"] == pytest.approx(x @ moved, rel=1e-9)
    alone = stress(shocks=shock, propagate=False)["crash"]
    assert alone["return"] == pytest.approx(-0.2 * x[0], rel=1e-9)
    assert alone["by_factor"]["market"] == pytest.approx(-0.2 * x[0])
    start, end = fitted.dates_[100].item(), fitted.dates_[110].item()
    past = stress(episodes={"then": (start, end)})["then"]
    compounded = np.prod(1.0 + np.nan_to_num(fitted.factor_returns_[100:111]), axis=0) - 1.0
    assert past["return"] == pytest.approx(x @ compounded, rel=1e-9)
    assert list(past["factor_returns"]) == list(names)
    single = stress(name_shocks={"one falls": {steady[0]: -0.5}})["one falls"]
    assert single["return"] == single["by_name"] == pytest.approx(-0.1)
    with pytest.raises(UnknownFactor, match="nope"):
        stress(shocks={"a": {"nope": 1.0}})
    with pytest.raises(UnknownSymbol, match="NOBODY"):
        stress(name_shocks={"a": {"NOBODY": -0.5}})


def test_what_if_is_the_difference_of_two_risks(risks, steady):
    weights = {steady[0]: 0.6, steady[1]: 0.4}
    trades = {steady[0]: -0.2, steady[2]: 0.2}
    found = ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=weights, trades=trades)).values
    after = risk(risks, portfolio_weights={steady[0]: 0.4, steady[1]: 0.4, steady[2]: 0.2}).values
    assert found["after"]["total_risk"] == pytest.approx(after["total_risk"], rel=1e-12)
    before = risk(risks, portfolio_weights=weights).values
    assert found["change"] == pytest.approx(after["total_risk"] - before["total_risk"])
    small = {steady[0]: 1e-6}
    nudged = ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=weights, trades=small)).values
    assert nudged["change"] / 1e-6 == pytest.approx(nudged["marginal"][steady[0]], rel=1e-3)
    assert found["turnover"] == pytest.approx(0.4)


def test_what_if_over_drawn_scenarios_tells_the_margin_of_both_books_over_the_same_draws(risks, steady):
    weights, trades = {steady[0]: 0.6, steady[1]: 0.4}, {steady[0]: -0.2, steady[2]: 0.2}
    asked = {"model_id": "m", "portfolio_weights": weights, "confidence": 0.95, "n_scenarios": 5000}
    found = ask(risks.what_if, pq.WhatIf(**asked, trades=trades)).values
    nothing = ask(risks.what_if, pq.WhatIf(**asked, trades={steady[0]: 0.0})).values
    assert nothing["before"] == nothing["after"] == found["before"]
    for name, book in (
        ("before", weights),
        ("after", {steady[0]: 0.4, steady[1]: 0.4, steady[2]: 0.2}),
    ):
        of = {**asked, "portfolio_weights": book, "methods": ("monte_carlo",), "horizons": (1,)}
        margin = ask(risks.margin, pq.Margin(**of)).values["margin"]["monte_carlo"]["1"]
        for key, value in margin.items():
            assert found[name][key] == pytest.approx(value, rel=1e-12), (name, key)
    plain = ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=weights, trades=trades)).values
    assert "value_at_risk" not in plain["before"]
    assert plain["change"] == found["change"]


def test_a_hedge_leaves_the_chosen_exposures_at_zero_and_lowers_risk(risks, steady):
    weights = dict.fromkeys(steady[:4], 0.25)

    def hedge(*neutral):
        instruments = [*steady[4:7], "portfolio:market"]
        request = pq.HedgeBook(
            model_id="m", portfolio_weights=weights, instruments=instruments, neutral_factors=list(neutral)
        )
        return ask(risks.hedge, request).values

    free, found = hedge(), hedge("market", "size")
    assert free["risk_after"] < free["risk_before"]
    assert free["risk_after"] <= found["risk_after"]
    assert found["exposures"]["market"] == pytest.approx(0.0, abs=1e-9)
    assert found["exposures"]["size"] == pytest.approx(0.0, abs=1e-9)
    again = risk(risks, portfolio_weights={**weights, **found["weights"]}).values
    assert again["total_risk"] == pytest.approx(found["risk_after"], rel=1e-9)


def test_a_hedge_keeps_its_limits_or_says_which_stand_against_each_other(risks, steady):
    def hedge(**limits):
        instruments = [*steady[4:7], "portfolio:market"]
        weights = dict.fromkeys(steady[:4], 0.25)
        request = pq.HedgeBook(model_id="m", portfolio_weights=weights, instruments=instruments, **limits)
        return ask(risks.hedge, request).values

    free = hedge()
    assert hedge(position=(-5.0, 5.0), gross=20.0)["weights"] == free["weights"]
    tight = hedge(position=(-0.1, 0.1), positions={"portfolio:market": (-0.3, 0.0)}, gross=0.6)
    assert free["risk_after"] < tight["risk_after"] < free["risk_before"]
    assert tight["weights"]["portfolio:market"] == pytest.approx(-0.3, abs=1e-6)
    assert all(abs(tight["weights"][name]) <= 0.1 + 1e-6 for name in steady[4:7])
    assert sum(map(abs, tight["weights"].values())) <= 0.6 + 1e-6
    assert "positions.portfolio:market" in tight["binding"]
    with pytest.raises(Infeasible) as told:
        hedge(neutral_factors=["market"], gross=0.1)
    assert "neutral_factors.market" in told.value.detail
    assert "gross" in told.value.detail
    with pytest.raises(InvalidInput, match="no instrument"):
        hedge(positions={"nobody": (0.0, 1.0)})
