"""A peer's forecasts of the same portfolios: skfolio's model, run by a Python that has it, in a process of its own."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.portfolio.risk import portfolio_risk
from factors.risk.arrays import FloatArray
from factors.validation.backtest import BacktestSettings, LayerOutcome, Market, occasions
from factors.validation.portfolios import minimum_variance

SCRIPT = Path(__file__).parents[2] / "oracles" / "skfolio_forecasts.py"
PEER_FAMILIES = ("sector", "random", "cap-weighted", "minimum-variance")


@dataclass(frozen=True, slots=True)
class PeerForecasts:
    """What a peer forecasts at the end of each row from `first_row` on.

    Attributes
    ----------
    name
        Of the peer, with its version.
    first_row
        Row of the model's dates that the first forecast is made at.
    exposures, covariance, variance
        `[n, N, K]`, `[n, K, K]` and `[n, N]`, daily; NaN for an asset that the peer does not cover.
    """

    name: str
    first_row: int
    exposures: FloatArray
    covariance: FloatArray
    variance: FloatArray

    def at(self, row: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return exposures, covariance and variances of one row.

        An asset that the peer does not cover is taken for a piece of its market with the median specific variance:
        left out, it would count as riskless.
        """
        k = row - self.first_row
        X, variance = self.exposures[k].astype(np.float64), self.variance[k]
        unknown = np.isnan(X).any(axis=1) | np.isnan(variance)
        X = np.where(unknown[:, None], 0.0, X)
        X[unknown, 0] = 1.0
        return X, self.covariance[k], np.where(unknown, np.median(variance[~unknown]), variance)


def skfolio_forecasts(python: Path, model: FactorModel, burn_in: int) -> PeerForecasts:
    """Run skfolio's model over a model's panel.

    Raises
    ------
    FactorError
        When it fails; the last line of what it said is in the message.
    """
    panel = model.panel_
    sector = panel.categories.get("sector")
    caps = panel.fields["market_cap"]
    arrays: dict[str, Any] = {
        "dates": panel.dates,
        "returns": panel.fields["returns"],
        "market_cap": caps,
        "book_price": panel.fields.get("book_price", np.full(caps.shape, np.nan)),
        "sector": np.zeros(caps.shape, np.int16) if sector is None else sector.codes,
    }
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, **arrays)
        done = subprocess.run([python, SCRIPT, source, out, str(burn_in)], capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise FactorError(f"skfolio failed: {said[-1] if said else done.returncode}", field="peer")
        with np.load(out) as found:
            return PeerForecasts(
                name=f"skfolio {found['version']}",
                first_row=burn_in - 1,
                exposures=found["exposures"],
                covariance=found["covariance"],
                variance=found["variance"],
            )


def peer_outcome(model: FactorModel, peer: PeerForecasts, settings: BacktestSettings) -> LayerOutcome:
    """Hold a peer's forecasts against what followed, over the portfolios and periods of `backtest`.

    Its minimum-variance portfolio is its own. Its factors are not ours and are left out.
    """
    rows: dict[str, list[tuple[FloatArray, FloatArray]]] = {family: [] for family in PEER_FAMILIES}
    for occasion in occasions(Market.of(model), settings):
        X, F, variance = peer.at(occasion.row)
        root = np.sqrt(occasion.following.shape[0])
        least = minimum_variance(X, F, variance, occasion.alive)
        made = np.where(np.isnan(occasion.following), 0.0, occasion.following).sum(axis=0)
        for family, weights in (occasion.held | {"minimum-variance": least[None, :]}).items():
            risk = portfolio_risk(weights, X, F, variance, by_asset=False)
            rows[family].append((risk.total * root, weights @ made))
    return LayerOutcome(
        peer.name,
        volatility={family: np.array([volatility for volatility, _ in pairs]) for family, pairs in rows.items()},
        returns={family: np.array([made for _, made in pairs]) for family, pairs in rows.items()},
    )
