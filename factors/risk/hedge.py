"""Weights of experts by their own discounted past loss: Hedge."""

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray

# One day's losses count up to this much above the least of the day: a bounded loss is what the bound on regret needs.
LOSS_RANGE = 4.0
# A squared return counts up to this many times its forecast, so that one name that stood still for long and then moves
# does not decide for all.
RATIO_LIMIT = 100.0


@njit(cache=True, nogil=True)
def hedge_step(losses: FloatArray, today: FloatArray, loss_decay: float) -> None:
    """Add today's losses `[E]`, each above the day's least and within `LOSS_RANGE`, and discount them, in place."""
    least = today.min()
    for e in range(losses.size):
        losses[e] = (losses[e] + min(today[e] - least, LOSS_RANGE)) * loss_decay


def hedge_weights(losses: FloatArray, learning_rate: float, even_share: float = 0.0) -> FloatArray:
    r"""Return weights of experts from what `hedge_step` keeps, over the last axis.

    .. math::

        w_{i,t+1} = (1 - \alpha) \frac{e^{-\eta \gamma L_{i,t}}}{\sum_j e^{-\eta \gamma L_{j,t}}}
            + \frac{\alpha}{E}, \quad
        L_{i,t} = \gamma L_{i,t-1} + \ell_{i,t}

    Notes
    -----
    Hedge (Freund and Schapire 1997) with discounted losses (Cesa-Bianchi and Lugosi, *Prediction, Learning, and Games*,
    2006, sections 2.2 and 2.11). With losses within a range `B` on each day, against every one of `E` experts

    .. math::

        \sum_{t \le T} \gamma^{T-t} \Big(\sum_j w_{j,t} \ell_{j,t} - \ell_{i,t}\Big)
        \le \frac{\ln E}{\eta} + \frac{\eta B^2}{8 (1 - \gamma)} + \frac{\alpha B}{1 - \gamma}

    by the potential :math:`\Phi_t = \frac1\eta \ln \frac1E \sum_j e^{-\eta L_{j,t}}`: Hoeffding's lemma bounds what a
    day adds to :math:`\gamma \Phi_{t-1}`, as the mean of :math:`x^\gamma` is at most the mean of `x` to that power.
    The share `alpha` of the weight that all experts get alike loses at most `B` a day more than Hedge; it is what
    still listens to the other experts when the world changes (as in the fixed share of Herbster and Warmuth 1998).
    """
    raw = np.exp(-learning_rate * (losses - losses.min(axis=-1, keepdims=True)))
    weights: FloatArray = raw / raw.sum(axis=-1, keepdims=True)
    if even_share > 0.0:
        weights = (1.0 - even_share) * weights + even_share / losses.shape[-1]
    return weights
