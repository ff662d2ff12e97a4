"""qlib's own expression engine (pyqlib 0.9.7) on formulas of qlib's, in the oracle environment.

    python pyqlib_formulas.py alpha158|FORMULAS.json PANEL.npz OUT.npz

``FORMULAS.json`` maps names to expressions as `D.features` takes them; ``alpha158`` takes the 158 of qlib's own
loader, by their lower-case names. ``PANEL.npz`` holds ``[n_dates, n_assets]`` arrays of the features and ``listed``,
where a name has a row. As in a data folder of qlib's, a name's series runs from its first row to its last, NaN on the
days between without one. Nothing of qlib is started: its operators read the arrays through a feature provider.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from qlib.config import C
from qlib.data.cache import H
from qlib.data.data import FeatureD, FeatureProvider, LocalExpressionProvider
from qlib.data.ops import register_all_ops


class Given(FeatureProvider):
    """Features from arrays."""

    def __init__(self, arrays):
        self.arrays = arrays
        spoken = arrays["listed"]
        self.first = spoken.argmax(axis=0)
        self.last = len(spoken) - 1 - spoken[::-1].argmax(axis=0)

    def feature(self, instrument, field, start_time, end_time, freq):
        rows = np.arange(self.first[instrument], self.last[instrument] + 1)
        return pd.Series(self.arrays[field.removeprefix("$")][rows, instrument].astype(float), index=rows)


def main(what, panel, out):
    with np.load(panel) as file:
        arrays = {name: file[name] for name in file.files}
    if what == "alpha158":
        from qlib.contrib.data.loader import Alpha158DL

        texts, names = Alpha158DL.get_feature_config()
        formulas = {name.lower(): text for name, text in zip(names, texts, strict=True)}
    else:
        formulas = json.loads(Path(what).read_text())
    given = Given(arrays)
    register_all_ops(C)
    FeatureD.register(given)
    expressions = LocalExpressionProvider()
    shape = arrays["listed"].shape
    results = {}
    for name, text in formulas.items():
        values = np.full(shape, np.nan)
        expression = expressions.get_expression_instance(text)
        for asset in range(shape[1]):
            series = expression.load(asset, None, None, "day").astype(float)
            values[series.index, asset] = series
        H.clear()
        results[name] = values
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
