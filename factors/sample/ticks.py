"""A market of trades after a close: prices that move together, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DAY_DEVIATION, COMMON_SHARE = 0.02, 0.3
"""Of a name's return over a whole day; and the share of its variance that all names have in common."""
LARGEST_SIZE = 1000
RETURN_MOST = 0.25
"""A name stays within this of its last close: beyond it a trade would look like a split."""


@dataclass(frozen=True)
class Trade:
    """A trade of a name, at a share of the session that has passed."""

    symbol: str
    price: float
    size: int
    passed: float


def trades(symbols: Sequence[str], close: ArrayLike, n: int, seed: int = 0) -> Iterator[Trade]:
    """Draw the trades of a session.

    Parameters
    ----------
    symbols : sequence of str [n_assets]
    close : array [n_assets]
        The last close; names without one do not trade.
    n : int
        Trades from the open to the close.
    seed : int
        The same one gives the same trades.

    Yields
    ------
    Trade
    """
    rng = np.random.default_rng(seed)
    prices: NDArray[np.float64] = np.asarray(close, dtype=np.float64)
    there = np.flatnonzero(np.isfinite(prices) & (prices > 0.0))
    if not len(there) or n < 1:
        return
    own = np.zeros(len(prices))
    common = 0.0
    step = DAY_DEVIATION * np.sqrt((1 - COMMON_SHARE) * len(there) / n)
    together = DAY_DEVIATION * np.sqrt(COMMON_SHARE / n)
    for k in range(n):
        i = int(there[rng.integers(len(there))])
        common += together * rng.standard_normal()
        own[i] += step * rng.standard_normal()
        moved = float(np.clip(common + own[i], -RETURN_MOST, RETURN_MOST))
        price = float(prices[i]) * (1.0 + moved)
        yield Trade(symbols[i], round(price, 4), int(rng.integers(1, LARGEST_SIZE)), k / n)
