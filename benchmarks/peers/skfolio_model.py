"""Fit skfolio's characteristics factor model on arrays from a file and print the seconds of each fit.

    python skfolio_model.py IN.npz REPEATS        (in the oracle environment)

``IN.npz`` holds ``returns``, ``market_cap``, ``book_equity`` [n_dates, n_assets] and ``industry`` [n_assets].
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from skfolio.containers import AssetPanel, FieldCategorical
from skfolio.descriptor import BookToPrice, EWMarketBeta, EWMomentum, LogMarketCap
from skfolio.factor_exposure import FixedWeightedFactor, GlobalFactor, OneHotCategoricalFactors
from skfolio.moments import EWMu, RegimeAdjustedEWCovariance
from skfolio.prior import CharacteristicsFactorModel, EmpiricalPrior


def panel_of(data: dict[str, np.ndarray]) -> AssetPanel:
    n_dates, n_assets = data["returns"].shape
    codes = np.broadcast_to(data["industry"].astype(np.int32), (n_dates, n_assets)).copy()
    levels = np.array([f"i{i}" for i in range(int(codes.max()) + 1)])
    fields = {name: data[name] for name in ("returns", "market_cap", "book_equity")}
    return AssetPanel(
        fields=fields | {"industry": FieldCategorical(codes, levels=levels)},
        observations=pd.bdate_range("2020-01-01", periods=n_dates).values,
        asset_names=np.array([f"a{i:05d}" for i in range(n_assets)]),
    )


def model() -> CharacteristicsFactorModel:
    def style(name: str, descriptor: object) -> tuple[str, FixedWeightedFactor]:
        return name, FixedWeightedFactor(descriptors=[(name, descriptor)], family="style")

    return CharacteristicsFactorModel(
        factors=[
            ("market", GlobalFactor()),
            ("industry", OneHotCategoricalFactors(category="industry", family="industry")),
            style("beta", EWMarketBeta(half_life=63)),
            style("momentum", EWMomentum(half_life=126, skip=21)),
            style("size", LogMarketCap()),
            style("value", BookToPrice()),
        ],
        constrained_families=[("industry", None)],
        factor_prior_estimator=EmpiricalPrior(
            mu_estimator=EWMu(),
            covariance_estimator=RegimeAdjustedEWCovariance(half_life=84, corr_half_life=504, min_observations=60),
        ),
    )


def main(source: str, repeats: str) -> None:
    warnings.simplefilter("ignore")
    panel = panel_of(dict(np.load(source)))
    seconds = []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        fitted = model().fit(characteristics=panel)
        seconds.append(time.perf_counter() - start)
    covariance = fitted.factor_model_.factor_covariance
    sys.stdout.write(json.dumps({"seconds": seconds, "n_factors": int(np.asarray(covariance).shape[0])}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
