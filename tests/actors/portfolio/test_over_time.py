"""Books through time, by hand: funds that change inside funds, numbers of shares, drift, risk beside returns."""

import numpy as np
import polars as pl
import pytest
from fixtures_actors import ask, start

from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode

FIRST, LAST = 150, 180


def put(books, name, holdings, **fields):
    ask(books.put_portfolio, pq.PutPortfolio(portfolio_id=name, holdings=holdings, request_id=f"t-{name}", **fields))


@pytest.fixture(scope="module")
def by_name(fitted):
    """Daily returns and closes of a name, [n_dates]."""

    def of(field, symbol):
        return fitted.panel_.fields[field][:, fitted.symbols_.index(symbol)]

    return of


@pytest.fixture(scope="module")
def span(fitted):
    return {"start_date": fitted.dates_[FIRST].item(), "end_date": fitted.dates_[LAST].item()}


def attribution(books, **fields):
    return ask(books.portfolio_attribution, rq.PortfolioAttribution(model_id="m", **fields))


def compounded(daily):
    return float(np.prod(1.0 + np.asarray(daily)) - 1.0)


@pytest.mark.parametrize("between", ["rebalance", "drift"])
def test_a_fund_that_changes_inside_a_book_earns_what_it_held_then(books, fitted, steady, by_name, span, between):
    changed = 160
    a, b, c = steady[:3]
    put(books, "turned", {str(fitted.dates_[100]): {a: 1.0}, str(fitted.dates_[changed]): {b: 1.0}})
    put(books, "holder", {"always": {"portfolio:turned": 0.6, c: 0.4}})
    found = attribution(books, portfolio_id="holder", between=between, **span).values
    days = range(FIRST, LAST + 1)
    fund = np.array([by_name("returns", a if t <= changed else b)[t] for t in days])
    other = by_name("returns", c)[FIRST : LAST + 1]
    if between == "rebalance":
        expected = compounded(0.6 * fund + 0.4 * other)
    else:
        expected = 0.6 * np.prod(1.0 + fund) + 0.4 * np.prod(1.0 + other) - 1.0
    assert found["portfolio_return"] == pytest.approx(expected, abs=1e-12)
    assert set(found["by_symbol"]) == {a, b, c}
    assert sum(found["by_symbol"].values()) == pytest.approx(expected, abs=1e-10)
    by_weights = attribution(books, portfolio_weights={"portfolio:turned": 0.6, c: 0.4}, between=between, **span).values
    assert by_weights["portfolio_return"] == pytest.approx(expected, abs=1e-12)


