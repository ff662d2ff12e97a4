"""Raw prices with their corporate actions, posted by every form of body: the model is that of the adjusted prices."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest

from contracts.frames import ARROW_STREAM, CSV, PARQUET
from factors import sample_market

N_DAYS = 150
SPLITS = {"S0003": (40, 2.0), "S0011": (120, 0.1), "S0020": (N_DAYS - 1, 20.0)}
PAID = {"S0003": (90, 0.01), "S0007": (N_DAYS - 1, 0.05)}
"""Rows, and dividends as shares of the close."""
PRICES = ("open", "high", "low", "close", "vwap")
COLUMNS = ("date", "symbol", "asset_returns", "market_cap", "sector", *PRICES, "volume", "shares")


def tables():
    """The market as its days had it, with its actions; and adjusted by hand."""
    panel = sample_market(22, N_DAYS, seed=2).panel
    frame = panel.to_frame(names={"returns": "asset_returns"}).select(COLUMNS)
    day = {date: row for row, date in enumerate(panel.dates.tolist())}
    rows = np.array([day[date] for date in frame["date"]])
    names = frame["symbol"].to_numpy()
    split, part = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    share, price = np.ones(len(rows)), np.ones(len(rows))
    for symbol, (row, ratio) in SPLITS.items():
        split[(names == symbol) & (rows == row)] = ratio
        share[(names == symbol) & (rows >= row)] *= ratio
    for symbol, (row, paid) in PAID.items():
        part[(names == symbol) & (rows == row)] = paid
        price[(names == symbol) & (rows >= row)] *= 1.0 + paid
    # What the sample has is adjusted for splits and not for dividends.
    raw = frame.with_columns(
        *[pl.col(name) / share for name in PRICES],
        *[pl.col(name) * share for name in ("volume", "shares")],
        amount=pl.col("vwap") * pl.col("volume"),
    ).with_columns(split_ratio=pl.Series(split), dividend=pl.Series(part) * pl.col("close"))
    raw = raw.with_columns(pl.col("split_ratio", "dividend").fill_nan(None))
    return raw, frame.with_columns(*[pl.col(name) * price for name in PRICES], amount=pl.col("vwap") * pl.col("volume"))


RAW, ADJUSTED = tables()
LAST = RAW["date"].max()


def parquet(frame):
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return sink.getvalue()


def arrow(frame):
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    return sink.getvalue()


FORMS = {
    "csv": (CSV, lambda frame: frame.write_csv().encode()),
    "parquet": (PARQUET, parquet),
    "arrow": (ARROW_STREAM, arrow),
}


def as_json(frame):
    return frame.with_columns(pl.col("date").cast(pl.String)).to_dict(as_series=False)


def posted(http, model_id, frame, form):
    """Create a model of all days but the last by a form of body, and append that one, which is JSON."""
    first, last = frame.filter(pl.col("date") < LAST), frame.filter(pl.col("date") == LAST)
    if form == "json":
        made = http.post("/factor-model/create", json={"model_id": model_id, "feature_data": as_json(first)})
    else:
        kind, written = FORMS[form]
        made = http.put(f"/factor-model/{model_id}/data", content=written(first), headers={"content-type": kind})
    assert made.status_code == 200, made.text
    grown = http.post(f"/factor-model/{model_id}/append", json={"feature_data": as_json(last)})
    assert grown.status_code == 200, grown.text


def told(http, model_id):
    """What the model says of styles, risk and factors of the library on the day of a split."""
    books = {"portfolio_weights": {"S0003": 0.5, "S0020": 0.3, "S0011": 0.2}, "model_id": model_id}
    asked = [
        http.post("/style-factors/calculate", json={"model_id": model_id}),
        http.post("/portfolio-risk/calculate", json=books),
        http.post("/covariance/compute", json={"model_id": model_id}),
        *[
            http.post(f"/factors/calculate/{name}", json={"model_id": model_id})
            for name in ("S0003", "S0007", "S0011", "S0020")
        ],
    ]
    assert [answer.status_code for answer in asked] == [200] * len(asked), [a.text[:300] for a in asked]
    return [answer.json()["calculation_result"]["factor_values"] for answer in asked]


def same(one, other, where=()):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            same(one[name], other[name], (*where, name))
    elif isinstance(one, list):
        same(dict(enumerate(one)), dict(enumerate(other)), where)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12), where
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def adjusted(http):
    posted(http, "adjusted", ADJUSTED, "parquet")
    return told(http, "adjusted")


@pytest.mark.parametrize("form", ["json", *FORMS])
def test_posted_raw_prices_with_their_actions_are_the_model_of_the_adjusted_prices(http, adjusted, form):
    posted(http, f"raw-{form}", RAW, form)
    for one, other in zip(told(http, f"raw-{form}"), adjusted, strict=True):
        same(one, other)


def test_an_action_that_cannot_be_is_refused_by_its_row(http):
    wrong = RAW.with_columns(
        split_ratio=pl.when((pl.col("date") == LAST) & (pl.col("symbol") == "S0003"))
        .then(-2.0)
        .otherwise("split_ratio")
    )
    answer = http.put("/factor-model/wrong/data", content=parquet(wrong), headers={"content-type": PARQUET})
    problem = answer.json()
    assert (answer.status_code, problem["field"].split(".")[-1]) == (422, "split_ratio")
    assert [[str(LAST), "S0003"]] == [[str(part) for part in row] for row in problem["rows"]], problem
