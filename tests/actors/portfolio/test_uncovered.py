"""What the model does not cover, in books through a period, in scenarios, trades and books that are looked for."""

import datetime as dt

import numpy as np
import pytest
from fixtures_actors import ask

from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import InvalidInput, UnknownSymbol

GONE_ON = 200


@pytest.fixture(scope="module")
def gone(names):
    """A name that has no cap on the last date, with a return there."""
    return names[1]


def attribution(books, **fields):
    return ask(books.portfolio_attribution, rq.PortfolioAttribution(model_id="m", **fields))


def history(books, **fields):
    return ask(books.risk_history, pq.RiskHistory(model_id="m", **fields))


def risk(risks, **fields):
    return ask(risks.portfolio_risk, rq.PortfolioRisk(model_id="m", **fields))


@pytest.fixture(scope="module")
def since(fitted):
    return fitted.dates_[GONE_ON].item()


def test_a_history_refuses_names_or_stands_in_for_a_name_on_the_days_without_it(books, risks, gone, steady, since):
    weights = {gone: 0.5, steady[0]: 0.5}
    warned = history(books, portfolio_weights=weights, start_date=since)
    assert warned.details["uncovered_days"] == {gone: 1}
    assert warned.details["uncovered_symbols"] == [gone]
    assert warned.values["uncovered_share"][-1] == 0.5
    with pytest.raises(InvalidInput, match=gone) as caught:
        history(books, portfolio_weights=weights, start_date=since, uncovered="refuse")
    assert (caught.value.field, caught.value.rows) == ("portfolio_weights", [gone])
    with pytest.raises(InvalidInput, match=gone) as caught:
        history(
            books, portfolio_weights={steady[0]: 1.0}, benchmark_weights=weights, start_date=since, uncovered="refuse"
        )
    assert caught.value.field == "benchmark_weights"
    proxied = history(books, portfolio_weights=weights, start_date=since, uncovered="proxy")
    then = risk(risks, portfolio_weights=weights, uncovered="proxy").values
    for kind in ("total_risk", "factor_risk", "specific_risk"):
        assert proxied.values[kind][-1] == pytest.approx(then[kind], rel=1e-12), kind
        assert proxied.values[kind][:-1] == warned.values[kind][:-1], kind
    assert proxied.values["uncovered_share"][-1] == 0.0
    assert proxied.details["uncovered_days"] == {gone: 1}
    assert proxied.details["coverage"] < 1.0


def test_a_day_on_which_nothing_is_covered_has_no_risk_rather_than_one_of_zero(books, gone, fitted, since):
    found = history(books, portfolio_weights={gone: 1.0}, start_date=since).values
    assert found["total_risk"][-1] is None
    assert found["factor_risk"][-1] is None
    assert all(value > 0.0 for value in found["total_risk"][:-1])
    assert np.isfinite(found["bias"])


def test_an_attribution_names_refuses_or_stands_in_for_what_is_not_covered(books, fitted, names, steady):
    """The name that lists late has returns from its first day, and exposures known before from the day after."""
    late, rows = names[0], [fitted.symbols_.index(names[0]), fitted.symbols_.index(steady[0])]
    returns = fitted.panel_.fields["returns"][:, rows]
    first = int(np.flatnonzero(np.isfinite(returns[:, 0]))[0])
    day: dt.date = fitted.dates_[first].item()
    weights = {late: 0.5, steady[0]: 0.5}
    warned = attribution(books, portfolio_weights=weights, start_date=day, end_date=day)
    assert warned.details["uncovered_days"] == {late: 1}
    assert warned.details["coverage"] == 0.5
    assert warned.values["unexplained"] == pytest.approx(0.5 * returns[first, 0], abs=1e-12)
    with pytest.raises(InvalidInput, match=late) as caught:
        attribution(books, portfolio_weights=weights, start_date=day, end_date=day, uncovered="refuse")
    assert (caught.value.field, caught.value.rows) == ("portfolio_weights", [late])
    with pytest.raises(InvalidInput, match="nothing that the model covers"):
        attribution(books, portfolio_weights={late: 1.0}, start_date=day, end_date=day)
    proxied = attribution(books, portfolio_weights=weights, start_date=day, end_date=day, uncovered="proxy")
    assert proxied.values["unexplained"] == pytest.approx(0.0, abs=1e-12)
    assert proxied.values["sum_of_parts"] == pytest.approx(returns[first].mean(), abs=1e-10)
    market = fitted.factor_names_.index("market")
    assert proxied.values["factor_contributions"]["market"] == pytest.approx(fitted.factor_returns_[first, market])
    assert warned.values["factor_contributions"]["market"] == pytest.approx(0.5 * fitted.factor_returns_[first, market])
    assert proxied.details["coverage"] == 0.5


