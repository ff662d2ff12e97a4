"""Weights day by day from holdings set on some dates: drifting or rebalanced, with names that are not there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.risk.arrays import BoolArray, FloatArray, IntArray, as_matrix

Between = Literal["drift", "rebalance"]
Absent = Literal["others", "cash"]


@dataclass(frozen=True, slots=True)
class Held:
    """What was held through each day.

    Attributes
    ----------
    weights
        `[T, N]` at the start of the day, as shares of the book's value.
    absent
        `[T, N]` names of the book without a return on the day, whose weight went elsewhere.
    closes
        `[T + 1, N]` at the close before each day, and at the last day's own: what was held by what was known then, the
        names that are not there on the day after among it.
    """

    weights: FloatArray
    absent: BoolArray
    closes: FloatArray


def daily_weights(
    dates: NDArray[np.datetime64],
    set_on: Sequence[Any] | NDArray[np.datetime64],
    weights: FloatArray,
    returns: FloatArray,
    between: Between = "rebalance",
    absent: Absent = "others",
) -> Held:
    r"""Spread dated holdings over days.

    Holdings of a date are those at its close: they earn from the next day on. The first ones also hold before their
    date, so that a book given once holds through the whole period.

    Parameters
    ----------
    dates
        `[T]`, ascending.
    set_on
        `[H]` dates, ascending.
    weights
        `[H, N]`, or `[N]`; what they lack to 1 is cash.
    returns
        `[T, N]`, NaN where a name is not there.
    between
        `drift` lets weights move with returns until the next holdings,
        :math:`w_{t+1} = w_t (1 + r_t) / (1 + R_t)`; `rebalance` sets them back to the holdings at every close.
    absent
        `others`: while a name is not there the others of its side (long or short) carry its weight in proportion;
        `cash`: its weight earns nothing.

    Raises
    ------
    FactorError
        Dates that do not ascend, shapes that do not match, or a book whose value falls to nothing.
    """
    days = np.asarray(dates, "datetime64[D]")
    starts = np.asarray(set_on, "datetime64[D]")
    W = as_matrix("weights", weights, finite=True)
    R = as_matrix("returns", returns)
    if len(starts) != len(W) or (np.diff(starts) <= np.timedelta64(0, "D")).any():
        raise FactorError("holdings must have ascending dates, one a row of weights", field="set_on")
    if R.shape != (len(days), W.shape[1]):
        raise FactorError(f"returns must be {(len(days), W.shape[1])}, got {R.shape}", field="returns")
    there = ~np.isnan(R)
    source: IntArray = np.maximum(np.searchsorted(starts, days, side="left") - 1, 0)
    # What the last close sets earns after the period.
    last = max(int(np.searchsorted(starts, days[-1:], side="right")[0]) - 1, 0) if len(days) else 0
    if between == "rebalance":
        return _set_back(W[source], there, absent, W[np.append(source, last)])
    earned = np.where(there, R, 0.0)
    out = np.empty_like(R)
    closes = np.empty((len(days) + 1, W.shape[1]))
    gone = np.zeros(R.shape, dtype=np.bool_)
    current, held = W[0], -1
    for t in range(len(days)):
        if source[t] != held:
            held = int(source[t])
            current = W[held]
        closes[t] = current
        gone[t] = (current != 0.0) & ~there[t]
        if not gone[t].any():
            out[t] = current
        elif absent == "others":
            out[t] = _without(current, gone[t])
        else:
            out[t] = np.where(gone[t], 0.0, current)
        gain = float(out[t] @ earned[t])
        if gain <= -1.0:
            raise FactorError(f"the book's value falls to nothing on {days[t]}", field="weights")
        # What others carry for a name that is not there yet is given back in the same proportion.
        share = np.divide(current, out[t], out=np.ones_like(current), where=out[t] != 0.0)
        current = np.where(gone[t], current, out[t] * (1.0 + earned[t]) / (1.0 + gain) * share)
    closes[-1] = current if last == held else W[last]
    return Held(out, gone, closes)


def _set_back(weights: FloatArray, there: BoolArray, absent: Absent, closes: FloatArray) -> Held:
    """Hold what was set on every day, without the names that are not there."""
    gone = (weights != 0.0) & ~there
    if absent == "cash":
        return Held(np.where(gone, 0.0, weights), gone, closes)
    some = np.flatnonzero(gone.any(axis=1))
    weights[some] = _without(weights[some], gone[some])
    return Held(weights, gone, closes)


def _without(weights: FloatArray, gone: BoolArray) -> FloatArray:
    """Give the weight of names that are gone to the others of their side; all of it stays cash where there are none.

    Parameters
    ----------
    weights, gone
        `[..., N]`.
    """
    out = np.where(gone, 0.0, weights)
    for side in (np.maximum, np.minimum):
        whole, there = side(weights, 0.0), side(out, 0.0)
        left = there.sum(axis=-1, keepdims=True)
        scale = np.divide(whole.sum(axis=-1, keepdims=True), left, out=np.ones_like(left), where=left != 0.0)
        out += there * (scale - 1.0)
    return out
