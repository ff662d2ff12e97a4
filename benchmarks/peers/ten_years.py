"""Style scores and factor returns from a folder of frames, by the package that is named; prints the seconds.

python ten_years.py FOLDER toraniko|factors        (each in the environment that has it)
"""

import importlib
import json
import sys
import time
from pathlib import Path

import polars as pl

folder, package = Path(sys.argv[1]), sys.argv[2]
styles = importlib.import_module(f"{package}.styles")
model = importlib.import_module(f"{package}.model")
returns, caps, sectors, values = (
    pl.read_parquet(folder / f"{n}.parquet") for n in ("returns", "caps", "sectors", "values")
)

began = time.perf_counter()
momentum = styles.factor_mom(returns, trailing_days=252, winsor_factor=0.01).collect()
size = styles.factor_sze(caps).collect()
value = styles.factor_val(values, winsorize_features=0.01).collect()
scored = time.perf_counter()
scores = momentum.join(size, on=["date", "symbol"]).join(value, on=["date", "symbol"])
columns = [name for name in scores.columns if name.endswith("_score")]
whole = scores.select("date", "symbol", *columns).drop_nulls()
there = whole.filter(pl.all_horizontal(pl.col(columns).is_finite())).select("date", "symbol")
day = [
    frame.join(there, on=["date", "symbol"], how="semi").sort("date", "symbol") for frame in (returns, caps, sectors)
]
factor_returns, _ = model.estimate_factor_returns(*day, whole.join(there, on=["date", "symbol"]).sort("date", "symbol"))
ended = time.perf_counter()
factor_returns.sort("date").write_parquet(folder / f"{package}.parquet")
print(
    json.dumps(
        {"scores": scored - began, "returns": ended - scored, "whole": ended - began, "cpu": time.process_time()}
    )
)
