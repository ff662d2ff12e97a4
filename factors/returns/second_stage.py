"""The styles of a two-stage regression over many dates, from Gram matrices that something else computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from factors.numeric import deadline

Array = NDArray[np.float64]
Grams = Callable[[Array, Array, Array], tuple[Array, Array]]
"""``X' W X`` and ``X' W y`` of dates: X [n_dates, n_assets, n_styles], weights and y [n_dates, n_assets]."""

DATES_AT_ONCE = 64
"""Of 3,000 names and 20 styles 30 MB."""
REFINED = 4
"""Steps at most; each takes the error of the matrix, times its condition, off what is left."""
CONVERGED = 1e-10
"""The last step's share of the returns: what is left beyond it is far below."""
OWN_SHARE = 1e-3
"""Of a style's sum of squares that the styles before it must leave. Below, missing digits may hide that it has none of
its own, and what it shares would be split between them at random."""


def style_returns(styles: Array, weights: Array, target: Array, grams: Grams) -> tuple[Array, NDArray[np.bool_]]:
    """Regress the target of each date on its styles by weighted least squares.

    The matrix may be short of digits, as one of a device with float32 is. What it gives is refined by the residual,
    which is computed here in float64, until the returns stand still; a date where they do not is not solved.

    Parameters
    ----------
    styles : float64 [n_dates, n_styles, n_assets]
    weights, target : float64 [n_dates, n_assets]
        What has no weight must be finite all the same.
    grams
        Computes the matrices and right sides.

    Returns
    -------
    float64 [n_dates, n_styles], bool [n_dates]
        Returns of the styles, and which dates are solved.
    """
    n_dates, n_styles, _ = styles.shape
    found, solved = np.zeros((n_dates, n_styles)), np.zeros(n_dates, dtype=bool)
    for begin in range(0, n_dates, DATES_AT_ONCE):
        deadline.check()
        part = slice(begin, begin + DATES_AT_ONCE)
        x, w, y = styles[part], weights[part], target[part]
        left, right = grams(np.ascontiguousarray(x.transpose(0, 2, 1)), w, y)
        for t in range(len(x)):
            made = _refined(left[t], right[t], x[t], w[t], y[t])
            if made is not None:
                found[begin + t], solved[begin + t] = made, True
    return found, solved


def _refined(left: Array, right: Array, x: Array, w: Array, y: Array) -> Array | None:
    """Solve a date and refine it; None where the matrix is too near to a singular one for that."""
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return None
    try:
        root = np.linalg.cholesky(left)
    except np.linalg.LinAlgError:
        return None
    if not (np.diag(root) ** 2 >= OWN_SHARE * np.diag(left)).all():
        return None

    def step(b: Array) -> Array:
        made: Array = np.linalg.solve(root.T, np.linalg.solve(root, b))
        return made

    f = step(right)
    for _ in range(REFINED):
        change = step(x @ (w * (y - f @ x)))
        f = f + change
        if float(np.abs(change).max(initial=0.0)) <= CONVERGED * float(np.abs(f).max(initial=0.0)):
            return f
    return None
