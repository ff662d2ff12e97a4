"""The one formula of `confidence_score`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confidence_score(coverage: float, n_observations: float, n_parameters: int) -> float:
    """Say how far a result can be relied on, in [0, 1].

    ``coverage * n / (n + k)``: the share of the input that the result covers (of a portfolio's gross weight, or of the
    names or cells asked for), times the share that `n` observations keep when `k` parameters are estimated from them.
    For a model `n` is the number of names in the last cross-section and `k` the number of factors; for posted frames
    `n` is the number of rows and `k` the number of columns estimated.

    Parameters
    ----------
    coverage
        In [0, 1].
    n_observations
        Behind each estimate; 0 gives 0.
    n_parameters
        Estimated together.
    """
    if n_observations <= 0:
        return 0.0
    score = coverage * n_observations / (n_observations + n_parameters)
    return round(min(max(score, 0.0), 1.0), 6)


def share(which: NDArray[np.bool_]) -> float:
    """Give the share of cells that are marked; of none it is 0."""
    return float(which.mean()) if which.size else 0.0
