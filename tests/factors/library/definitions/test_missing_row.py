"""What the quality report says that one missing row costs, counted over the catalogue."""

import numpy as np

from factors.panel.quality.kinds import KINDS

ROW = 800
"""Far enough from both ends for the longest windows."""


def test_the_report_says_how_many_factors_a_missing_row_silences(catalogue, calculate, small_market):
    fields = small_market.fields
    whole = np.isfinite([fields[name] for name in ("close", "returns", "volume")]).all(axis=0)
    name = int(np.flatnonzero(whole[1:].all(axis=0))[0])
    before = calculate(catalogue.entries, panel=small_market)
    kept = {field: values[ROW, name] for field, values in fields.items()}
    try:
        for values in fields.values():
            values[ROW, name] = np.nan
        after = calculate(catalogue.entries, panel=small_market)
    finally:
        for field, value in kept.items():
            fields[field][ROW, name] = value
    lost = np.array([(np.isfinite(before[id_]) & ~np.isfinite(after[id_]))[:, name].sum() for id_ in before])
    text = (
        f"of {len(lost)} factors of the library {(lost > 1).sum()} have no value for the name for more than a day, "
        f"{(lost > 20).sum()} for more than 20 days and {(lost >= 60).sum()} for 60 days or more"
    )
    assert KINDS["missing_row"].effect.startswith(text), text
