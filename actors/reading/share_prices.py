"""What a share of some day costs, where the stored prices are those of another day's shares."""

from __future__ import annotations

import numpy as np

from factors.panel.splits import CarriedSplits
from store import Version

_SPLITS = "door/splits/"


def of_a_share_of(version: Version, row: int, columns: np.ndarray) -> np.ndarray:
    """Give what turns stored closes of any day into the price of a share of one day, [n_columns].

    For models without splits of a column, which store raw closes beside. Where only the shares told of a split, the
    stored close is that of a share of the first day if the vendor's prices jumped, and else, as a vendor adjusts them,
    of the last.
    """
    names = set(version.latest_names())
    if _SPLITS + "columns" not in names:
        return np.ones(len(columns))
    splits = CarriedSplits.restored(
        {name.removeprefix(_SPLITS): np.asarray(version.latest(name)) for name in names if name.startswith(_SPLITS)}
    )
    found = splits.factors(np.asarray(version.dates)[[row, -1]])
    out = np.ones(len(columns))
    for place in np.flatnonzero(np.isin(columns, list(found))):
        shares, prices = found[int(columns[place])]
        unseen = shares / prices
        out[place] = unseen[1] / unseen[0] / prices[0]
    return out
