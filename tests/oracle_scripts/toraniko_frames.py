"""Toraniko's answers on frames in which names list late, leave, and are away for some days.

    PYTHONPATH=tests python toraniko_frames.py FOLDER

``FOLDER`` receives one Parquet file an answer; `frame` gives the rows and `answers` the calls, so that a test can ask
other functions of the same names.
"""

import datetime as dt
import sys
from pathlib import Path

import polars as pl
from oracle_scripts.toraniko_bad_input import KEYS, market

RATIOS = ("book_price", "sales_price", "cf_price")
DAY = dt.date(2024, 1, 1)


def frame():
    """Give thirty days of fourteen names: S00 comes late, S01 leaves, S02 pauses, S03 is there for two days."""
    day, name = (pl.col("date") - DAY).dt.total_days(), pl.col("symbol")
    away = (
        ((name == "S00") & (day < 12))
        | ((name == "S01") & (day > 16))
        | ((name == "S02") & day.is_between(9, 13))
        | ((name == "S03") & ~day.is_between(20, 21))
        | ((name == "S04") & (day == 15))
        | ((name == "S05") & (day > 27))
    )
    return market().filter(~away)


def answers(math, model, styles, utils):
    """Ask every function of the drop-in modules that takes a frame; some with more than one setting."""
    rows = frame()
    returns, caps, ratios = (rows.select(*KEYS, *names) for names in (["asset_returns"], ["market_cap"], RATIOS))
    found = {}
    for days, half_life, lag, winsor in (
        (2, 2, 2, 0.0),
        (5, 3, 0, 0.05),
        (6, 4, 3, 0.01),
        (10, 5, 8, 0.1),
        (3, 2, 1, 0.02),
    ):
        found[f"mom {days} {lag}"] = styles.factor_mom(returns, days, half_life, lag, winsor).collect()
    found["sze"] = styles.factor_sze(caps).collect()
    found["sze 3 7"] = styles.factor_sze(caps, 0.3, 0.7).collect()
    found["val"] = styles.factor_val(ratios).collect()
    found["val clipped"] = styles.factor_val(ratios, 0.1).collect()
    sectors = rows.select(*KEYS, *(name for name in rows.columns if name.startswith("sector_")))
    scores = rows.select(*KEYS, "one", "two")
    for clip, residualize in ((0.05, True), (None, False)):
        parts = model.estimate_factor_returns(returns, caps, sectors, scores, clip, residualize)
        for what, answer in zip(("returns", "residuals"), parts, strict=True):
            found[f"{what} {residualize}"] = answer.select(sorted(answer.columns))
    found["winsorize"] = math.winsorize_xsection(ratios, RATIOS, "date", 0.1)
    found["centre"] = rows.select(*KEYS, math.center_xsection("one", "date", True), math.center_xsection("two", "date"))
    found["norm"] = rows.select(*KEYS, math.norm_xsection("one", "date", -1, 2))
    found["percentiles"] = rows.select(*KEYS, math.percentiles_xsection("one", "date", 0.25, 0.7, -3.0))
    holes = rows.with_columns(pl.when(pl.int_range(pl.len()) % 7 == 3).then(None).otherwise(pl.col("one")).alias("one"))
    found["fill"] = utils.fill_features(holes.select(*KEYS, "one", "two"), ("one", "two"), "date", "symbol").collect()
    found["smooth"] = utils.smooth_features(scores, ("one", "two"), "date", "symbol", 4).collect()
    found["top"] = utils.top_n_by_group(caps, 5, "market_cap", ("date",), True).collect()
    found["top marked"] = utils.top_n_by_group(caps, 5, "market_cap", ("date",), False).collect()
    return found


def main(folder):
    from toraniko import math, model, styles, utils

    for name, answer in answers(math, model, styles, utils).items():
        answer.write_parquet(Path(folder) / f"{name}.parquet")


if __name__ == "__main__":
    main(sys.argv[1])
