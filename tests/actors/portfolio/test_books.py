"""Stored books: written once, taken by name, valued, looked through; what they did; books that are looked for."""

import numpy as np
import pytest
from fixtures_actors import ask

from actors.portfolio.infeasible import infeasible
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import Infeasible, InvalidInput, UnknownFactor, UnknownPortfolio, VersionConflict
from factors.portfolio.holdings import daily_weights
from factors.portfolio.limits import InfeasibleError


def put(books, name, holdings, request_id=None, **fields):
    request = pq.PutPortfolio(portfolio_id=name, holdings=holdings, request_id=request_id or f"r-{name}", **fields)
    return ask(books.put_portfolio, request)


def risk(risks, **fields):
    return ask(risks.portfolio_risk, rq.PortfolioRisk(model_id="m", **fields))


def test_a_stored_book_is_taken_by_name(books, risks, steady):
    weights = {steady[0]: 0.7, steady[1]: 0.3}
    made = put(books, "tech", {"2015-01-02": weights})
    assert made.values["portfolio_version"] == 1
    by_name = risk(risks, portfolio_id="tech")
    assert by_name.values == risk(risks, portfolio_weights=weights).values
    assert by_name.details["portfolio_version"] == 1
    shown = ask(books.get_portfolio, pq.PortfolioRef(portfolio_id="tech")).body
    assert shown["holdings"] == {"2015-01-02": weights}
    assert "tech" in [row["portfolio_id"] for row in ask(books.list_portfolios, pq.ListPortfolios()).body["portfolios"]]


def test_values_and_shares_become_weights_of_the_date(books, risks, fitted, steady):
    prices = fitted.panel_.fields["close"][-1]
    close = {s: float(prices[fitted.symbols_.index(s)]) for s in steady[:2]}
    put(books, "values", {"always": {steady[0]: 300.0, steady[1]: 100.0, "USD": 100.0}}, kind="values")
    expected = risk(risks, portfolio_weights={steady[0]: 0.6, steady[1]: 0.2, "USD": 0.2}).values
    assert risk(risks, portfolio_id="values").values["total_risk"] == pytest.approx(expected["total_risk"])
    put(books, "shares", {"always": {steady[0]: 10, steady[1]: 20}}, kind="shares")
    worth = {steady[0]: 10 * close[steady[0]], steady[1]: 20 * close[steady[1]]}
    total = sum(worth.values())
    expected = risk(risks, portfolio_weights={s: v / total for s, v in worth.items()}).values
    assert risk(risks, portfolio_id="shares").values["total_risk"] == pytest.approx(expected["total_risk"])
    put(books, "flat", {"always": {steady[0]: 1.0, steady[1]: -1.0}}, kind="values")
    with pytest.raises(InvalidInput, match="sum to 0"):
        risk(risks, portfolio_id="flat")


def test_a_fund_inside_a_fund_is_looked_through_and_a_circle_is_an_error(books, risks, steady):
    put(books, "inner", {"always": {steady[0]: 0.5, "EUR": 0.5}})
    put(books, "outer", {"always": {"portfolio:inner": 0.4, steady[1]: 0.6}})
    found = risk(risks, portfolio_id="outer")
    expected = risk(risks, portfolio_weights={steady[0]: 0.2, steady[1]: 0.6})
    assert found.values["total_risk"] == pytest.approx(expected.values["total_risk"])
    assert found.details["cash"] == {"EUR": pytest.approx(0.2)}
    put(books, "a", {"always": {"portfolio:b": 1.0}})
    put(books, "b", {"always": {"portfolio:a": 1.0}})
    with pytest.raises(InvalidInput, match="a -> b -> a"):
        risk(risks, portfolio_id="a")


def test_writes_are_versioned_and_checked(books, steady):
    first = put(books, "w", {"2016-01-04": {steady[0]: 1.0}}, request_id="one")
    again = put(books, "w", {"2016-01-04": {steady[0]: 1.0}}, request_id="one")
    assert first.values == again.values
    with pytest.raises(VersionConflict):
        put(books, "w", {"2016-01-04": {steady[0]: 1.0}}, request_id="two", base_version=7)
    longer = pq.AppendPortfolio(portfolio_id="w", holdings={"2016-02-01": {steady[1]: 1.0}}, request_id="three")
    assert ask(books.append_portfolio, longer).values["n_dates"] == 2
    with pytest.raises(InvalidInput, match="ISO date"):
        put(books, "w", {"01/02/2016": {steady[0]: 1.0}}, request_id="four")
    with pytest.raises(InvalidInput, match="a book that every model has"):
        put(books, "market", {"always": {steady[0]: 1.0}})
    with pytest.raises(InvalidInput, match="hold CASH"):
        put(books, "w", {"2016-01-04": {}}, request_id="five")
    gone = ask(books.delete_portfolio, pq.DeletePortfolio(portfolio_id="w", request_id="six"))
    assert gone.values["deleted"] is True
    with pytest.raises(UnknownPortfolio):
        ask(books.get_portfolio, pq.PortfolioRef(portfolio_id="w"))