def test_the_market_inside_a_book_is_the_market_of_each_day(books, fitted, span):
    half = attribution(books, portfolio_weights={"portfolio:market": 0.5, "CASH": 0.5}, **span).values
    days = [fitted.dates_[t].item() for t in range(FIRST, LAST + 1)]
    market = [attribution(books, portfolio_id="market", start_date=day, end_date=day).values for day in days]
    expected = compounded([0.5 * one["portfolio_return"] for one in market])
    assert half["portfolio_return"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dated", ["before", "within", "never"])
def test_numbers_of_shares_are_held_and_not_traded(books, risks, fitted, steady, by_name, span, dated):
    a, b = steady[:2]
    close = {s: by_name("close", s) for s in (a, b)}
    date = {"before": str(fitted.dates_[20]), "within": str(fitted.dates_[FIRST]), "never": "always"}[dated]
    put(books, f"lots-{dated}", {date: {a: 30.0, b: 10.0, "CASH": 100.0}}, kind="shares")
    value = 30.0 * close[a] + 10.0 * close[b] + 100.0
    found = attribution(books, portfolio_id=f"lots-{dated}", **span).values
    # The value moves by the returns of the shares, dividends among them.
    gains = 30.0 * close[a][:-1] * by_name("returns", a)[1:] + 10.0 * close[b][:-1] * by_name("returns", b)[1:]
    daily = (gains / value[:-1])[FIRST - 1 : LAST]
    assert found["portfolio_return"] == pytest.approx(compounded(daily), abs=1e-10)
    assert found["portfolio_return"] == pytest.approx(value[LAST] / value[FIRST - 1] - 1.0, abs=2e-3)
    history = ask(books.risk_history, pq.RiskHistory(model_id="m", portfolio_id=f"lots-{dated}", **span)).values
    for row in (FIRST - 1, FIRST + 9, LAST):
        weights = {a: 30.0 * close[a][row] / value[row], b: 10.0 * close[b][row] / value[row]}
        then = {"model_id": "m", "date_requested": fitted.dates_[row].item()}
        by_hand = ask(risks.portfolio_risk, rq.PortfolioRisk(portfolio_weights=weights, **then)).values
        by_name_ = ask(risks.portfolio_risk, rq.PortfolioRisk(portfolio_id=f"lots-{dated}", **then)).values
        assert by_name_["total_risk"] == pytest.approx(by_hand["total_risk"], rel=1e-12)
        assert history["total_risk"][row - FIRST + 1] == pytest.approx(by_hand["total_risk"], rel=1e-12)


def test_a_book_drifts_from_its_own_date_on_where_that_lies_before_the_period(books, steady, fitted, by_name, span):
    a, b = steady[:2]
    put(books, "old", {str(fitted.dates_[100]): {a: 0.5, b: 0.5}})
    found = attribution(books, portfolio_id="old", between="drift", **span).values
    grown = [np.cumprod(1.0 + by_name("returns", s)[101:]) for s in (a, b)]
    value = 0.5 * grown[0] + 0.5 * grown[1]  # after day 101, 102, ...
    assert found["portfolio_return"] == pytest.approx(value[LAST - 101] / value[FIRST - 102] - 1.0, abs=1e-12)


@pytest.mark.parametrize("between", ["rebalance", "drift"])
def test_each_row_of_a_history_is_the_risk_of_its_close(books, risks, fitted, names, steady, by_name, between):
    """The last one too, on which the book changes; of two names of one issuer by the links of each close."""
    last = len(fitted.dates_) - 1
    first, second = names[2:]
    start_ = fitted.dates_[last - 30]
    put(
        books,
        f"pair-{between}",
        {str(start_): {first: 0.7, second: -0.2, steady[0]: 0.5}, str(fitted.dates_[last]): {steady[1]: 1.0}},
    )
    asked = {"start_date": fitted.dates_[last - 20].item(), "between": between}
    found = ask(books.risk_history, pq.RiskHistory(model_id="m", portfolio_id=f"pair-{between}", **asked)).values
    for row in (0, 7, 20, 21):
        at = last - 21 + row
        weights = np.array([0.7, -0.2, 0.5])
        held = (first, second, steady[0])
        if between == "drift":
            grown = weights * [np.prod(1.0 + by_name("returns", s)[last - 29 : at + 1]) for s in held]
            weights = grown / grown.sum()
        given = dict(zip(held, weights.tolist(), strict=True)) if at < last else {steady[1]: 1.0}
        one = rq.PortfolioRisk(model_id="m", portfolio_weights=given, date_requested=fitted.dates_[at].item())
        expected = ask(risks.portfolio_risk, one).values
        for kind in ("total_risk", "factor_risk", "specific_risk"):
            assert found[kind][row] == pytest.approx(expected[kind], rel=1e-10), (row, kind)
        for factor, exposure in expected["exposures"].items():
            assert found["exposures"][factor][row] == pytest.approx(exposure, abs=1e-12), (row, factor)
    if between == "rebalance":
        realised = [sum(w * by_name("returns", s)[last - 13] for s, w in zip(held, (0.7, -0.2, 0.5), strict=True))]
        assert found["realised_next_day"][7] == pytest.approx(realised[0], abs=1e-15)


def test_holdings_that_begin_after_the_date_are_told(books, risks, fitted, steady):
    put(books, "new", {str(fitted.dates_[200]): {steady[0]: 1.0}, str(fitted.dates_[210]): {steady[1]: 1.0}})
    asked = {"model_id": "m", "portfolio_id": "new"}
    then = ask(risks.portfolio_risk, rq.PortfolioRisk(**asked, date_requested=fitted.dates_[205].item()))
    assert then.details["holdings_date"] == str(fitted.dates_[200])
    assert "warnings" not in then.details
    early = ask(risks.portfolio_risk, rq.PortfolioRisk(**asked, date_requested=fitted.dates_[150].item()))
    assert str(fitted.dates_[200]) in early.details["warnings"][0]
    traded = ask(risks.what_if, pq.WhatIf(**asked, trades={steady[0]: 0.1}))
    assert traded.details["holdings_date"] == str(fitted.dates_[210])
    assert traded.details["portfolio_version"] == 1


@pytest.fixture(scope="module")
def moved(store_dir, market, steady):
    """The market with a name that changes its sector, one that leaves, and one whose raw close splits 4 to 1."""
    frame = market[1].drop("issuer")
    dates = frame["date"].unique().sort()
    changes, leaves, splits = steady[:3]
    after = pl.col("date") >= dates[FIRST]
    sectors = sorted(set(frame["sector"].drop_nulls()))
    was = frame.filter(pl.col("symbol") == changes)["sector"].drop_nulls()[0]
    becomes = next(name for name in sectors if name != was)
    frame = frame.with_columns(
        pl.when((pl.col("symbol") == changes) & after)
        .then(pl.lit(becomes))
        .otherwise(pl.col("sector"))
        .alias("sector"),
        pl.when((pl.col("symbol") == splits) & after)
        .then(pl.col("close") / 4.0)
        .otherwise(pl.col("close"))
        .alias("close"),
        pl.when((pl.col("symbol") == splits) & (pl.col("date") == dates[FIRST]))
        .then(4.0)
        .otherwise(1.0)
        .alias("split_ratio"),
    ).filter(~((pl.col("symbol") == leaves) & (pl.col("date") > dates[FIRST + 5])))
    ask(start(FactorModelCreation).create_model, rq.CreateModel(model_id="moved", feature_data=encode(frame)))
    return frame, (changes, was, becomes), leaves, splits


def test_contributions_by_sector_are_of_the_sectors_of_their_days(moved, books, span):
    frame, (changes, was, becomes), leaves, _ = moved
    asked = rq.PortfolioAttribution(model_id="moved", portfolio_weights={changes: 0.5, leaves: 0.5}, **span)
    found = ask(books.portfolio_attribution, asked).values
    assert "Unknown" not in found["by_sector"]
    of = {s: frame.filter(pl.col("symbol") == s).sort("date") for s in (changes, leaves)}
    home = of[leaves]["sector"].drop_nulls()[0]
    returns = {s: dict(rows.select("date", "asset_returns").iter_rows()) for s, rows in of.items()}
    dates = frame["date"].unique().sort()
    expected, value = {}, 1.0
    daily = []
    for t in range(FIRST, LAST + 1):
        here = dates[t] in returns[leaves]
        parts = {(was if t - 1 < FIRST else becomes): (0.5 if here else 1.0) * returns[changes][dates[t]]}
        if here:
            parts[home] = parts.get(home, 0.0) + 0.5 * returns[leaves][dates[t]]
        daily.append(parts)
    total = [sum(parts.values()) for parts in daily]
    whole = compounded(total)
    slope = np.log1p(whole) / whole
    for parts, r in zip(daily, total, strict=True):
        for sector, part in parts.items():
            expected[sector] = expected.get(sector, 0.0) + part * (np.log1p(r) / r) / slope
        value *= 1.0 + r
    assert found["portfolio_return"] == pytest.approx(whole, abs=1e-12)
    assert found["by_sector"] == pytest.approx(expected, abs=1e-10)


def test_shares_before_a_split_are_four_after_it_and_are_bought_at_the_price_of_the_day(moved, books, risks):
    frame, _, _, splits = moved
    dates = frame["date"].unique().sort()
    other = next(s for s in frame["symbol"].unique().sort() if s not in (splits, moved[1][0], moved[2]))
    raw = {s: dict(frame.filter(pl.col("symbol") == s).select("date", "close").iter_rows()) for s in (splits, other)}
    put(books, "split", {str(dates[FIRST - 10]): {splits: 10.0, other: 10.0}}, kind="shares")
    put(books, "after", {str(dates[FIRST]): {splits: 40.0, other: 10.0}}, kind="shares")
    for row, count in ((FIRST - 5, 10.0), (FIRST, 40.0), (LAST, 40.0)):
        worth = {splits: count * raw[splits][dates[row]], other: 10.0 * raw[other][dates[row]]}
        weights = {s: v / sum(worth.values()) for s, v in worth.items()}
        then = {"model_id": "moved", "date_requested": dates[row]}
        expected = ask(risks.portfolio_risk, rq.PortfolioRisk(portfolio_weights=weights, **then)).values["total_risk"]
        for name in ("split", "after"):
            found = ask(risks.portfolio_risk, rq.PortfolioRisk(portfolio_id=name, **then)).values["total_risk"]
            assert found == pytest.approx(expected, rel=1e-9), (row, name)
    trade = pq.Rebalance(
        model_id="moved",
        portfolio_weights={other: 1.0},
        symbols=[splits],
        net=(1.0, 1.0),
        position=(0.0, 1.0),
        book_value=1e6,
    )
    bought = ask(books.rebalance, trade).values["trades"][splits]
    assert bought["shares"] == pytest.approx(np.floor(1e6 / raw[splits][dates[-1]] + 1e-6), abs=1.0)


def test_a_book_without_weight_and_a_benchmark_of_money_have_a_coverage(risks, names, steady):
    gone = names[1]
    nothing = ask(risks.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights={gone: 0.0}))
    assert nothing.values["total_risk"] == 0.0
    assert nothing.details["coverage"] == 1.0
    weights = {gone: 0.5, steady[0]: 0.5}
    cash = ask(
        risks.portfolio_risk, rq.PortfolioRisk(model_id="m", portfolio_weights=weights, benchmark_weights={"USD": 1.0})
    )
    assert cash.details["benchmark_coverage"] == 1.0
    assert cash.details["coverage"] == 0.5


