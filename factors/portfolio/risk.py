"""Portfolio exposures and predicted risk, for many portfolios at once; the asset covariance is never formed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from factors.errors import FactorError, NonFiniteError
from factors.notebook.named import UNNAMED, Named, Names
from factors.notebook.shown import Shown
from factors.risk.arrays import BoolArray, FloatArray, as_matrix, as_vector
from factors.risk.linked import Linked

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

UNLINKED = Linked()


@dataclass(frozen=True, slots=True)
class ActiveRisk(Shown):
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

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each portfolio."""
        import polars as pl

        return pl.DataFrame(
            {
                "portfolio": self._books(),
                "tracking_error": np.atleast_1d(self.risk.total),
                "beta": np.atleast_1d(self.beta),
                "benchmark_risk": self.benchmark_risk,
            },
            nan_to_null=True,
        )

    def _books(self) -> list[str]:
        return self.risk.names.of("portfolios", np.atleast_1d(self.risk.total).size)

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        bars(axes, self._books(), np.atleast_1d(self.risk.total), title="Tracking error, a day", form=".3%")


@dataclass(frozen=True, slots=True)
class PortfolioRisk(Named):
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
    names
        Of portfolios, factors and assets; see `named`.

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
    names: Names = UNNAMED

    FORMS: ClassVar[Mapping[str, str]] = {"share": ".1%"}

    def named(self, **axes: Any) -> Self:
        """Give the same with names for its `portfolios`, `factors` and `assets`; those of the active risk too."""
        found = super(PortfolioRisk, self).named(**axes)
        if self.active is None:
            return found
        return replace(found, active=replace(self.active, risk=self.active.risk.named(**axes)))

    def to_polars(self, by: Literal["factor", "asset"] = "factor") -> "pl.DataFrame":
        """Give a row for each part of the risk of each portfolio, daily volatilities.

        Parameters
        ----------
        by
            `factor`: each factor and, last, what is specific; exposure, contribution, and share of the risk.
            `asset`: each asset, its contribution and share.

        Raises
        ------
        FactorError
            By asset, where assets were not asked for.
        """
        import polars as pl

        portfolios = self.names.of("portfolios", self.total.size)
        if by == "asset":
            if self.contributions is None or self.percent is None:
                raise FactorError("the risk was not asked for by asset", field="by")
            parts = self.names.of("assets", self.contributions.shape[1])
            columns = {"contribution": self.contributions, "share": self.percent}
        else:
            parts = [*self.names.of("factors", self.exposures.shape[1]), "specific"]
            unexposed = np.full((self.total.size, 1), np.nan)
            columns = {
                "exposure": np.hstack([self.exposures, unexposed]),
                "contribution": np.column_stack([self.factor_contributions, self.specific_contribution]),
                "share": np.column_stack([self.percent_factor, self.percent_specific]),
            }
        keys = {"portfolio": np.repeat(portfolios, len(parts)), by: parts * len(portfolios)}
        return pl.DataFrame({**keys, **{name: values.ravel() for name, values in columns.items()}}).fill_nan(None)

    def _axes(self) -> Mapping[str, int]:
        lengths = {"portfolios": self.total.size, "factors": self.exposures.shape[1]}
        return lengths if self.contributions is None else {**lengths, "assets": self.contributions.shape[1]}

    def _caption(self) -> str:
        shown = zip(self.names.of("portfolios", self.total.size), self.total, strict=True)
        return "Predicted volatility a day: " + ", ".join(f"{name} {total:.3%}" for name, total in list(shown)[:3])

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        first = self.names.of("portfolios", self.total.size)[0]
        labels = [*self.names.of("factors", self.exposures.shape[1]), "specific"]
        parts = np.append(self.factor_contributions[0], self.specific_contribution[0])
        bars(axes, labels, parts, title=f"{first}: what its volatility of a day is made of", form=".3%")


def known_exposures(weights: FloatArray, X: FloatArray) -> FloatArray:
    """Return `X`, `[N, K]`, with the exposures of assets that nobody holds set to 0 where they are unknown.

    Raises
    ------
    NonFiniteError
        For a weight on an asset without exposures: 0 would be a wrong exposure, not a missing one.
    """
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
    exposures: FloatArray = W @ known_exposures(W, matrix)
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
    products: tuple[FloatArray, FloatArray] | None = None,
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
    products
        Exposures `[P, K]` and `X F X' w` `[P, N]`, where something else than this has computed them. Those of active
        weights are computed here.

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
    matrix = known_exposures(held, matrix)
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
    return _decompose(W, matrix, covariance, variance, linked, by_asset=by_asset, active=active, products=products)


def _decompose(
    W: FloatArray,
    X: FloatArray,
    F: FloatArray,
    variance: FloatArray,
    linked: Linked,
    *,
    by_asset: bool,
    active: ActiveRisk | None,
    products: tuple[FloatArray, FloatArray] | None = None,
) -> PortfolioRisk:
    exposures = W @ X if products is None else products[0]
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
        joint = factor_gradient @ X.T if products is None else products[1]
        marginal = (joint + weighted) * inverse[:, None]
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
