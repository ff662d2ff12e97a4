"""Time toraniko on frames from a folder and print the seconds.

    python toraniko_model.py FOLDER        (in the oracle environment)

The folder holds returns, caps, sectors and styles (.parquet) for the regression and momentum.parquet for the scores.
"""

import json
import sys
import time
from pathlib import Path

import polars as pl
from toraniko.model import estimate_factor_returns
from toraniko.styles import factor_mom

folder = Path(sys.argv[1])
frames = [pl.read_parquet(folder / f"{name}.parquet") for name in ("returns", "caps", "sectors", "styles")]
start = time.perf_counter()
factor_returns, _ = estimate_factor_returns(*frames)
regression = time.perf_counter() - start
factor_returns.write_parquet(folder / "theirs.parquet")
momentum = pl.read_parquet(folder / "momentum.parquet")
start = time.perf_counter()
factor_mom(momentum, trailing_days=252).collect()
print(json.dumps({"regression": regression, "momentum": time.perf_counter() - start}))
