"""Bayesian shrinkage of specific volatilities towards the mean of their size group."""

import numpy as np

from factors.risk.arrays import BoolArray, FloatArray, IntArray


def size_groups(caps: FloatArray, n_groups: int, member: BoolArray) -> IntArray:
    """Return `[n_assets]` groups of equal number by capitalisation, 0 the smallest; -1 outside `member`.

    Members without a capitalisation are counted with the smallest. There are never more groups than a tenth of the
    members, so that a group mean is a mean of something.
    """
    groups = np.full(caps.size, -1, dtype=np.int64)
    chosen = np.flatnonzero(member)
    if chosen.size:
        usable = max(min(n_groups, chosen.size // 10), 1)
        known = np.where(np.isnan(caps[chosen]), -np.inf, caps[chosen])
        # A stable sort, so that ties fall by position and not by chance.
        order = np.argsort(known, kind="stable")
        groups[chosen[order]] = np.arange(chosen.size) * usable // chosen.size
    return groups


def group_means(volatility: FloatArray, caps: FloatArray, groups: IntArray, counted: BoolArray) -> FloatArray:
    """Return `[n_groups]` cap-weighted means of volatility over the `counted` assets of each group.

    A group with nothing counted takes the mean over all groups; without any the result is NaN. Assets without a
    positive capitalisation get the smallest positive weight of the cross-section.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    positive = caps > 0.0
    smallest = caps[positive].min() if positive.any() else 1.0
    weights = np.where(positive, caps, smallest)
    used = counted & (groups >= 0)
    total = np.bincount(groups[used], weights=weights[used], minlength=n_groups)
    weighted = np.bincount(groups[used], weights=weights[used] * volatility[used], minlength=n_groups)
    overall = weighted.sum() / total.sum() if total.sum() > 0.0 else np.nan
    means: FloatArray = np.divide(weighted, total, out=np.full(n_groups, overall), where=total > 0.0)
    return means


def bayes_shrunk(volatility: FloatArray, caps: FloatArray, groups: IntArray, q: float) -> FloatArray:
    r"""Return `[n_assets]` shrunk volatilities.

    .. math::

        \sigma^{SH}_n = v_n \bar\sigma(s) + (1 - v_n) \sigma_n, \quad
        v_n = \frac{q |\sigma_n - \bar\sigma(s)|}{\Delta_\sigma(s) + q |\sigma_n - \bar\sigma(s)|}

    with the cap-weighted mean of size group `s` and the root mean square deviation from it (USE4 Methodology Notes,
    section 5.3). Assets outside every group, or without a volatility, come back unchanged.
    """
    member = (groups >= 0) & ~np.isnan(volatility)
    if q <= 0.0 or not member.any():
        return volatility
    means = group_means(volatility, caps, groups, member)
    inside = groups[member]
    gap = np.abs(volatility[member] - means[inside])
    counts = np.bincount(inside, minlength=means.size)
    squares = np.bincount(inside, weights=gap * gap, minlength=means.size)
    spread = np.sqrt(np.divide(squares, counts, out=np.zeros(means.size), where=counts > 0))
    pull = q * gap
    share = np.divide(pull, spread[inside] + pull, out=np.zeros_like(pull), where=pull > 0.0)
    shrunk = volatility.copy()
    shrunk[member] = share * means[inside] + (1.0 - share) * volatility[member]
    return shrunk
