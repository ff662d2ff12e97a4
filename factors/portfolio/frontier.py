"""The efficient frontier, and the trades from one book to another in weights and in shares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factors.errors import FactorError
from factors.portfolio.limits import Limits
from factors.portfolio.optimize import Optimum, Problem, optimize
from factors.risk.arrays import FloatArray, as_vector

MOST_POINTS = 50


def frontier(
    problem: Problem, limits: Limits | None = None, n_points: int = 10, factor_names: Sequence[str] | None = None
) -> list[Optimum]:
    """Return the books of most alpha at each level of risk, from the least risk to that of the most alpha.

    Parameters
    ----------
    problem
        With alpha.
    limits
        As in `optimize`; a limit on risk ends the frontier there.
    n_points
        2 to 50, evenly spaced in volatility.

    Raises
    ------
    FactorError
        Without alpha; and as in `optimize`.
    """
    if problem.alpha is None:
        raise FactorError("a frontier needs alpha", field="alpha")
    if not 2 <= n_points <= MOST_POINTS:
        raise FactorError(f"n_points must be 2 to {MOST_POINTS}, got {n_points}", field="n_points")
    chosen = limits or Limits()
    least = optimize(replace(problem, cost=0.0), chosen, "min_risk", factor_names=factor_names)
    # It was sought as if trades were free; they are not.
    start = np.zeros_like(least.weights) if problem.start is None else np.asarray(problem.start)
    least = replace(least, cost=float((np.abs(least.weights - start) * problem.cost).sum()))
    most = optimize(problem, chosen, "max_alpha", risk_aversion=0.0, factor_names=factor_names)
    levels = np.linspace(least.risk, max(most.risk, least.risk), n_points)
    between = [
        optimize(problem, replace(chosen, risk=float(level)), "max_alpha", risk_aversion=0.0, factor_names=factor_names)
        for level in levels[1:-1]
    ]
    return [least, *between, most]


@dataclass(frozen=True, slots=True)
class Trades:
    """What to trade.

    Attributes
    ----------
    weights
        `[N]` to buy (above 0) or sell, as shares of the book's value.
    shares
        `[N]` whole lots, towards no trade; NaN where there is no price.
    values
        `[N]` of these, in money.
    left
        Value that whole lots leave undone, in money.
    """

    weights: FloatArray
    shares: FloatArray
    values: FloatArray
    left: float


LEAST_LOT = 1e-9


def trades(start: FloatArray, target: FloatArray, prices: FloatArray, value: float, lot: float = 1.0) -> Trades:
    """Give the trades from one book to another.

    Parameters
    ----------
    start, target
        `[N]` weights.
    prices
        `[N]` of one share.
    value
        Of the book, in money.
    lot
        Shares that are traded together.

    Raises
    ------
    FactorError
        A book without value, a lot below a billionth of a share, or shapes that do not match.
    """
    if not (value > 0.0 and np.isfinite(value)):
        raise FactorError(f"value must be above 0, got {value}", field="value")
    if not (lot >= LEAST_LOT and np.isfinite(lot)):
        raise FactorError(f"lot must be {LEAST_LOT:g} of a share at least, got {lot}", field="lot")
    before = as_vector("start", start, finite=True)
    difference = as_vector("target", target, length=len(before), finite=True) - before
    price = as_vector("prices", prices, length=len(before))
    priced = price > 0.0
    wanted = np.divide(difference * value, price * lot, out=np.full(len(before), np.nan), where=priced)
    # A whole lot must not be lost to rounding of the division.
    lots = np.trunc(wanted + np.sign(wanted) * 1e-9)
    shares = lots * lot
    values = np.where(priced, shares * price, 0.0)
    return Trades(difference, shares, values, float(np.abs(difference * value - values).sum()))
