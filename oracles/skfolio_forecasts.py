"""Forecast risk with skfolio's CharacteristicsFactorModel, day by day, and write the forecasts.

    python skfolio_forecasts.py IN.npz OUT.npz BURN_IN        (in the oracle environment)

``IN.npz`` holds ``dates`` [n_dates], ``returns``, ``market_cap``, ``book_price`` and ``sector`` (codes, -1 for none)
[n_dates, n_assets]. Estimators are skfolio's defaults; the factors are a market, industries, beta, momentum, size and
book to price, of which an asset without book value gets the median, so that no asset is uncovered for want of it.
``OUT.npz`` holds, for the end of every date from ``BURN_IN`` - 1 on, ``exposures`` [n, n_assets, K], ``covariance``
[n, K, K] and ``variance`` [n, n_assets], NaN for an asset that skfolio does not cover, and the ``version``.
"""

import sys
import warnings
from importlib.metadata import version

import numpy as np
from skfolio.containers import AssetPanel, FieldCategorical
from skfolio.descriptor import BookToPrice, EWMarketBeta, EWMomentum, LogMarketCap
from skfolio.factor_exposure import FixedWeightedFactor, GlobalFactor, OneHotCategoricalFactors
from skfolio.prior import CharacteristicsFactorModel


def panel_of(data: dict[str, np.ndarray]) -> AssetPanel:
    returns, caps = data["returns"], data["market_cap"]
    active = np.isfinite(caps) & (caps > 0.0) & np.isfinite(returns)
    book = np.where(active, data["book_price"], np.nan)
    middle = np.nan_to_num(np.nanmedian(book, axis=1), nan=1.0)[:, None]
    book = np.where(active, np.where(np.isnan(book), middle, book) * caps, np.nan)
    codes = np.where(active, data["sector"], -1).astype(np.int32)
    levels = np.array([f"i{i}" for i in range(int(codes.max()) + 1)])
    fields = {"returns": np.where(active, returns, np.nan), "market_cap": np.where(active, caps, np.nan)}
    return AssetPanel(
        fields=fields | {"book_equity": book, "industry": FieldCategorical(codes, levels=levels)},
        observations=data["dates"].astype("datetime64[ns]"),
        asset_names=np.array([f"a{i:05d}" for i in range(returns.shape[1])]),
        active_mask=active,
    )


def model() -> CharacteristicsFactorModel:
    def style(name: str, descriptor: object) -> tuple[str, FixedWeightedFactor]:
        return name, FixedWeightedFactor(descriptors=[(name, descriptor)], family="style")

    return CharacteristicsFactorModel(
        factors=[
            ("market", GlobalFactor()),
            ("industry", OneHotCategoricalFactors(category="industry", family="industry")),
            style("beta", EWMarketBeta()),
            style("momentum", EWMomentum()),
            style("size", LogMarketCap()),
            style("value", BookToPrice()),
        ],
        constrained_families=[("industry", None)],
    )


def main(source: str, out: str, burn_in: str) -> None:
    warnings.simplefilter("ignore")
    data = dict(np.load(source))
    # A first date without any return is no observation.
    first = int(np.argmax(np.isfinite(data["returns"]).any(axis=1)))
    panel = panel_of({name: values[first:] for name, values in data.items()})
    start, n_dates = int(burn_in) - first, len(data["dates"]) - first
    fitted = model().fit(characteristics=panel[:start])
    kept: dict[str, list[np.ndarray]] = {"exposures": [], "covariance": [], "variance": []}
    for row in range(start - 1, n_dates):
        if row >= start:
            fitted.partial_fit(characteristics=panel[row : row + 1])
        found = fitted.factor_model_
        kept["exposures"].append(np.asarray(found.loading_matrix, dtype=np.float32))
        kept["covariance"].append(np.asarray(found.factor_covariance))
        kept["variance"].append(np.asarray(found.idio_variances[-1]))
    np.savez(out, version=np.array(version("skfolio")), **{name: np.array(values) for name, values in kept.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
