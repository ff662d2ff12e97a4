r"""Weights under limits: least risk, or most alpha for the risk, on the factored form of the asset covariance.

With `a` the active weights the variance is :math:`\|F^{1/2\prime} X' a\|^2 + \|S' a\|^2`, `S S'` the specific
covariance, so a problem of 3,000 names has as many rows as factors where the dense covariance has 3,000.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from scipy import sparse

from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names
from factors.portfolio.limits import InfeasibleError, Limits, status_of
from factors.risk.arrays import FloatArray, IntArray, as_matrix, as_vector
from factors.risk.linked import Linked

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

Objective = Literal["min_risk", "max_alpha", "min_turnover"]
TOLERANCE = 1e-7
"""What a limit may be missed by, as a share of the book."""
GROSS_MOST = 1e9
"""Absolute weights of an answer; what nothing limits comes out of the solver as 1e24 where it does not see that."""
BOX = 1e3
"""Absolute weight of one asset, for the second search where the first found no end."""
ANSWERED = frozenset({"optimal", "optimal_inaccurate"})
"""How cvxpy names a solver that gave an answer."""
SETTLED = ANSWERED | {"infeasible", "infeasible_inaccurate", "unbounded", "unbounded_inaccurate"}
"""And one that knows that there is none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known of the assets, `N` of them, `K` factors, daily units.

    Attributes
    ----------
    exposures
        `[N, K]`; an asset with NaN here or in `specific_variance` is not held.
    factor_covariance
        `[K, K]`.
    specific_variance
        `[N]`.
    alpha
        `[N]` expected returns a day; NaN counts as 0.
    start
        `[N]` weights held now; zeros for a new book.
    benchmark
        `[N]`; risk is then active risk, and exposure limits are on active exposures.
    cost
        `[N]` or one number: what trading a unit of weight costs.
    holding_days
        Days that a position is meant to be held, over which an objective spreads what its trade costs: alpha and
        variance are of one day, a cost is paid once.
    linked
        Assets of one issuer.
    """

    exposures: FloatArray
    factor_covariance: FloatArray
    specific_variance: FloatArray
    alpha: FloatArray | None = None
    start: FloatArray | None = None
    benchmark: FloatArray | None = None
    cost: FloatArray | float = 0.0
    holding_days: float = 1.0
    linked: Linked = field(default_factory=Linked)


@dataclass(frozen=True, slots=True)
class Optimum(Named):
    """Weights and what they mean, daily units.

    Attributes
    ----------
    weights
        `[N]`.
    risk
        Volatility of the (active) weights.
    alpha
        Expected return of the active weights; 0 without alphas.
    exposures
        `[K]` of the active weights.
    turnover
        Sum of absolute trades.
    cost
        Of the trades.
    binding
        Limits that hold the solution, with what one more unit of each would be worth to the objective.
    excluded
        Positions of assets that the model does not cover.
    names
        Of assets and factors; see `named`.
    """

    weights: FloatArray
    risk: float
    alpha: float
    exposures: FloatArray
    turnover: float
    cost: float
    binding: dict[str, float]
    excluded: IntArray
    names: Names = UNNAMED

    FORMS: ClassVar[Mapping[str, str]] = {"weight": ".2%"}

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each asset that is held, the largest weight first."""
        import polars as pl

        frame = pl.DataFrame({"asset": self.names.of("assets", self.weights.size), "weight": self.weights})
        held = frame.filter(pl.col("weight").abs() > TOLERANCE)
        return held.sort(pl.col("weight").abs(), descending=True, maintain_order=True)

    def _axes(self) -> Mapping[str, int]:
        return {"assets": self.weights.size, "factors": self.exposures.size}

    def _caption(self) -> str:
        held = int((np.abs(self.weights) > TOLERANCE).sum())
        limits = f"; held by {', '.join(self.binding)}" if self.binding else ""
        return f"{held} names, volatility {self.risk:.3%} a day, turnover {self.turnover:.1%}{limits}"

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        held = self.to_polars()
        bars(axes, held["asset"].to_list(), held["weight"].to_numpy(), form=".1%", title="Weights")


