"""Limits on weights: what an optimiser has to keep."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factors.errors import FactorError
from factors.numeric import deadline
from factors.risk.arrays import FloatArray

Bounds = tuple[float | None, float | None]


class InfeasibleError(FactorError):
    """No weights meet all limits; says which stand against each other."""

    code = "infeasible"

    def __init__(self, message: str, conflicts: Mapping[str, float]) -> None:
        super().__init__(message, field="limits")
        self.conflicts = dict(conflicts)


@dataclass(frozen=True, slots=True)
class Limits:
    """What weights must keep; a bound of None does not limit.

    Parameters
    ----------
    position
        Least and greatest weight of every name.
    positions
        `[N]` arrays (least, greatest) instead, where names differ.
    net
        Least and greatest sum of weights; (1, 1) is fully invested, (0, 0) neutral.
    gross
        Greatest sum of absolute weights.
    active_position
        Greatest absolute difference to the benchmark of every name.
    exposures
        Factor (a name or a position) to least and greatest (active) exposure; sectors are factors too.
    turnover
        Greatest sum of absolute trades from what is held.
    risk
        Greatest daily (active) volatility.
    cost
        Greatest cost of the trades.
    """

    position: Bounds = (0.0, 1.0)
    positions: tuple[FloatArray, FloatArray] | None = None
    net: Bounds = (1.0, 1.0)
    gross: float | None = None
    active_position: float | None = None
    exposures: Mapping[Any, Bounds] = field(default_factory=dict)
    turnover: float | None = None
    risk: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        for name in ("position", "net"):
            _ordered(name, getattr(self, name))
        for factor, bounds in self.exposures.items():
            _ordered(f"exposures.{factor}", bounds)
        for name in ("gross", "active_position", "turnover", "risk", "cost"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < np.inf:
                raise FactorError(f"{name} must be a number of at least 0, got {value}", field=name)

    def expressions(self, built: Any, prepared: Any, factor_names: Sequence[str] | None) -> Iterator[tuple[str, Any]]:
        """Give each limit's name and what must not be above 0, over the variables of a problem."""
        import cvxpy as cp

        columns, weights = prepared.columns, built.weights
        least, greatest = self.position if self.positions is None else self.positions
        yield from _between("position", weights, _at(least, columns), _at(greatest, columns))
        yield from _between("net", cp.sum(weights), *self.net)
        if self.gross is not None:
            yield "gross", cp.norm1(weights) - self.gross
        if self.active_position is not None:
            most = self.active_position
            yield from _between("active_position", weights - prepared.benchmark[columns], -most, most)
        for factor, bounds in self.exposures.items():
            yield from _between(
                f"exposures.{factor}", built.exposed[_position(factor, factor_names, prepared)], *bounds
            )
        if self.turnover is not None:
            sold = float(np.abs(prepared.start[~prepared.covered]).sum())
            yield "turnover", cp.sum(built.trade) + sold - self.turnover
        if self.risk is not None:
            yield "risk", cp.norm(cp.hstack(built.parts)) / np.sqrt(built.scale) - self.risk
        if self.cost is not None:
            yield "cost", prepared.cost[columns] @ built.trade - self.cost


def status_of(problem: Any) -> str:
    """Solve a problem of cvxpy by the interior-point method and give how it ended.

    The solver stops at the deadline by itself; a caller that goes is seen between two problems.
    """
    import cvxpy as cp

    deadline.check()
    limit = deadline.current()
    most_s = math.inf if limit is None else max(limit.at - time.time(), 0.0)
    try:
        problem.solve(solver=cp.CLARABEL, time_limit=most_s)
    except cp.SolverError as error:
        deadline.check()
        return f"solver error: {error}"
    deadline.check()
    return str(problem.status)


def _ordered(name: str, bounds: Bounds) -> None:
    low, high = bounds
    if any(bound is not None and np.isnan(bound) for bound in bounds) or (
        low is not None and high is not None and low > high
    ):
        raise FactorError(f"{name} must be (least, greatest), got {bounds}", field=name)


def _at(bound: Any, columns: Any) -> Any:
    return bound if bound is None or np.ndim(bound) == 0 else np.asarray(bound, np.float64)[columns]


def _between(name: str, value: Any, low: Any, high: Any) -> Iterator[tuple[str, Any]]:
    if low is not None:
        yield name, low - value
    if high is not None:
        yield name, value - high


def _position(factor: str | int, names: Sequence[str] | None, prepared: Any) -> int:
    n_factors = prepared.X.shape[1]
    if isinstance(factor, str):
        if names is None or factor not in names:
            raise FactorError(f"exposures names a factor that the model does not have: {factor!r}", field="exposures")
        return list(names).index(factor)
    if not 0 <= factor < n_factors:
        raise FactorError(f"exposures names factor {factor} of {n_factors}", field="exposures")
    return factor