def test_an_instrument_that_is_stood_in_for_is_named(risks, names, steady):
    gone = names[1]
    asked = pq.HedgeBook(
        model_id="m", portfolio_weights={steady[0]: 1.0}, instruments=[steady[1], gone], uncovered="proxy"
    )
    assert ask(risks.hedge, asked).details["uncovered_symbols"] == [gone]


@pytest.mark.parametrize("between", ["rebalance", "drift"])
@pytest.mark.parametrize("seed", range(3))
def test_every_grouping_of_an_attribution_sums_to_the_return_by_hand(books, fitted, names, by_name, between, seed):
    """Long, short, cash, a name that lists late, holdings that change, against a benchmark of weights."""
    rng = np.random.default_rng(seed)
    first, last = 40 + seed, 110
    universe = [names[0], *[s for s in fitted.symbols_ if s not in names]][:14]
    returns = np.array([by_name("returns", s) for s in universe]).T
    picks = [rng.choice(14, 6, replace=False) for _ in range(3)]
    picks[0][0] = picks[1][0] = 0  # the late one
    sets = [dict(zip(pick.tolist(), rng.normal(0.15, 0.2, 6).tolist(), strict=True)) for pick in picks]
    dates = [first - 5, first + 25]
    holdings = {
        str(fitted.dates_[t]): {**{universe[i]: w for i, w in chosen.items()}, "USD": 0.3}
        for t, chosen in zip(dates, sets[:2], strict=True)
    }
    put(books, f"sum-{between}-{seed}", holdings)
    asked = {"start_date": fitted.dates_[first].item(), "end_date": fitted.dates_[last].item(), "between": between}
    against = {universe[i]: abs(w) for i, w in sets[2].items()}
    found = attribution(books, portfolio_id=f"sum-{between}-{seed}", benchmark_weights=against, **asked).values

    def earned(chosen, set_on, start, end):
        """Returns day by day, by a loop over names; absent ones leave their weight to the others of their side."""
        now, out = dict(chosen), {}
        for t in range(set_on + 1, end + 1):
            there = {i: w for i, w in now.items() if np.isfinite(returns[t, i])}
            gain = 0.0
            for i, w in there.items():
                side, left = (sum(x for x in of.values() if x * w > 0.0) for of in (now, there))
                gain += w * side / left * returns[t, i]
            out[t] = gain
            if between == "drift":
                now |= {i: w * (1.0 + returns[t, i]) / (1.0 + gain) for i, w in there.items()}
        return [out[t] for t in range(start, end + 1)]

    own = earned(sets[0], dates[0], first, dates[1]) + earned(sets[1], dates[1], dates[1] + 1, last)
    other = earned({i: abs(w) for i, w in sets[2].items()}, first - 1, first, last)
    assert found["portfolio_return"] == pytest.approx(compounded(own), abs=1e-10)
    assert found["benchmark_return"] == pytest.approx(compounded(other), abs=1e-10)
    active = compounded(own) - compounded(other)
    assert found["sum_of_parts"] == pytest.approx(active, abs=1e-10)
    for groups in ("by_symbol", "by_sector", "by_family"):
        assert sum(found[groups].values()) == pytest.approx(active, abs=1e-10), groups


