"""Portfolio exposures and predicted risk, for many portfolios at once; the asset covariance is never formed."""

from dataclasses import dataclass

import numpy as np

from factors.errors import FactorError, NonFiniteError
from factors.risk.arrays import BoolArray, FloatArray, as_matrix, as_vector
from factors.risk.linked import Linked

UNLINKED = Linked()


@dataclass(frozen=True, slots=True)
class ActiveRisk:
    """Risk of portfolios relative to a benchmark; `P` portfolios, `K` factors, `N` assets, daily units.

    Attributes
    ----------
    risk
        The decomposition of active weights (portfolio less benchmark): its `total` is the tracking error.
    beta
        `[P]` predicted beta, covariance with the benchmark over its variance; NaN for a riskless benchmark.
    benchmark_risk
        Volatility of the benchmark.
    """

    risk: "PortfolioRisk"
    beta: FloatArray
    benchmark_risk: float


@dataclass(frozen=True, slots=True)
class PortfolioRisk:
    """Predicted risk of `P` portfolios on `N` assets and `K` factors, as daily volatilities.

    Attributes
    ----------
    total, factor, specific
        `[P]` volatilities; `total^2 = factor^2 + specific^2`.
    exposures
        `[P, K]` factor exposures.
    marginal_factor
        `[P, K]` derivative of total risk by factor exposure.
    factor_contributions
        `[P, K]` exposure times marginal; with `specific_contribution` they sum to `total`.
    specific_contribution
        `[P]` specific variance over total risk.
    percent_factor, percent_specific
        `[P, K]` and `[P]`: the contributions as shares of total risk, summing to 1.
    marginal
        `[P, N]` derivative of total risk by weight; None where assets were not asked for.
    contributions, percent
        `[P, N]` weight times marginal, summing to `total`, and the same as shares; None as for `marginal`.
    active
        Against the benchmark; None without one.

    Notes
    -----
    A portfolio without risk has contributions and shares of 0.
    """

    total: FloatArray
    factor: FloatArray
    specific: FloatArray
    exposures: FloatArray
    marginal_factor: FloatArray
    factor_contributions: FloatArray
    specific_contribution: FloatArray
    percent_factor: FloatArray
    percent_specific: FloatArray
    marginal: FloatArray | None
    contributions: FloatArray | None
    percent: FloatArray | None
    active: ActiveRisk | None


def _known_exposures(weights: FloatArray, X: FloatArray) -> FloatArray:
    """Return `X` with the unknown exposures of assets that nobody holds set to 0."""
    unknown: BoolArray = np.asarray(np.isnan(X).any(axis=1))
    if not unknown.any():
        return X
    held = unknown & (weights != 0.0).any(axis=0)
    if held.any():
        raise NonFiniteError(
            f"exposures are missing for {int(held.sum())} assets that have weight, the first at "
            f"{np.flatnonzero(held)[0]}",
            field="exposures",
            n_rows=int(held.sum()),
        )
    return np.where(unknown[:, None], 0.0, X)


def portfolio_exposures(weights: FloatArray, X: FloatArray) -> FloatArray:
    """Return the factor exposures `W X`, `[P, K]`.

    Parameters
    ----------
    weights
        `[P, N]`, or `[N]` for one portfolio.
    X
        `[N, K]`. A row with NaN is an asset outside coverage, which no portfolio may hold.

    Raises
    ------
    NonFiniteError
        For NaN in weights, or a weight on an asset without exposures.
    FactorError
        For shapes that do not match.
    """
    matrix = as_matrix("exposures", X)
    W = as_matrix("weights", weights, columns=matrix.shape[0], finite=True)
    exposures: FloatArray = W @ _known_exposures(W, matrix)
    return exposures


def _specific_variance(weights: FloatArray, specific_variance: FloatArray) -> FloatArray:
    """Return `[N]` variances with those unknown set to 0 where nobody holds the asset."""
    variance = as_vector("specific_variance", specific_variance, length=weights.shape[1])
    if (variance < 0.0).any():
        raise FactorError(
            f"specific_variance is negative at {np.flatnonzero(variance < 0.0)[0]}", field="specific_variance"
        )
    unknown = np.isnan(variance)
    held = unknown & (weights != 0.0).any(axis=0)
    if held.any():
        raise NonFiniteError(
            f"specific_variance is missing for {int(held.sum())} assets that have weight, the first at "
            f"{np.flatnonzero(held)[0]}",
            field="specific_variance",
            n_rows=int(held.sum()),
        )
    return np.where(unknown, 0.0, variance)