def test_a_benchmark_is_named_as_the_book_is(books, risks, names, steady, fitted):
    late = names[0]
    found = attribution(
        books,
        portfolio_weights={steady[0]: 1.0},
        benchmark_weights={late: 0.5, steady[1]: 0.5, "USD": 60.0},
        start_date=fitted.dates_[1].item(),
    )
    assert found.details["benchmark_absent_days"][late] >= 59
    assert "percent" in found.details["benchmark_warnings"][0]
    priced = risk(risks, portfolio_weights={steady[0]: 1.0}, benchmark_weights={steady[1]: 50.0, "USD": 50.0})
    assert priced.details["benchmark_cash"] == {"USD": 50.0}
    assert "percent" in priced.details["benchmark_warnings"][0]


def test_a_shock_to_a_name_needs_no_model_of_it(risks, gone, steady):
    shock = {"default": {gone: -1.0}}
    stress = pq.Stress(model_id="m", portfolio_weights={gone: 0.5, steady[0]: 0.5}, name_shocks=shock)
    found = ask(risks.stress, stress)
    assert found.values["default"]["by_name"] == pytest.approx(-0.5)
    assert found.values["default"]["return"] == pytest.approx(-0.5)
    assert found.details["uncovered_symbols"] == [gone]


def test_trades_may_be_in_money_and_in_books_and_what_is_neither_is_named(risks, books, steady):
    held = {steady[0]: 0.5, "CASH": 0.5}
    sold = ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=held, trades={steady[0]: -0.25, "CASH": 0.25}))
    assert sold.values["after"]["total_risk"] == pytest.approx(0.5 * sold.values["before"]["total_risk"])
    assert sold.values["marginal"]["CASH"] == 0.0
    assert sold.details["cash"] == {"CASH": 0.75}
    put = pq.PutPortfolio(portfolio_id="pair", holdings={"always": {steady[1]: 0.5, steady[2]: 0.5}}, request_id="pair")
    ask(books.put_portfolio, put)
    bought = ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=held, trades={"portfolio:pair": 0.2}))
    singly = ask(
        risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=held, trades={steady[1]: 0.1, steady[2]: 0.1})
    )
    assert bought.values["after"] == pytest.approx(singly.values["after"])
    assert bought.values["marginal"]["portfolio:pair"] == pytest.approx(np.mean([*singly.values["marginal"].values()]))
    with pytest.raises(UnknownSymbol) as caught:
        ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights=held, trades={"NOBODY": 0.2}))
    assert caught.value.rows == ["NOBODY"]


def test_an_uncovered_name_is_traded_without_a_figure_and_named(risks, gone, steady):
    found = ask(risks.what_if, pq.WhatIf(model_id="m", portfolio_weights={steady[0]: 1.0}, trades={gone: 0.1}))
    assert found.details["uncovered_symbols"] == [gone]
    assert found.values["marginal"][gone] is None
    assert found.values["change"] == pytest.approx(0.0)


def test_a_risk_budget_names_what_it_leaves_out(books, gone, steady):
    found = ask(books.risk_budget, pq.RiskBudget(model_id="m", symbols=[gone, *steady[:3]]))
    assert found.details["uncovered_symbols"] == [gone]
    assert set(found.values["weights"]) == set(steady[:3])


def test_a_risk_budget_refuses_or_stands_in_for_what_is_not_covered(books, risks, gone, steady):
    asked = {"model_id": "m", "symbols": [gone, *steady[:3]]}
    with pytest.raises(InvalidInput, match=gone) as caught:
        ask(books.risk_budget, pq.RiskBudget(**asked, uncovered="refuse"))
    assert (caught.value.field, caught.value.rows) == ("symbols", [gone])
    found = ask(books.risk_budget, pq.RiskBudget(**asked, uncovered="proxy"))
    assert found.details["uncovered_symbols"] == [gone]
    assert set(found.values["weights"]) == {gone, *steady[:3]}
    parts = risk(risks, portfolio_weights=found.values["weights"], uncovered="proxy").values["percent_by_symbol"]
    assert parts == pytest.approx(dict.fromkeys(parts, next(iter(parts.values()))), rel=1e-6)
    given = pq.RiskBudget(model_id="m", budgets={steady[0]: 0.5, gone: 0.5}, uncovered="proxy")
    assert set(ask(books.risk_budget, given).values["weights"]) == {steady[0], gone}


