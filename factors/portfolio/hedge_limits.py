"""Hedges under limits on the instruments, and which limits stand against each other where none can be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factors.errors import FactorError
from factors.portfolio.limits import InfeasibleError, status_of
from factors.risk.arrays import FloatArray

KEPT = 1e-9
"""What a limit may be missed by: the rounding of the closed form."""
SNAPPED = 1e-8
"""How near to a limit a weight is at it."""
BINDS = 1e-6
"""Share of the problem's own size above which a limit's worth is no rounding of the solver."""


@dataclass(frozen=True)
class HedgeLimits:
    """What the instruments' weights must keep, `H` of them.

    Attributes
    ----------
    least, most
        `[H]`, infinite where open.
    gross
        Greatest sum of absolute weights; None for any.
    names
        Of the instruments, for what is said of them; by default their positions.
    factor_names
        Of the factors, for what is said of neutral ones; by default their positions.
    """

    least: FloatArray
    most: FloatArray
    gross: float | None = None
    names: Sequence[str] = ()
    factor_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if np.shape(self.least) != np.shape(self.most) or np.ndim(self.least) != 1:
            raise FactorError("least and most hold a number for each instrument", field="positions")
        wrong = np.flatnonzero(~(np.asarray(self.least) <= np.asarray(self.most)))
        if wrong.size:
            raise FactorError(
                f"the least weight of {self.instrument(wrong[0])} is above its greatest", field="positions"
            )
        if self.gross is not None and not 0.0 <= self.gross < np.inf:
            raise FactorError(f"gross must be a number of at least 0, got {self.gross}", field="gross")

    def kept_by(self, weights: FloatArray) -> bool:
        """Whether weights `[H]` meet all limits."""
        inside = (weights >= self.least - KEPT) & (weights <= self.most + KEPT)
        return bool(inside.all()) and (self.gross is None or float(np.abs(weights).sum()) <= self.gross + KEPT)

    def instrument(self, number: int) -> str:
        """Give an instrument's name."""
        return str(self.names[number] if self.names else number)

    def factor(self, number: int) -> str:
        """Give a factor's name."""
        return str(self.factor_names[number] if self.factor_names else number)


@dataclass(frozen=True)
class Quadratic:
    """A hedge as a problem in the instruments' weights `h` alone: the least `h'Qh + 2 q'h` with `Rh = -c`.

    Attributes
    ----------
    quadratic, linear
        `[H, H]` and `[H]`, of the daily variance.
    reach, left
        `[C, H]` and `[C]`: the neutral factors' exposures of the instruments, and of the book.
    neutral
        Positions of those factors.
    """

    quadratic: FloatArray
    linear: FloatArray
    reach: FloatArray
    left: FloatArray
    neutral: tuple[int, ...]


def limited_hedge(problem: Quadratic, limits: HedgeLimits) -> tuple[FloatArray, dict[str, float]]:
    """Find the weights of least variance under limits, and what each binding limit is worth.

    Raises
    ------
    InfeasibleError
        No weights meet them all.
    FactorError
        The solver stopped for another reason.
    """
    import cvxpy as cp

    if len(limits.least) != len(problem.linear):
        raise FactorError(f"limits are of {len(limits.least)} of {len(problem.linear)} instruments", field="positions")
    weights = cp.Variable(len(problem.linear))
    # In units of the typical instrument's variance, so that the solver's tolerances mean what they say.
    size = float(np.median(np.diag(problem.quadratic))) or 1.0
    values, vectors = np.linalg.eigh(problem.quadratic / size)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    goal = cp.sum_squares(root @ weights) + (2.0 / size) * (problem.linear @ weights)
    named = list(_limits(problem, limits, weights))
    solved = cp.Problem(cp.Minimize(goal), [excess <= 0.0 for _, excess in named])
    status = status_of(solved)
    if status in {cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE}:
        raise _conflict(problem, limits)
    if status not in {cp.OPTIMAL, cp.OPTIMAL_INACCURATE}:
        raise FactorError(f"the solver gave no answer: {status}", field="limits")
    worth: dict[str, float] = {}
    for (name, _), limit in zip(named, solved.constraints, strict=True):
        dual = float(np.max(limit.dual_value))
        if dual > BINDS and not name.startswith("neutral_factors."):
            worth[name] = worth.get(name, 0.0) + dual * size
    # An interior point ends a hair before its limits: a hedge that may not be short is 0, not 1e-10.
    held = np.clip(np.asarray(weights.value, np.float64), limits.least, limits.most)
    for bound in (limits.least, limits.most):
        held = np.where(np.abs(held - bound) < SNAPPED, bound, held)
    return held, worth


def _limits(problem: Quadratic, limits: HedgeLimits, weights: Any) -> list[tuple[str, Any]]:
    """Give each limit's name and what must not be above 0."""
    import cvxpy as cp

    found: list[tuple[str, Any]] = []
    for i, (low, high) in enumerate(zip(limits.least, limits.most, strict=True)):
        name = f"positions.{limits.instrument(i)}"
        found += [(name, low - weights[i])] if np.isfinite(low) else []
        found += [(name, weights[i] - high)] if np.isfinite(high) else []
    if limits.gross is not None:
        found.append(("gross", cp.norm1(weights) - limits.gross))
    for row, left, factor in zip(problem.reach, problem.left, problem.neutral, strict=True):
        name = f"neutral_factors.{limits.factor(factor)}"
        found += [(name, row @ weights + left), (name, -(row @ weights) - left)]
    return found


def _conflict(problem: Quadratic, limits: HedgeLimits) -> InfeasibleError:
    """Find which limits stand against each other: the least, in sum, that all would have to give."""
    import cvxpy as cp

    weights = cp.Variable(len(problem.linear))
    slacks: dict[str, Any] = {}
    names, rows = [], []
    for name, excess in _limits(problem, limits, weights):
        names.append(name)
        rows.append(excess <= slacks.setdefault(name, cp.Variable(nonneg=True)))
    relaxed = cp.Problem(cp.Minimize(cp.sum(cp.hstack(list(slacks.values()))) + 1e-6 * cp.sum_squares(weights)), rows)
    if status_of(relaxed) not in {cp.OPTIMAL, cp.OPTIMAL_INACCURATE}:
        return InfeasibleError("no weights meet all limits", {})
    gives = {name: float(slack.value) for name, slack in slacks.items() if slack.value > BINDS}
    held = {name for name, row in zip(names, rows, strict=True) if float(np.max(row.dual_value)) > 1e-3}
    against = sorted(held - set(gives))
    said = ", ".join(f"{name} (would have to give {gives[name]:.4g})" for name in sorted(gives))
    stands = f"; they stand against {', '.join(against)}" if against else ""
    return InfeasibleError(f"no weights meet all limits: {said}{stands}", gives)