def test_what_a_book_earned_against_itself_is_covered_whole(books):
    found = attribution(books, portfolio_id="market", benchmark="market")
    assert found.values["active_return"] == 0.0
    assert found.details["coverage"] == found.details["benchmark_coverage"] == 1.0
    assert found.confidence_score > 0.0
    assert attribution(books, portfolio_weights={"USD": 1.0}).details["coverage"] == 1.0


@pytest.mark.parametrize("between", ["rebalance", "drift"])
def test_a_book_that_loses_everything_is_named_with_the_day(books, steady, by_name, fitted, between):
    first = next(t for t in range(1, 40) if by_name("returns", steady[0])[t] < by_name("returns", steady[1])[t] - 0.01)
    day = fitted.dates_[first].item()
    ruin = {steady[0]: 100.0, steady[1]: -100.0}
    with pytest.raises(InvalidInput, match=f"falls to nothing on {day}") as caught:
        attribution(books, portfolio_weights=ruin, start_date=day, between=between)
    assert caught.value.field == "portfolio_weights"


def test_a_tail_that_needs_more_days_than_the_date_has_says_so(risks, steady, fitted):
    early = pq.Margin(
        model_id="m",
        portfolio_weights={steady[0]: 1.0},
        date_requested=fitted.dates_[10].item(),
        methods=("filtered_historical",),
    )
    with pytest.raises(InvalidInput, match="more than 21 complete days") as caught:
        ask(risks.margin, early)
    assert caught.value.field == "date_requested"