def construct(books, kind, **fields):
    kinds = {"optimize": pq.Optimize, "frontier": pq.Frontier, "rebalance": pq.Rebalance}
    more = {"optimize": {}, "frontier": {"alpha": {fields["symbols"][0]: 0.1}}, "rebalance": {"book_value": 1e6}}
    return ask(getattr(books, kind), kinds[kind](model_id="m", **{**more[kind], **fields}))


@pytest.mark.parametrize("kind", ["optimize", "frontier", "rebalance"])
def test_books_that_are_looked_for_say_the_same_of_what_is_not_covered(books, risks, gone, steady, kind):
    held = {steady[0]: 0.5, gone: 0.25, "USD": 0.25}
    against = {steady[1]: 0.5, gone: 0.5}
    asked = {"symbols": [*steady[:4]], "portfolio_weights": held, "benchmark_weights": against, "net": (0.0, 1.0)}
    told = risk(risks, portfolio_weights=held, benchmark_weights=against).details
    for policy in ("warn", "proxy"):
        found = construct(books, kind, **asked, uncovered=policy)
        for key in ("coverage", "benchmark_coverage", "uncovered_symbols", "cash"):
            assert found.details[key] == told[key], (policy, key)
    for fields, field in (
        ({"portfolio_weights": held}, "portfolio_weights"),
        ({"portfolio_weights": {steady[0]: 1.0}, "benchmark_weights": against}, "benchmark_weights"),
        ({"portfolio_weights": {steady[0]: 1.0}, "symbols": [steady[0], gone]}, "symbols"),
    ):
        with pytest.raises(InvalidInput, match=gone) as caught:
            construct(books, kind, **{"symbols": steady[:4], "net": (0.0, 1.0), **fields}, uncovered="refuse")
        assert (caught.value.field, caught.value.rows) == (field, [gone])


def test_a_name_that_is_stood_in_for_may_be_held_and_hedged_like_any_other(books, risks, gone, steady):
    asked = {"symbols": [gone, *steady[:4]], "net": (1.0, 1.0), "position": (0.2, 0.2)}
    least = construct(books, "optimize", **asked, uncovered="proxy")
    assert least.values["weights"][gone] == pytest.approx(0.2, abs=1e-6)
    assert "uncovered_symbols" not in least.values
    weights = dict.fromkeys([gone, *steady[:4]], 0.2)
    then = risk(risks, portfolio_weights=weights, uncovered="proxy").values["total_risk_annual"]
    assert least.values["risk_annual"] == pytest.approx(then, rel=1e-6)
    left_out = construct(books, "optimize", **{**asked, "position": (0.0, 1.0)})
    assert gone not in left_out.values["weights"]
    assert left_out.values["uncovered_symbols"] == left_out.details["uncovered_symbols"] == [gone]


def test_a_search_over_all_names_names_none_of_them(books, gone):
    found = ask(books.optimize, pq.Optimize(model_id="m", uncovered="refuse"))
    assert gone not in found.values["weights"]
    assert "uncovered_symbols" not in found.details


def test_a_budget_for_a_name_without_a_model_is_refused_by_its_name(books, gone, steady):
    with pytest.raises(InvalidInput, match=gone) as caught:
        ask(books.risk_budget, pq.RiskBudget(model_id="m", budgets={steady[0]: 0.5, gone: 0.5}))
    assert (caught.value.field, caught.value.rows) == ("budgets", [gone])


def test_money_alone_has_no_risk_by_every_way(risks, books, exposures, steady):
    cash = {"USD": 0.5, "CASH": 0.5}
    assert risk(risks, portfolio_weights=cash).values["total_risk"] == 0.0
    assert risk(risks, portfolio_weights=cash).details["cash"] == cash
    tails = ask(risks.margin, pq.Margin(model_id="m", portfolio_weights=cash)).values["margin"]
    assert {row["value_at_risk"] for method in tails.values() for row in method.values()} == {0.0}
    fall = pq.Stress(model_id="m", portfolio_weights=cash, shocks={"fall": {"market": -0.2}})
    assert ask(risks.stress, fall).values["fall"]["return"] == 0.0
    asked = rq.FactorExposures(model_id="m", portfolio_weights=cash)
    assert set(ask(exposures.factor_exposures, asked).values.values()) == {0.0}
    assert set(history(books, portfolio_weights=cash).values["total_risk"]) == {0.0}
    assert attribution(books, portfolio_weights=cash).values["portfolio_return"] == 0.0
    active = risk(risks, portfolio_weights=cash, benchmark_weights={steady[0]: 1.0}).values["active"]
    alone = risk(risks, portfolio_weights={steady[0]: 1.0}).values
    assert active["active_risk"] == pytest.approx(alone["total_risk"])