def portfolio_risk(
    weights: FloatArray,
    X: FloatArray,
    F: FloatArray,
    specific_variance: FloatArray,
    benchmark: FloatArray | None = None,
    *,
    by_asset: bool = True,
    linked: Linked = UNLINKED,
) -> PortfolioRisk:
    r"""Decompose the predicted risk of portfolios, :math:`\sigma^2 = w'(X F X' + \Delta) w`.

    Parameters
    ----------
    weights
        `[P, N]`, or `[N]` for one portfolio.
    X
        `[N, K]` exposures; see `portfolio_exposures` for missing ones.
    F
        `[K, K]` factor covariance, symmetric positive semidefinite.
    specific_variance
        `[N]`.
    benchmark
        `[N]` weights; with it the answer holds active risk and beta.
    by_asset
        Whether to give the `[P, N]` marginal and percent contributions of assets.
    linked
        Assets of one issuer, whose specific returns are correlated; without it the specific covariance is diagonal.

    Raises
    ------
    NonFiniteError, FactorError
        As in `portfolio_exposures`.
    """
    matrix = as_matrix("exposures", X)
    W = as_matrix("weights", weights, columns=matrix.shape[0], finite=True)
    held = W
    if benchmark is not None:
        b = as_vector("benchmark", benchmark, length=W.shape[1], finite=True)
        held = np.vstack([W, b])
    matrix = _known_exposures(held, matrix)
    variance = _specific_variance(held, specific_variance)
    covariance = as_matrix("factor_covariance", F, columns=matrix.shape[1], finite=True)
    if covariance.shape[0] != covariance.shape[1]:
        raise FactorError(f"factor_covariance must be square, got {covariance.shape}", field="factor_covariance")
    active = None
    if benchmark is not None:
        benchmark_factors = covariance @ (b @ matrix)
        joint = matrix @ benchmark_factors + linked.times(b[None, :], variance)[0]
        benchmark_variance = float(b @ joint)
        shared = W @ joint
        beta = shared / benchmark_variance if benchmark_variance > 0.0 else np.full(W.shape[0], np.nan)
        active = ActiveRisk(
            risk=_decompose(W - b, matrix, covariance, variance, linked, by_asset=by_asset, active=None),
            beta=beta,
            benchmark_risk=float(np.sqrt(max(benchmark_variance, 0.0))),
        )
    return _decompose(W, matrix, covariance, variance, linked, by_asset=by_asset, active=active)


def _decompose(
    W: FloatArray,
    X: FloatArray,
    F: FloatArray,
    variance: FloatArray,
    linked: Linked,
    *,
    by_asset: bool,
    active: ActiveRisk | None,
) -> PortfolioRisk:
    exposures = W @ X
    factor_gradient = exposures @ F
    weighted = linked.times(W, variance)
    factor_parts = exposures * factor_gradient
    # The sum of the parts is the variance by definition, so that contributions add up to rounding.
    factor_variance = np.maximum(factor_parts.sum(axis=1), 0.0)
    specific_total = np.maximum(np.einsum("pn,pn->p", W, weighted), 0.0)
    total = np.sqrt(factor_variance + specific_total)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0.0)
    factor_contributions = factor_parts * inverse[:, None]
    specific_contribution = specific_total * inverse
    marginal = contributions = percent = None
    if by_asset:
        marginal = (factor_gradient @ X.T + weighted) * inverse[:, None]
        contributions = W * marginal
        percent = contributions * inverse[:, None]
    return PortfolioRisk(
        total=total,
        factor=np.sqrt(factor_variance),
        specific=np.sqrt(specific_total),
        exposures=exposures,
        marginal_factor=factor_gradient * inverse[:, None],
        factor_contributions=factor_contributions,
        specific_contribution=specific_contribution,
        percent_factor=factor_contributions * inverse[:, None],
        percent_specific=specific_contribution * inverse,
        marginal=marginal,
        contributions=contributions,
        percent=percent,
        active=active,
    )
