"""What toraniko's functions make of input that is not as it should be: an answer, or the kind of error.

    python toraniko_bad_input.py FOLDER

``FOLDER`` receives ``KIND-FUNCTION.parquet`` for each answer and ``errors.json`` with the errors' names.
"""

import datetime as dt
import json
import math
import sys
import warnings
from pathlib import Path

import polars as pl

KEYS = ["date", "symbol"]
N_DATES, N_SYMBOLS = 30, 14
FUNCTIONS = ("mom", "sze", "val", "returns")


def market(n_symbols=N_SYMBOLS, n_sectors=3):
    """Give one long frame without gaps, by plain arithmetic, so that it is the same whatever the versions."""
    rows = []
    for t in range(N_DATES):
        for n in range(n_symbols):
            u = [noise(12.9898 * (t + 1) + 78.233 * (n + 1) + 37.719 * k) for k in range(7)]
            row = {
                "date": dt.date(2024, 1, 1) + dt.timedelta(days=t),
                "symbol": f"S{n:02d}",
                "asset_returns": 0.03 * u[0],
                "market_cap": math.exp(6.0 + u[1] + 0.1 * n),
                "book_price": math.exp(u[2]),
                "sales_price": math.exp(u[3]),
                "cf_price": 0.1 * u[4],
                "one": u[5],
                "two": u[6] + 0.2 * u[0],
            }
            rows.append(row | {f"sector_{s}": int(n % n_sectors == s) for s in range(n_sectors)})
    return pl.DataFrame(rows)


def noise(x):
    """Give a number in -1..1 that looks like chance."""
    return round(2.0 * math.modf(abs(math.sin(x)) * 43758.5453)[0] - 1.0, 6)


def _where(names, value, n=9):
    """Put a value into every `n`-th row of some columns."""
    at = pl.int_range(pl.len()) % n == 4
    return [pl.when(at).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name in names]


def kinds():
    """Give a market of each kind of bad input."""
    whole = market()
    features = ["asset_returns", "market_cap", "book_price", "sales_price", "cf_price", "one", "two"]
    shuffled = whole.with_row_index("row").sort((pl.col("row") * 7919) % 421).drop("row")
    return {
        "plain": whole,
        "null column": whole.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in features),
        "one asset": market(1, 1),
        "one sector": market(n_sectors=1),
        "constant scores": whole.with_columns(pl.lit(2.0).alias(name) for name in features[1:]),
        "zero caps": whole.with_columns(_where(["market_cap"], 0.0)),
        "infinities": whole.with_columns(_where(features, math.inf)),
        "nan": whole.with_columns(_where(features, math.nan)),
        "null": whole.with_columns(_where(features, None)),
        "unsorted": shuffled,
        "duplicated": pl.concat([whole, whole.slice(40, 3)]),
        "float32": whole.with_columns(pl.col(features).cast(pl.Float32)),
        "no rows": whole.clear(),
    }


def ask(function, frame, model, styles):
    """Ask one function; the factor returns and the residuals come as one frame."""
    if function == "mom":
        return styles.factor_mom(frame.select(*KEYS, "asset_returns"), 10, 5, 2, 0.05).collect()
    if function == "sze":
        return styles.factor_sze(frame.select(*KEYS, "market_cap")).collect()
    if function == "val":
        return styles.factor_val(frame.select(*KEYS, "book_price", "sales_price", "cf_price")).collect()
    sectors = [name for name in frame.columns if name.startswith("sector_")]
    parts = [frame.select(*KEYS, *names) for names in (["asset_returns"], ["market_cap"], sectors, ["one", "two"])]
    returns, residuals = model.estimate_factor_returns(*parts, 0.05, True)
    return returns.join(residuals, on="date", suffix=" of the residuals")


def main(folder):
    from toraniko import model, styles

    warnings.simplefilter("ignore")
    errors = {}
    for kind, frame in kinds().items():
        for function in FUNCTIONS:
            try:
                ask(function, frame, model, styles).write_parquet(Path(folder) / f"{kind}-{function}.parquet")
            except BaseException as error:  # noqa: BLE001 - Polars raises panics that are no Exception
                errors[f"{kind}-{function}"] = f"{type(error).__name__}: {error}"[:200]
    (Path(folder) / "errors.json").write_text(json.dumps(errors))


if __name__ == "__main__":
    main(sys.argv[1])