@pytest.mark.parametrize(
    ("sizes", "word"),
    [((60.0, 40.0), "percent"), ((100.0, -100.0), "percent"), ((-60.0, -40.0), "percent"), ((1e6, -1e6), "money"),
     ((1.3, -0.3), None), ((2.0, -2.0), None)],
)  # fmt: skip
def test_sums_that_look_like_percent_or_money_are_warned_of_net_or_gross(risks, steady, sizes, word):
    told = risk(risks, portfolio_weights=dict(zip(steady, sizes, strict=False))).details.get("warnings", [])
    assert [word in line for line in told] == ([True] if word else [])


def test_an_instrument_named_twice_is_refused(risks, steady):
    twice = pq.HedgeBook(model_id="m", portfolio_weights={steady[0]: 1.0}, instruments=[steady[1], steady[1]])
    with pytest.raises(InvalidInput, match="more than once") as caught:
        ask(risks.hedge, twice)
    assert (caught.value.field, caught.value.rows) == ("instruments", [steady[1]])


SAID = (
    "coverage",
    "benchmark_coverage",
    "uncovered_symbols",
    "cash",
    "benchmark_cash",
    "warnings",
    "benchmark_warnings",
)


@pytest.mark.parametrize("policy", ["warn", "proxy"])
def test_every_answer_about_a_book_says_the_same_of_what_is_not_covered(
    risks, books, exposures, gone, names, steady, policy
):
    held = {steady[0]: 40.0, gone: 20.0, steady[1]: -10.0, "USD": 30.0}
    against = {steady[1]: 0.5, gone: 0.3, "EUR": 0.2}
    asked = {"model_id": "m", "portfolio_weights": held, "benchmark_weights": against, "uncovered": policy}
    answers = {
        "exposures": ask(exposures.factor_exposures, rq.FactorExposures(**asked)),
        "risk": ask(risks.portfolio_risk, rq.PortfolioRisk(**asked)),
        "margin": ask(risks.margin, pq.Margin(**asked)),
        "stress": ask(risks.stress, pq.Stress(**asked, shocks={"fall": {"market": -0.1}})),
        "what_if": ask(risks.what_if, pq.WhatIf(**asked, trades={steady[2]: 0.0})),
        "hedge": ask(risks.hedge, pq.HedgeBook(**asked, instruments=[steady[3]])),
    }
    said = {name: {key: answer.details.get(key) for key in SAID} for name, answer in answers.items()}
    assert said["risk"]["coverage"] == pytest.approx(50.0 / 70.0, abs=1e-6)
    assert said["risk"]["benchmark_coverage"] == pytest.approx(0.5 / 0.8, abs=1e-6)
    assert said["risk"]["uncovered_symbols"] == [gone]
    assert said["risk"]["cash"] == {"USD": 30.0}
    assert said["risk"]["benchmark_cash"] == {"EUR": 0.2}
    assert "percent" in said["risk"]["warnings"][0]
    for name, told in said.items():
        assert told == said["risk"], name
    past = {key: value for key, value in asked.items() if key != "model_id"}
    history_ = history(books, **past).details
    for key in ("uncovered_symbols", "cash", "benchmark_cash", "warnings"):
        assert history_[key] == said["risk"][key], key
    refused = {**asked, "uncovered": "refuse"}
    for call in (
        lambda: ask(exposures.factor_exposures, rq.FactorExposures(**refused)),
        lambda: ask(risks.portfolio_risk, rq.PortfolioRisk(**refused)),
        lambda: ask(risks.margin, pq.Margin(**refused)),
        lambda: ask(risks.stress, pq.Stress(**refused, shocks={"fall": {"market": -0.1}})),
        lambda: ask(risks.what_if, pq.WhatIf(**refused, trades={steady[2]: 0.1})),
        lambda: ask(risks.hedge, pq.HedgeBook(**refused, instruments=[steady[3]])),
        lambda: history(books, **{**past, "uncovered": "refuse"}),
    ):
        with pytest.raises(InvalidInput, match=gone) as caught:
            call()
        assert (caught.value.field, caught.value.rows) == ("portfolio_weights", [gone])


def test_selling_everything_leaves_no_risk(risks, steady):
    held = {steady[0]: 0.6, steady[1]: 0.4}
    sold = pq.WhatIf(model_id="m", portfolio_weights=held, trades={steady[0]: -0.6, steady[1]: -0.4, "USD": 1.0})
    found = ask(risks.what_if, sold)
    assert found.values["after"]["total_risk"] == 0.0
    assert found.values["turnover"] == pytest.approx(2.0)
    assert set(found.values["exposures_after"].values()) == {0.0}