def attribution(books, **fields):
    return ask(books.portfolio_attribution, rq.PortfolioAttribution(model_id="m", **fields))


def test_attribution_of_holdings_that_change_ties_out_and_is_grouped(books, fitted, steady):
    dates = fitted.dates_
    holdings = {str(dates[100]): {steady[0]: 0.5, steady[1]: 0.5}, str(dates[130]): {steady[2]: 0.4, steady[3]: 0.6}}
    put(books, "turning", holdings)
    found = attribution(books, portfolio_id="turning", start_date=dates[101].item(), between="drift")
    v = found.values
    rows = [fitted.symbols_.index(s) for s in steady[:4]]
    returns = fitted.panel_.fields["returns"][101:, rows]
    weights = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.4, 0.6]])
    held = daily_weights(dates[101:], dates[[100, 130]], weights, returns, "drift")
    total = np.prod(1.0 + (held.weights * returns).sum(axis=1)) - 1.0
    assert v["portfolio_return"] == pytest.approx(total, abs=1e-10)
    assert v["sum_of_parts"] == pytest.approx(total, abs=1e-10)
    for groups in ("by_symbol", "by_sector", "by_family"):
        assert sum(v[groups].values()) + (v["unexplained"] if groups == "by_family" else 0.0) == pytest.approx(
            total, abs=1e-10
        ), groups
    assert set(v["by_symbol"]) == set(steady[:4])


def test_attribution_against_the_market_is_of_active_weights(books, steady):
    found = attribution(books, portfolio_weights={steady[0]: 1.0}, benchmark="market")
    v = found.values
    assert v["sum_of_parts"] == pytest.approx(v["active_return"], abs=1e-10)
    assert v["active_return"] == pytest.approx(v["portfolio_return"] - v["benchmark_return"], abs=1e-12)
    assert sum(v["by_symbol"].values()) == pytest.approx(v["active_return"], abs=1e-10)


def test_the_market_through_a_period_is_each_closes_caps_and_equal_parts_are_set_as_asked(books, risks, fitted):
    panel, lag = fitted.panel_, 1
    first, last = 150, 200
    member = fitted.estimation_universe_
    caps = np.where(member, np.nan_to_num(fitted._held.array(fitted._held._caps_name, "")), 0.0)
    returns = np.nan_to_num(panel.fields["returns"])
    span = {"start_date": str(panel.dates[first]), "end_date": str(panel.dates[last])}

    def earned(name, between):
        asked = rq.PortfolioAttribution(model_id="m", portfolio_id=name, between=between, **span)
        return ask(books.portfolio_attribution, asked).values["portfolio_return"]

    there = np.isfinite(panel.fields["returns"])

    def compounded(weights):
        # A name without a return has its weight carried by the others.
        held = [weights[t - lag] * there[t] for t in range(first, last + 1)]
        days = [float(w @ returns[first + i]) / float(w.sum()) for i, w in enumerate(held)]
        return float(np.prod([1.0 + r for r in days]) - 1.0)

    by_cap = caps / caps.sum(axis=1, keepdims=True)
    parts = member / member.sum(axis=1, keepdims=True)
    assert earned("market", "rebalance") == pytest.approx(compounded(by_cap), rel=1e-9)
    assert earned("equal", "rebalance") == pytest.approx(compounded(parts), rel=1e-9)
    # Drifting: set at the first close of a month, and then left alone.
    months = panel.dates.astype("datetime64[M]")
    set_on = [t for t in range(first - 1, last) if t == first - 1 or months[t] != months[t - 1]]
    days = slice(first, last + 1)
    drifting = daily_weights(
        panel.dates[days], panel.dates[set_on], parts[set_on], panel.fields["returns"][days], "drift"
    ).weights
    by_hand = float(np.prod(1.0 + (drifting * returns[days]).sum(axis=1)) - 1.0)
    assert earned("equal", "drift") == pytest.approx(by_hand, rel=1e-9)
    assert earned("equal", "drift") != pytest.approx(earned("equal", "rebalance"), rel=1e-6)