def test_a_share_costs_its_raw_price_after_a_split_that_only_the_shares_told_of(store_dir, market, books, steady):
    own, after = pl.col("symbol") == steady[0], pl.col("date") >= market[1]["date"].unique().sort()[FIRST]
    split = pl.when(own & after).then(4.0).otherwise(1.0)
    frame = market[1].drop("issuer").with_columns(pl.col("close") / split, pl.col("shares") * split)
    ask(start(FactorModelCreation).create_model, rq.CreateModel(model_id="told", feature_data=encode(frame)))
    trade = pq.Rebalance(
        model_id="told", portfolio_weights={steady[1]: 1.0}, symbols=[steady[0]], position=(0.0, 1.0), book_value=1e6
    )
    last = frame.filter(own).sort("date")["close"][-1]
    version = books.books.slices.head("told")
    kept = version.day_asset("fields/close")[-1, version.column[steady[0]]]
    assert kept == pytest.approx(4.0 * last)  # the model adjusts, and keeps no raw price beside
    bought = ask(books.rebalance, trade).values["trades"][steady[0]]
    assert bought["shares"] == pytest.approx(1e6 / last, abs=1.0)


@pytest.mark.parametrize("vendor_adjusts", [False, True])
def test_shares_over_a_split_that_only_the_shares_told_of_keep_their_worth(
    store_dir, market, books, risks, steady, vendor_adjusts
):
    """Ten before it are forty after it; the vendor's closes jump with it, or are all of the shares of today."""
    days = market[1]["date"].unique().sort()
    own, after = pl.col("symbol") == steady[0], pl.col("date") >= days[FIRST]
    count = pl.when(own & after).then(4.0).otherwise(1.0)
    traded = market[1].drop("issuer").with_columns(pl.col("close") / count, pl.col("shares") * count)
    early = pl.when(own & ~after).then(4.0).otherwise(1.0)
    vendor = traded.with_columns(pl.col("close") / early) if vendor_adjusts else traded
    model_id = f"split-{vendor_adjusts}"
    ask(start(FactorModelCreation).create_model, rq.CreateModel(model_id=model_id, feature_data=encode(vendor)))
    close = {s: dict(traded.filter(pl.col("symbol") == s).select("date", "close").iter_rows()) for s in steady[:2]}
    put(books, "early", {str(days[FIRST - 10]): {steady[0]: 10.0, steady[1]: 10.0}}, kind="shares")
    put(books, "late", {str(days[FIRST]): {steady[0]: 40.0, steady[1]: 10.0}}, kind="shares")
    for row, name, held in ((FIRST - 5, "early", 10.0), (LAST, "early", 40.0), (FIRST, "late", 40.0)):
        worth = {steady[0]: held * close[steady[0]][days[row]], steady[1]: 10.0 * close[steady[1]][days[row]]}
        weights = {symbol: value / sum(worth.values()) for symbol, value in worth.items()}
        then = {"model_id": model_id, "date_requested": days[row]}
        expected = ask(risks.portfolio_risk, rq.PortfolioRisk(portfolio_weights=weights, **then)).values["total_risk"]
        found = ask(risks.portfolio_risk, rq.PortfolioRisk(portfolio_id=name, **then)).values["total_risk"]
        assert found == pytest.approx(expected, rel=1e-9), (row, name)
