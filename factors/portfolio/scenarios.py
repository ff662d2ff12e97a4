"""What a portfolio would lose: factor shocks, days of the past, and stressed covariances."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names
from factors.portfolio.risk import portfolio_exposures
from factors.risk.arrays import FloatArray, as_matrix, as_vector
from factors.risk.linked import Linked
from factors.risk.psd import nearest_psd

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class ScenarioResult(Named):
    """Profit and loss of `P` portfolios in `S` scenarios, as returns.

    Attributes
    ----------
    total
        `[P, S]`, the sum of `by_factor` over factors plus `specific`.
    by_factor
        `[P, S, K]`.
    specific
        `[P, S]` from shocks to single assets.
    names
        Of portfolios, scenarios and factors; see `named`.
    """

    total: FloatArray
    by_factor: FloatArray
    specific: FloatArray
    names: Names = UNNAMED

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each portfolio and scenario: the return in all, by factor, and specific."""
        import polars as pl

        n_portfolios, n_scenarios, n_factors = self.by_factor.shape
        factors = self.names.of("factors", n_factors)
        flat = self.by_factor.reshape(-1, n_factors)
        return pl.DataFrame(
            {
                "portfolio": np.repeat(self.names.of("portfolios", n_portfolios), n_scenarios),
                "scenario": self.names.of("scenarios", n_scenarios) * n_portfolios,
                "total": self.total.ravel(),
                **{name: flat[:, k] for k, name in enumerate(factors)},
                "specific": self.specific.ravel(),
            }
        )

    def _axes(self) -> Mapping[str, int]:
        n_portfolios, n_scenarios, n_factors = self.by_factor.shape
        return {"portfolios": n_portfolios, "scenarios": n_scenarios, "factors": n_factors}

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        portfolio = self.names.of("portfolios", len(self.total))[0]
        scenarios = self.names.of("scenarios", self.total.shape[1])
        bars(axes, scenarios, self.total[0], form=".2%", title=f"{portfolio}: its return in each scenario")


def factor_shock(
    shocks: Mapping[int, float], n_factors: int, factor_covariance: FloatArray | None = None
) -> FloatArray:
    r"""Return the factor returns `[K]` of one scenario.

    Parameters
    ----------
    shocks
        Return of each shocked factor, by its position.
    n_factors
        `K`.
    factor_covariance
        `[K, K]`. With it the other factors move by their expectation given the shocks,
        :math:`F_{os} F_{ss}^{+} s` (Kupiec 1998); without it they stay.

    Raises
    ------
    FactorError
        For no shock, a position that does not exist or a shock that is not finite.
    """
    positions = np.array(list(shocks), dtype=np.int64)
    sizes = np.array(list(shocks.values()), dtype=np.float64)
    if positions.size == 0 or (positions < 0).any() or (positions >= n_factors).any():
        raise FactorError(f"shocks must name factors 0..{n_factors - 1}, got {list(shocks)}", field="shocks")
    if not np.isfinite(sizes).all():
        raise FactorError("shocks must be finite", field="shocks")
    moved = np.zeros(n_factors)
    if factor_covariance is not None:
        F = as_matrix("factor_covariance", factor_covariance, columns=n_factors, finite=True)
        inner = np.linalg.pinv(F[np.ix_(positions, positions)], hermitian=True)
        moved = F[:, positions] @ (inner @ sizes)
    # Given exactly: a singular block would otherwise give back only its projection.
    moved[positions] = sizes
    return moved


def issuer_shock(shocks: Mapping[int, float], specific_variance: FloatArray, linked: Linked) -> dict[int, float]:
    r"""Return the specific returns of all names of the issuers that are shocked, by position.

    Parameters
    ----------
    shocks
        Return of each shocked name, by its position.
    specific_variance
        `[N]`; a name without any follows nothing.
    linked
        Assets of one issuer: the others of a group move by their expectation given the shocks,
        :math:`\Delta_{os} \Delta_{ss}^{+} s`, as factors do in `factor_shock`; no name loses more than all.
    """
    moved = dict(shocks)
    for group, correlation in zip(linked.groups, linked.correlations, strict=True):
        scale = np.sqrt(specific_variance[group])
        able = scale > 0.0
        given = np.array([int(i) in shocks for i in group]) & able
        others = able & ~given
        if not given.any() or not others.any():
            continue
        sizes = np.array([shocks[int(i)] for i in group[given]]) / scale[given]
        follow = correlation[np.ix_(others, given)] @ np.linalg.pinv(correlation[np.ix_(given, given)], hermitian=True)
        moved |= {
            int(i): max(float(size), -1.0)
            for i, size in zip(group[others], scale[others] * (follow @ sizes), strict=True)
            if int(i) not in moved
        }
    return moved


def historical_shock(factor_returns: FloatArray) -> FloatArray:
    """Return the factor returns `[K]` of a past episode `[n_dates, K]`, compounded per factor; missing days are 0."""
    episode = as_matrix("factor_returns", factor_returns)
    shock: FloatArray = np.expm1(np.log1p(np.where(np.isnan(episode), 0.0, episode)).sum(axis=0))
    return shock