class _Prepared:
    """A problem with its arrays checked, cut to the assets that may be held, and its risk as a sum of squares."""

    def __init__(self, problem: Problem) -> None:
        X = as_matrix("exposures", problem.exposures)
        n_assets = X.shape[0]
        variance = as_vector("specific_variance", problem.specific_variance, length=n_assets)
        F = as_matrix("factor_covariance", problem.factor_covariance, columns=X.shape[1], finite=True)
        self.covered = ~(np.isnan(X).any(axis=1) | np.isnan(variance))
        self.columns = np.flatnonzero(self.covered)
        if not self.columns.size:
            raise FactorError("the model covers none of the assets", field="exposures")
        zeros = np.zeros(n_assets)
        self.start = self._vector("start", problem.start, zeros)
        self.benchmark = self._vector("benchmark", problem.benchmark, zeros)
        alpha = zeros if problem.alpha is None else as_vector("alpha", problem.alpha, length=n_assets)
        self.alpha = np.nan_to_num(alpha)
        self.cost = np.broadcast_to(np.asarray(problem.cost, np.float64), (n_assets,))
        if not np.isfinite(self.cost).all() or (self.cost < 0.0).any():
            raise FactorError("cost must be finite and not negative", field="cost")
        if not 0.0 < problem.holding_days < np.inf:
            raise FactorError(f"holding_days must be above 0, got {problem.holding_days}", field="holding_days")
        self.holding_days = problem.holding_days
        self.X, self.F = np.nan_to_num(X), F
        self.variance = np.nan_to_num(variance)
        self.linked = problem.linked
        values, vectors = np.linalg.eigh((F + F.T) / 2.0)
        self.factor_root = vectors * np.sqrt(np.maximum(values, 0.0))  # [K, K]
        self.specific_root = self._specific_root(self.columns)

    def _vector(self, name: str, values: FloatArray | None, default: FloatArray) -> FloatArray:
        return default if values is None else as_vector(name, values, length=len(default), finite=True)

    def _specific_root(self, columns: IntArray) -> Any:
        """Give `S'` of the columns, sparse: roots of variances, and of one small matrix an issuer."""
        root = np.sqrt(self.variance[columns])
        matrix = sparse.diags(root, format="lil")
        part = self.linked.among(columns)
        for group, correlation in zip(part.groups, part.correlations, strict=True):
            values, vectors = np.linalg.eigh(correlation)
            half = (vectors * np.sqrt(np.maximum(values, 0.0))).T * root[group]
            matrix[np.ix_(group, group)] = half
        return matrix.tocsr()

    def risk_of(self, active: FloatArray) -> float:
        """Return the volatility of active weights `[N]`; assets outside coverage are left out."""
        exposed = active @ self.X
        specific = active @ self.linked.times(active[None, :], self.variance)[0]
        return float(np.sqrt(max(exposed @ self.F @ exposed + specific, 0.0)))


def optimize(
    problem: Problem,
    limits: Limits | None = None,
    objective: Objective = "min_risk",
    *,
    risk_aversion: float = 10.0,
    factor_names: Sequence[str] | None = None,
) -> Optimum:
    r"""Find the best weights under limits.

    Parameters
    ----------
    problem
        The assets.
    limits
        By default long only and fully invested.
    objective
        `min_risk` minimises the (active) variance plus :math:`c'|w - w_0| / h`, the costs over the holding days;
        `max_alpha` maximises :math:`\alpha'a - \lambda/2 \, \sigma^2(a) - c'|w - w_0| / h`; `min_turnover` trades as
        little as the limits allow.
    risk_aversion
        :math:`\lambda`, per unit of daily variance; with a limit on risk it may be 0.
    factor_names
        Names of the factors, for limits given by name and for what is said of them.

    Raises
    ------
    InfeasibleError
        No weights meet all limits; names those that stand against each other and by how much each would have to give.
    FactorError
        Wrong shapes, limits that are not known, or a solver that stopped for another reason.
    """
    import cvxpy as cp

    if not 0.0 <= risk_aversion < np.inf:
        raise FactorError(f"risk_aversion must not be negative, got {risk_aversion}", field="risk_aversion")
    chosen = limits or Limits()
    prepared = _Prepared(problem)
    trades = objective == "min_turnover" or bool((prepared.cost > 0.0).any())
    built = _Built(prepared, chosen, factor_names, trades=trades)
    goal = built.goal(objective, risk_aversion)
    solved = cp.Problem(cp.Minimize(goal), [limit for _, limit in built.limits])
    status = status_of(solved)
    if status not in SETTLED:
        # How a search without an end stops depends on the processor's rounding. One in a box has an end: at the box
        # where nothing else limits it, and within the box its best is the best, for the problem is convex.
        solved = cp.Problem(solved.objective, [*solved.constraints, cp.abs(built.weights) <= BOX])
        status = status_of(solved)
        if status in ANSWERED and np.abs(built.weights.value).max() > BOX / 2.0:
            raise _unlimited()
    if status in {cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE}:
        raise _infeasible(prepared, chosen, factor_names)
    if status in {cp.UNBOUNDED, cp.UNBOUNDED_INACCURATE}:
        raise _unlimited()
    if status not in ANSWERED:
        raise FactorError(f"the solver gave no answer: {status}", field="limits")
    weights = np.zeros(len(prepared.covered))
    weights[prepared.columns] = built.weights.value
    if not np.abs(weights).sum() <= GROSS_MOST:
        raise _unlimited()  # a direction without an end, of which the solver gave a point for the best
    active = weights - prepared.benchmark
    traded = np.abs(weights - prepared.start)
    binding: dict[str, float] = {}
    for name, limit in built.limits:
        dual = np.asarray(limit.dual_value if limit.dual_value is not None else 0.0, np.float64)
        worth = float(np.abs(dual).max()) if dual.size else 0.0
        if worth > TOLERANCE * max(1.0, abs(float(solved.value))) and name not in built.definitions:
            binding[name] = max(worth / built.scale, binding.get(name, 0.0))
    return Optimum(
        weights=weights,
        risk=prepared.risk_of(active),
        alpha=float(prepared.alpha @ active),
        exposures=active @ prepared.X,
        turnover=float(traded.sum()),
        cost=float(prepared.cost @ traded),
        binding=binding,
        excluded=np.flatnonzero(~prepared.covered),
    )


