"""Information coefficients, HAC statistics and turnover by ml4t-diagnostic, in the oracle environment.

    python ml4t_analytics.py IN.npz OUT.npz

``IN.npz`` holds ``scores`` and ``following`` [T, N] without missing values, ``quantiles`` [T, N] from 1, ``lags``.

The package's own ``__init__`` loads shap, arch and more for what is not asked here; only the files with the functions
are loaded.
"""

import importlib
import importlib.util
import sys
import types

import numpy as np
import polars as pl

PARTS = ("diagnostic", "diagnostic.evaluation", "diagnostic.evaluation.metrics", "diagnostic.signal")


def load(leaf):
    spec = importlib.util.find_spec("ml4t")
    if spec is None:
        raise SystemExit("ml4t-diagnostic is not installed")
    root = next(iter(spec.submodule_search_locations))
    for part in PARTS:
        bare = types.ModuleType(f"ml4t.{part}")
        bare.__path__ = [f"{root}/{part.replace('.', '/')}"]
        sys.modules.setdefault(f"ml4t.{part}", bare)
    return importlib.import_module(f"ml4t.diagnostic.{leaf}")


def main(source, target):
    data = np.load(source)
    scores, following, quantiles = data["scores"], data["following"], data["quantiles"]
    n_dates, n_assets = scores.shape
    frame = pl.DataFrame(
        {
            "date": np.repeat(np.datetime64("2020-01-01", "D") + np.arange(n_dates), n_assets),
            "asset": [f"a{i:03d}" for i in range(n_assets)] * n_dates,
            "factor": scores.ravel(),
            "ret": following.ravel(),
            "quantile": quantiles.ravel().astype(np.int64),
        }
    )
    coefficients = load("evaluation.metrics.information_coefficient")
    statistics = load("evaluation.metrics.ic_statistics")
    turnover = load("signal.turnover")
    series = (
        coefficients.compute_ic_series(
            predictions=frame.select("date", "asset", "factor"),
            returns=frame.select("date", "asset", "ret"),
            pred_col="factor",
            ret_col="ret",
            date_col="date",
            entity_col="asset",
            method="spearman",
            min_periods=3,
        )
        .sort("date")["ic"]
        .cast(pl.Float64)
        .to_numpy()
    )
    hac = [statistics.compute_ic_hac_stats(series, maxlags=int(lag))["t_stat"] for lag in data["lags"]]
    np.savez(
        target,
        rank_ic=series,
        hac=np.array(hac),
        autocorrelation=np.array(turnover.compute_autocorrelation(frame, [1, 5], min_obs=3)),
        turnover=turnover.compute_turnover(frame, int(quantiles.max())),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