def apply_scenarios(
    weights: FloatArray, X: FloatArray, shocks: FloatArray, asset_shocks: FloatArray | None = None
) -> ScenarioResult:
    """Return what portfolios make in each scenario.

    Parameters
    ----------
    weights
        `[P, N]` or `[N]`.
    X
        `[N, K]` exposures.
    shocks
        `[S, K]` or `[K]` factor returns of each scenario.
    asset_shocks
        `[S, N]` or `[N]` specific returns on top, such as one issuer falling by a half; NaN means none.

    Raises
    ------
    FactorError, NonFiniteError
        As in `portfolio_exposures`, and for shapes that do not match.
    """
    exposures = portfolio_exposures(weights, X)
    scenarios = as_matrix("shocks", shocks, columns=exposures.shape[1], finite=True)
    by_factor = exposures[:, None, :] * scenarios[None, :, :]
    specific = np.zeros(by_factor.shape[:2])
    if asset_shocks is not None:
        W = as_matrix("weights", weights)
        single = as_matrix("asset_shocks", asset_shocks, columns=W.shape[1])
        if single.shape[0] not in {1, scenarios.shape[0]}:
            raise FactorError(
                f"asset_shocks must have {scenarios.shape[0]} rows, got {single.shape[0]}", field="asset_shocks"
            )
        specific = specific + W @ np.where(np.isnan(single), 0.0, single).T
    return ScenarioResult(total=by_factor.sum(axis=2) + specific, by_factor=by_factor, specific=specific)


def scenario_tail(returns: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    r"""Return value at risk and expected shortfall of books over equally likely scenarios, as positive losses `[P]`.

    Value at risk is the smallest loss with at least `confidence` of the scenarios at or below it, and expected
    shortfall the mean of the worst :math:`1 - \alpha` of them, the last one in part (Rockafellar and Uryasev 2002).

    Parameters
    ----------
    returns
        `[P, S]`.
    confidence
        Level, in (0.5, 1).

    Raises
    ------
    FactorError
        For a level outside, or no scenario.
    """
    losses = -as_matrix("returns", returns, finite=True)
    n = losses.shape[1]
    if not 0.5 < confidence < 1.0:
        raise FactorError(f"confidence must lie in (0.5, 1), got {confidence}", field="confidence")
    if n == 0:
        raise FactorError("there must be a scenario", field="returns")
    last = min(max(int(np.ceil(confidence * n - 1e-9 * n)) - 1, 0), n - 1)
    ordered = np.partition(losses, last, axis=1)
    quantile: FloatArray = ordered[:, last].copy()
    beyond = ordered[:, last + 1 :].sum(axis=1) / n
    shortfall: FloatArray = (beyond + quantile * ((last + 1) / n - confidence)) / (1.0 - confidence)
    return quantile, shortfall


def stress_covariance(
    factor_covariance: FloatArray,
    volatility_scale: FloatArray | float = 1.0,
    correlation_blend: float = 0.0,
    correlation_target: FloatArray | None = None,
) -> FloatArray:
    """Return a stressed `[K, K]` covariance, positive semidefinite.

    Parameters
    ----------
    factor_covariance
        `[K, K]`.
    volatility_scale
        Multiplier of volatilities, one for all or `[K]`.
    correlation_blend
        Share in [0, 1] of the target in the stressed correlation.
    correlation_target
        `[K, K]` correlation; by default every factor moves with the riskiest direction: the sign pattern of the first
        eigenvector of the correlation, at correlation +1 or -1.

    Raises
    ------
    FactorError
        For a negative scale or a blend outside [0, 1].
    """
    F = as_matrix("factor_covariance", factor_covariance, finite=True)
    scale = np.broadcast_to(np.asarray(volatility_scale, dtype=np.float64), (F.shape[0],))
    scale = as_vector("volatility_scale", scale, length=F.shape[0], finite=True)
    if (scale < 0.0).any() or not 0.0 <= correlation_blend <= 1.0:
        raise FactorError("volatility_scale must not be negative and correlation_blend must lie in [0, 1]")
    volatility = np.sqrt(np.diag(F))
    inverse = np.divide(1.0, volatility, out=np.zeros_like(volatility), where=volatility > 0.0)
    correlation = F * inverse[:, None] * inverse[None, :]
    if correlation_target is None:
        _, vectors = np.linalg.eigh(correlation)
        signs = np.where(vectors[:, -1] >= 0.0, 1.0, -1.0)
        target = np.outer(signs, signs)
    else:
        target = as_matrix("correlation_target", correlation_target, columns=F.shape[0], finite=True)
    blended = (1.0 - correlation_blend) * correlation + correlation_blend * target
    stressed = volatility * scale
    return nearest_psd(blended * stressed[:, None] * stressed[None, :])
