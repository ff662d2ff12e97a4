"""The rows of issue 13 that a quant meets in the first hour, as checks that any way into the engine is put through.

`ask(path, **body)` gives the status and the answer; `frame` is the table that the model was made of.
"""

import numpy as np
import polars as pl
import pytest
from fixtures_toraniko import DATA

LAST = "2018-12-31"
SUBJECTS = {
    "/factor-model/create": "toraniko.model_request.create",
    "/portfolio-risk/calculate": "risk.factor_request.portfolio_risk",
    "/portfolio-attribution/calculate": "portfolio.factor_exposure.attribution",
}


def faulty():
    """The real file; AAPL has no capitalisation on the last date, and the two share classes of Google one issuer."""
    table = pl.read_parquet(DATA)
    gone = (pl.col("symbol") == "AAPL") & (pl.col("date").cast(pl.String).str.slice(0, 10) == LAST)
    symbol = pl.col("symbol")
    return table.with_columns(
        pl.when(gone).then(None).otherwise(pl.col("market_cap")).alias("market_cap"),
        pl.when(symbol.is_in(["GOOG", "GOOGL"])).then(pl.lit("Alphabet")).otherwise(symbol).alias("issuer"),
    )


def risk(ask, **body):
    return ask("/portfolio-risk/calculate", **body)


def a_name_without_a_cap_is_no_risk_of_zero_in_book_or_benchmark(ask, frame):
    status, told = risk(ask, portfolio_weights={"AAPL": 1.0})
    assert (status, told["field"]) == (422, "portfolio_weights")
    assert "AAPL" in told["detail"]
    status, told = risk(ask, portfolio_weights={"AAPL": 0.5, "MSFT": 0.5}, benchmark_weights={"MSFT": 0.5, "AAPL": 0.5})
    assert status == 200
    result = told["calculation_result"]
    assert (result["coverage"], result["benchmark_coverage"], result["uncovered_symbols"]) == (0.5, 0.5, ["AAPL"])
    for policy, wanted in (("refuse", 422), ("proxy", 200)):
        assert risk(ask, portfolio_weights={"AAPL": 0.5, "MSFT": 0.5}, uncovered=policy)[0] == wanted


def a_date_is_the_date_and_what_does_nothing_is_named(ask, frame):
    book = {"portfolio_weights": {"MSFT": 1.0}}
    past, now = (risk(ask, **book, **more)[1]["calculation_result"] for more in ({"date_requested": "2016-06-30"}, {}))
    assert (past["date"], now["date"]) == ("2016-06-30", LAST)
    assert past["factor_values"]["total_risk"] != now["factor_values"]["total_risk"]
    status, told = risk(ask, **book, date="2016-06-30")
    assert status == 422
    assert "date_requested" in told["detail"]
    assert "active" in risk(ask, **book, benchmark="market")[1]["calculation_result"]["factor_values"]
    assert risk(ask, **book, desk="rates")[1]["ignored_fields"] == ["desk"]


def two_share_classes_of_one_issuer_are_one_risk(ask, frame):
    status, told = risk(ask, portfolio_weights={"GOOG": 1.0, "GOOGL": -1.0})
    assert status == 200
    pair = frame.filter(pl.col("symbol").is_in(["GOOG", "GOOGL"])).pivot(
        on="symbol", index="date", values="asset_returns"
    )
    realised = float(np.nanstd((pair["GOOG"] - pair["GOOGL"]).to_numpy()[-252:]) * 252**0.5)
    predicted = told["calculation_result"]["factor_values"]["total_risk_annual"]
    assert realised / 1.5 < predicted < realised * 1.5


def a_name_that_lists_later_is_named_in_an_attribution(ask, frame):
    status, told = ask(
        "/portfolio-attribution/calculate", portfolio_weights={"MSFT": 0.5, "QRVO": 0.5}, start_date="2014-06-02"
    )
    assert status == 200
    result = told["calculation_result"]
    assert result["absent_days"]["QRVO"] > 100
    assert result["absent_rule"]
    values = result["factor_values"]
    assert values["sum_of_parts"] == pytest.approx(values["portfolio_return"], abs=1e-10)


def weights_beyond_all_measure_are_an_error(ask, frame):
    status, told = risk(ask, portfolio_weights={"MSFT": 1e308})
    assert status == 422
    assert "portfolio_weights" in told["field"]


def dates_shapes_and_hours_are_read_or_told_what_to_call(ask, frame):
    part = frame.filter(pl.col("symbol").is_in(["MSFT", "GOOG", "GOOGL", "JPM", "XOM"])).tail(5 * 130)
    part = part.select("date", "symbol", "asset_returns", "market_cap", "sector", "close")

    def create(table, **more):
        return ask("/factor-model/create", model_id="part", feature_data=table, **more)

    rows = part.to_dict(as_series=False)
    days = [str(day)[:10] for day in rows["date"]]
    american = [f"{day[5:7]}/{day[8:]}/{day[:4]}" for day in days]
    refused = create({**rows, "date": american})
    assert (refused[0], refused[1]["field"]) == (422, "feature_data.date")
    assert create({**rows, "date": american}, intake={"date_format": "%m/%d/%Y"})[0] == 200
    assert create({**rows, "date": [day.replace("-", "") for day in days]})[0] == 200
    assert create({**rows, "date": [*days[:-1], "2018-12-3112"]})[0] == 422
    split = {
        "columns": list(rows),
        "index": list(range(len(days))),
        "data": [list(row) for row in zip(*{**rows, "date": days}.values(), strict=True)],
    }
    assert create(split)[0] == 200
    hourly = {name: [v for v in values for _ in (0, 1)] for name, values in {**rows, "date": days}.items()}
    hourly["date"] = [f"{day}T{10 + i % 2}:00:00" for i, day in enumerate(hourly["date"])]
    several = create(hourly)
    assert several[0] == 422
    assert "combine" in several[1]["detail"]
    assert create(hourly, intake={"intraday": "combine"})[0] == 200
    texts = {**rows, "date": days, "dividends": ["NA" if i == 3 else 1.0 for i in range(len(days))]}
    told = create(texts)
    assert (told[0], told[1]["field"]) == (422, "feature_data.dividends")
    assert create(texts, intake={"na_values": ["NA"]})[0] == 200


ROWS = (
    a_name_without_a_cap_is_no_risk_of_zero_in_book_or_benchmark,
    a_date_is_the_date_and_what_does_nothing_is_named,
    two_share_classes_of_one_issuer_are_one_risk,
    a_name_that_lists_later_is_named_in_an_attribution,
    weights_beyond_all_measure_are_an_error,
    dates_shapes_and_hours_are_read_or_told_what_to_call,
)
