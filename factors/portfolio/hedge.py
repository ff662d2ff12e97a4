"""Hedges with instruments that can be traded: in closed form, and by a solver where limits hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names
from factors.portfolio.hedge_limits import HedgeLimits, Quadratic, limited_hedge
from factors.risk.arrays import FloatArray, IntArray, as_matrix, as_vector
from factors.risk.linked import Linked

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Hedge(Named):
    """Weights of the instruments and what they do, daily units.

    Attributes
    ----------
    weights
        `[H]` to hold of each instrument beside the portfolio.
    before, after
        Volatility of the portfolio (of its active weights, with a benchmark) without and with the hedge.
    exposures
        `[K]` of the hedged portfolio.
    binding
        Limits that hold the hedge, with what a unit more of each takes from the variance of a day.
    names
        Of the instruments (`assets`) and factors; see `named`.
    """

    weights: FloatArray
    before: float
    after: float
    exposures: FloatArray
    binding: Mapping[str, float] = field(default_factory=dict)
    names: Names = UNNAMED

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each instrument."""
        import polars as pl

        return pl.DataFrame({"instrument": self.names.of("assets", self.weights.size), "weight": self.weights})

    def _axes(self) -> Mapping[str, int]:
        return {"assets": self.weights.size, "factors": self.exposures.size}

    def _caption(self) -> str:
        return f"Volatility a day {self.before:.3%} without the hedge, {self.after:.3%} with it"

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        bars(axes, self.names.of("assets", self.weights.size), self.weights, form=".3g", title=self._caption())


def hedge(
    weights: FloatArray,
    instruments: FloatArray,
    X: FloatArray,
    F: FloatArray,
    specific_variance: FloatArray,
    *,
    neutral: Sequence[int] | IntArray = (),
    benchmark: FloatArray | None = None,
    linked: Linked | None = None,
    limits: HedgeLimits | None = None,
) -> Hedge:
    r"""Find the weights of instruments that minimise active risk, with chosen exposures set to zero.

    With `a` the active weights, `E` the instruments and `V` the asset covariance the problem is
    :math:`\min_h (a + E'h)'V(a + E'h)` subject to :math:`C (a + E'h) = 0`, `C` the neutral factors' exposures. Its
    conditions are linear: :math:`EVE' h + EC'\lambda = -EVa` and :math:`CE' h = -Ca`.

    Parameters
    ----------
    weights
        `[N]`, finite; no weight on assets whose exposures are missing.
    instruments
        `[H, N]` weights of one unit of each instrument: one row of the identity for a share, the holdings of a fund.
    X
        `[N, K]` exposures.
    F
        `[K, K]`.
    specific_variance
        `[N]`.
    neutral
        Positions of the factors whose exposures become zero; none for risk alone.
    benchmark
        `[N]`.
    linked
        Assets of one issuer.
    limits
        Of the instruments' weights. Where the closed form keeps them it is the answer; else the same problem is solved
        under them.

    Raises
    ------
    InfeasibleError
        No weights meet the limits and the neutral factors; names those that stand against each other.
    FactorError
        Shapes that do not match, or more neutral factors than instruments can reach.
    """
    matrix = as_matrix("exposures", X)
    n_assets, n_factors = matrix.shape
    active = as_vector("weights", weights, length=n_assets, finite=True)
    if benchmark is not None:
        active = active - as_vector("benchmark", benchmark, length=n_assets, finite=True)
    E = as_matrix("instruments", instruments, columns=n_assets, finite=True)
    touched = (active != 0.0) | (E != 0.0).any(axis=0)
    variance = as_vector("specific_variance", specific_variance, length=n_assets)
    if np.isnan(matrix[touched]).any() or np.isnan(variance[touched]).any():
        raise FactorError("the portfolio or an instrument holds assets without exposures or risk", field="instruments")
    matrix, variance = np.nan_to_num(matrix), np.nan_to_num(variance)
    link = Linked() if linked is None else linked

    def times(W: FloatArray) -> FloatArray:
        """Return `V w` for rows `[R, N]`."""
        product: FloatArray = (W @ matrix @ F) @ matrix.T + link.times(W, variance)
        return product

    joint = times(np.vstack([E, active]))
    quadratic, linear = E @ joint[:-1].T, E @ joint[-1]
    chosen = np.asarray(neutral, dtype=np.int64)
    if chosen.size and (chosen.min() < 0 or chosen.max() >= n_factors):
        raise FactorError(f"neutral factors are 0 to {n_factors - 1}", field="neutral")
    constraint = matrix[:, chosen].T  # [C, N]
    reach = constraint @ E.T  # [C, H]
    if chosen.size and np.linalg.matrix_rank(reach) < np.linalg.matrix_rank(
        np.column_stack([reach, constraint @ active])
    ):
        raise FactorError(
            f"{len(E)} instruments cannot set {chosen.size} exposures to zero: none of them has what is left",
            field="neutral",
        )
    n = len(E)
    system = np.zeros((n + chosen.size, n + chosen.size))
    system[:n, :n] = quadratic
    system[:n, n:], system[n:, :n] = reach.T, reach
    right = -np.concatenate([linear, constraint @ active])
    # Instruments that are one, or neutral factors that say the same, leave a choice: the smallest weights are taken.
    scale = np.sqrt(np.where(np.diag(system) > 0.0, np.diag(system), 1.0))
    scale[n:] = 1.0
    solved = np.linalg.lstsq(system / scale[:, None] / scale, right / scale, rcond=1e-12)[0] / scale
    h, binding = solved[:n], dict[str, float]()
    if limits is not None and not limits.kept_by(h):
        h, binding = limited_hedge(Quadratic(quadratic, linear, reach, constraint @ active, tuple(chosen)), limits)
    hedged = active + h @ E
    return Hedge(
        weights=h,
        before=float(np.sqrt(max(active @ joint[-1], 0.0))),
        after=float(np.sqrt(max(hedged @ times(hedged[None, :])[0], 0.0))),
        exposures=hedged @ matrix,
        binding=binding,
    )
