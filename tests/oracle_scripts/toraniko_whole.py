"""Toraniko's answers to a whole file: momentum, size, value, and factor returns and residuals of both kinds.

    python toraniko_whole.py DATA.parquet FOLDER DONE

``DATA`` is a long file; the frames made of it by ``frames`` are what toraniko is asked, and what we are asked
too. ``FOLDER`` receives one Parquet file an answer, and is called ``DONE`` when they are all there.
"""

import sys
from pathlib import Path

import polars as pl

KEYS = ["date", "symbol"]
WINSOR = 0.02


def frames(path):
    """Give the frames of the whole file; rows without a return stay out, as toraniko has no answer for them."""
    frame = pl.read_parquet(path).with_columns(pl.col("sector").fill_null("Unknown")).sort(KEYS)
    return {
        "returns": frame.select(*KEYS, "asset_returns").drop_nulls(),
        "caps": frame.select(*KEYS, "market_cap"),
        "ratios": frame.select(*KEYS, "book_price", "sales_price", "cf_price"),
        "sectors": frame.select(*KEYS, "sector").to_dummies("sector"),
    }


def styles_of(mom, sze, val):
    """Join the scores of the rows that have all three."""
    return mom.join(sze, on=KEYS).join(val, on=KEYS).drop_nulls().drop_nans().sort(KEYS)


def main(data, folder, done):
    from toraniko.model import estimate_factor_returns
    from toraniko.styles import factor_mom, factor_sze, factor_val

    given = frames(data)
    found = {
        "mom": factor_mom(given["returns"]).collect(),
        "sze": factor_sze(given["caps"]).collect(),
        "val": factor_val(given["ratios"]).collect(),
        "val_winsorized": factor_val(given["ratios"], winsorize_features=0.05).collect(),
    }
    styles = styles_of(found["mom"], found["sze"], found["val"])
    for kind, residualize in (("residualized", True), ("plain", False)):
        found[f"returns_{kind}"], found[f"residuals_{kind}"] = estimate_factor_returns(
            given["returns"], given["caps"], given["sectors"], styles, WINSOR, residualize
        )
    for name, answer in found.items():
        answer.write_parquet(Path(folder) / f"{name}.parquet")
    Path(folder).rename(done)


if __name__ == "__main__":
    main(*sys.argv[1:])