def _unlimited() -> FactorError:
    text = "nothing limits the weights: give a limit on risk, positions or gross weight"
    return FactorError(text, field="limits")


class _Built:
    """The variables, the named limits and the terms of a problem in cvxpy."""

    def __init__(
        self,
        prepared: _Prepared,
        limits: Limits,
        factor_names: Sequence[str] | None,
        *,
        trades: bool = False,
        elastic: bool = False,
    ) -> None:
        import cvxpy as cp

        self.prepared = prepared
        columns = prepared.columns
        n, k = len(columns), prepared.X.shape[1]
        self.weights = cp.Variable(n)
        active = self.weights - prepared.benchmark[columns]
        lost = -prepared.benchmark * ~prepared.covered  # what the benchmark holds and nobody here can
        self.exposed = cp.Variable(k)
        # Daily variances are about 1e-4: in units of the typical variance the solver's tolerances mean what they say.
        self.scale = 1.0 / max(float(np.median(prepared.variance[columns])), 1e-12)
        root = np.sqrt(self.scale)
        self.parts = [
            (prepared.factor_root.T * root) @ self.exposed,
            (prepared.specific_root * root) @ active,
        ]
        self.variance = cp.sum_squares(self.parts[0]) + cp.sum_squares(self.parts[1])
        # Absolute trades double the variables, so they are there only where something asks for them.
        self.trade = cp.Variable(n)
        self.definitions = {"exposures", "trades"}
        self.limits: list[tuple[str, Any]] = [
            ("exposures", self.exposed == prepared.X[columns].T @ active + lost @ prepared.X)
        ]
        if trades or limits.turnover is not None or limits.cost is not None:
            difference = self.weights - prepared.start[columns]
            self.limits += [("trades", self.trade >= difference), ("trades", self.trade >= -difference)]
        self.slacks: dict[str, Any] = {}
        for name, excess in limits.expressions(self, prepared, factor_names):
            if elastic and name != "position":
                # A limit on risk is a hundredth of the others: what it gives is counted in its own size.
                unit = limits.risk or 1.0 if name == "risk" else 1.0
                slack = self.slacks.setdefault(name, cp.Variable(nonneg=True))
                self.limits.append((name, excess <= slack * unit))
            else:
                self.limits.append((name, excess <= 0.0))

    def goal(self, objective: Objective, risk_aversion: float) -> Any:
        """Give what is minimised."""
        import cvxpy as cp

        prepared = self.prepared
        columns = prepared.columns
        cost = prepared.cost[columns] * (self.scale / prepared.holding_days)
        costs = cost @ self.trade if (cost > 0.0).any() else 0.0
        if objective == "min_risk":
            return self.variance + costs
        if objective == "max_alpha":
            alpha = (prepared.alpha[columns] * self.scale) @ (self.weights - prepared.benchmark[columns])
            return risk_aversion / 2.0 * self.variance + costs - alpha
        if objective == "min_turnover":
            # The least risk among the smallest trades.
            return cp.sum(self.trade) + 1e-4 * self.variance + prepared.cost[columns] @ self.trade
        raise FactorError(
            f"objective must be min_risk, max_alpha or min_turnover, got {objective!r}", field="objective"
        )


def _infeasible(prepared: _Prepared, limits: Limits, factor_names: Sequence[str] | None) -> InfeasibleError:
    """Find which limits stand against each other: the least, in sum, that all would have to give."""
    import cvxpy as cp

    built = _Built(prepared, limits, factor_names, elastic=True)
    relaxed = cp.Problem(
        cp.Minimize(cp.sum(cp.hstack([*built.slacks.values()])) + 1e-6 * cp.sum_squares(built.weights)),
        [limit for _, limit in built.limits],
    )
    status = status_of(relaxed)
    if status not in ANSWERED:
        return InfeasibleError("no weights meet the limits of the positions", {"position": 0.0})
    gives = {name: float(slack.value) for name, slack in built.slacks.items() if slack.value > 1e-6}
    held = {
        name
        for name, limit in built.limits
        if name not in built.definitions
        and limit.dual_value is not None
        and float(np.abs(np.asarray(limit.dual_value)).max()) > 1e-6
    }
    against = sorted(held - set(gives))
    if "risk" in gives:
        gives["risk"] *= limits.risk or 1.0
    said = ", ".join(f"{name} (would have to give {gives[name]:.4g})" for name in sorted(gives))
    stands = f"; they stand against {', '.join(against)}" if against else ""
    return InfeasibleError(f"no weights meet all limits: {said}{stands}", gives)