def test_a_name_that_lists_late_is_named_and_the_others_carry_its_weight(books, fitted, names, steady):
    late, other = names[0], steady[0]
    found = attribution(books, portfolio_weights={other: 0.5, late: 0.5}, start_date=fitted.dates_[1].item())
    absent = int(np.isnan(fitted.panel_.fields["returns"][1:, fitted.symbols_.index(late)]).sum())
    assert absent >= 59
    assert found.details["absent_days"] == {late: absent}
    assert "others" in found.details["absent_rule"]
    returns = fitted.panel_.fields["returns"][1:, [fitted.symbols_.index(s) for s in (other, late)]]
    daily = np.where(np.isnan(returns[:, 1]), returns[:, 0], returns.mean(axis=1))
    assert found.values["portfolio_return"] == pytest.approx(np.prod(1.0 + daily) - 1.0, abs=1e-10)


def test_risk_history_sets_each_days_prediction_beside_the_next_days_return(books, risks, fitted, steady):
    weights = {steady[0]: 0.5, steady[1]: 0.5}
    found = ask(
        books.risk_history,
        pq.RiskHistory(model_id="m", portfolio_weights=weights, start_date=fitted.dates_[180].item()),
    ).values
    assert found["dates"][0] == str(fitted.dates_[179])
    for row in (0, 20, -1):
        date = np.datetime64(found["dates"][row]).item()
        then = risk(risks, portfolio_weights=weights, date_requested=date).values
        assert found["total_risk"][row] == pytest.approx(then["total_risk"], rel=1e-12)
    columns = [fitted.symbols_.index(s) for s in weights]
    realised = fitted.panel_.fields["returns"][180:, columns].mean(axis=1)
    np.testing.assert_allclose(found["realised_next_day"][:-1], realised, rtol=1e-12)
    assert found["realised_next_day"][-1] is None
    outcomes = realised / np.array(found["total_risk"][:-1])
    assert found["bias"] == pytest.approx(outcomes.std(ddof=1))


def test_optimal_weights_keep_their_limits_and_have_less_risk(books, risks, steady):
    asked = {"model_id": "m", "symbols": steady, "position": (0.0, 0.3)}
    found = ask(books.optimize, pq.Optimize(**asked)).values
    weights = found["weights"]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)
    assert max(weights.values()) <= 0.3 + 1e-6
    equal = risk(risks, portfolio_weights=dict.fromkeys(steady, 1 / len(steady))).values
    own = risk(risks, portfolio_weights=weights).values
    assert own["total_risk_annual"] == pytest.approx(found["risk_annual"], rel=1e-4)
    assert own["total_risk"] < equal["total_risk"]
    with pytest.raises(Infeasible, match="net") as told:
        ask(books.optimize, pq.Optimize(**{**asked, "position": (0.0, 0.05)}))
    assert (told.value.field, told.value.rows) == ("net", ["net"])
    told = infeasible(InfeasibleError("", {"risk": 0.1, "turnover": 0.2}))
    assert (told.field, told.rows) == ("max_risk", ["max_risk", "turnover"])
    with pytest.raises(UnknownFactor, match="nope"):
        ask(books.optimize, pq.Optimize(**asked, exposures={"nope": (0.0, 0.0)}))


def test_a_rebalance_reaches_its_target_with_the_least_trades(books, fitted, steady):
    held = dict.fromkeys(steady[:4], 0.25)
    request = pq.Rebalance(
        model_id="m", portfolio_weights=held, symbols=steady, exposures={"size": (0.0, 0.0)}, net=(1.0, 1.0),
        position=(0.0, 1.0), book_value=1e6,
    )  # fmt: skip
    found = ask(books.rebalance, request).values
    assert found["exposures"]["size"] == pytest.approx(0.0, abs=1e-5)
    assert 0.0 < found["turnover"] < 2.0
    for symbol, trade in found["trades"].items():
        price = fitted.panel_.fields["close"][-1, fitted.symbols_.index(symbol)]
        assert trade["shares"] == int(trade["shares"])
        assert abs(trade["weight"] * 1e6 - trade["value"]) < price
    assert sum(abs(t["weight"]) for t in found["trades"].values()) == pytest.approx(found["turnover"], abs=1e-4)


def test_budgets_frontiers_and_their_errors(books, risks, steady):
    budgets = {steady[0]: 3.0, steady[1]: 1.0}
    weights = ask(books.risk_budget, pq.RiskBudget(model_id="m", budgets=budgets)).values["weights"]
    percent = risk(risks, portfolio_weights=weights).values["percent_by_symbol"]
    assert percent[steady[0]] == pytest.approx(0.75, abs=1e-6)
    alpha = dict(zip(steady, np.linspace(0.0, 0.1, len(steady)).tolist(), strict=True))
    points = ask(books.frontier, pq.Frontier(model_id="m", symbols=steady, alpha=alpha, n_points=4)).values["points"]
    assert np.all(np.diff([p["risk_annual"] for p in points]) > 0.0)
    assert np.all(np.diff([p["alpha_annual"] for p in points]) > 0.0)
