"""Pandas and pyarrow tables, read by us in the oracle environment, which has both; prints what differs as JSON."""

import json
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from factors.errors import FactorError
from factors.panel.panel import Panel


def same(table: object, given: Panel) -> bool:
    """Whether a table is read as the given panel."""
    read = Panel.from_frame(table)
    return (
        read.symbols == given.symbols
        and read.dates.tolist() == given.dates.tolist()
        and list(read.fields) == list(given.fields)
        and all(np.array_equal(read.fields[n], v, equal_nan=True) for n, v in given.fields.items())
        and {n: (c.names, c.codes.tolist()) for n, c in read.categories.items()}
        == {n: (c.names, c.codes.tolist()) for n, c in given.categories.items()}
    )


def main() -> None:
    """Read one market in each of their forms."""
    days = pd.to_datetime(["2024-01-02", "2024-01-03"])
    plain = pd.DataFrame({
        "date": days.repeat(2), "symbol": ["A", "B"] * 2, "asset_returns": [0.01, None, 0.03, 0.04],
        "market_cap": [1, 2, 3, 4], "sector": ["Tech", None, "Tech", "Oil"], "held": [True, False, True, True],
    })  # fmt: skip
    text = plain.assign(date=plain["date"].dt.strftime("%Y-%m-%d"))
    given = Panel.from_frame(pl.DataFrame({
        "date": ["2024-01-02"] * 2 + ["2024-01-03"] * 2, "symbol": ["A", "B"] * 2,
        "asset_returns": [0.01, None, 0.03, 0.04], "market_cap": [1, 2, 3, 4],
        "sector": ["Tech", None, "Tech", "Oil"], "held": [True, False, True, True],
    }))  # fmt: skip
    forms = {
        "plain": plain,
        "text dates": text,
        "multi-index": plain.set_index(["date", "symbol"]),
        "date index": plain.set_index("date"),
        "index without a name": plain.set_index("date").rename_axis(None),
        "time zone": plain.assign(date=plain["date"].dt.tz_localize("Asia/Tokyo")),
        "categoricals": plain.assign(
            symbol=plain["symbol"].astype("category"), sector=plain["sector"].astype("category")
        ),
        "nullable types": plain.convert_dtypes(),
        "periods": plain.assign(date=plain["date"].dt.to_period("D")),
        "objects": plain.astype(object),
        "an index that is a column too": plain.set_index("date", drop=False),
        "two of them": plain.set_index(["date", "symbol"], drop=False),
        "an index of periods": plain.assign(date=plain["date"].dt.to_period("D")).set_index("date").rename_axis(None),
        "whole numbers and fractions": plain.assign(market_cap=pd.Series([1, 2.0, 3, np.float64(4)], dtype=object)),
        "pyarrow table": pa.Table.from_pandas(plain, preserve_index=False),
        "pyarrow batch": pa.RecordBatch.from_pandas(plain, preserve_index=False),
    }
    refused = {
        "an index of texts without a name": text.set_index("date").rename_axis(None),
        "a multi-index without names": plain.set_index(["date", "symbol"]).rename_axis([None, None]),
        "a wide table": plain.pivot(index="date", columns="symbol", values="market_cap"),
        "symbols that are numbers": plain.assign(symbol=[1, 2, 1, 2]),
        "one column": plain["market_cap"],
        "numbers with text between": plain.assign(market_cap=pd.Series([1.0, "NA", 3, 4], dtype=object)),
    }
    told = {}
    for name, table in refused.items():
        try:
            told[name] = str(Panel.from_frame(table).shape)
        except FactorError as error:
            told[name] = str(error)
    answers = {}
    for name, table in forms.items():
        try:
            answers[name] = "same" if same(table, given) else "differs"
        except Exception as error:  # noqa: BLE001  (the test shows it)
            answers[name] = f"{type(error).__name__}: {error}"
    shapes = {
        orient: json.loads(text.to_json(orient=orient)) for orient in ("split", "records", "columns", "index", "table")
    }
    shapes["epoch"] = json.loads(plain.to_json(orient="split"))
    shapes["multi-index table"] = json.loads(text.set_index(["date", "symbol"]).to_json(orient="table"))
    shapes["multi-index split"] = json.loads(text.set_index(["date", "symbol"]).to_json(orient="split"))
    shapes["values"] = json.loads(text.to_json(orient="values"))
    json.dump({"tables": answers, "shapes": shapes, "refused": told}, sys.stdout)


main()
