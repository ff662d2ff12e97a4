"""A small state of a model, as tests of the store commit it."""

import numpy as np

from store import StoredState


def state(first: int, n_dates: int, symbols: tuple[str, ...], fill: float = 1.0) -> StoredState:
    dates = np.datetime64("2020-01-01", "D") + np.arange(first, first + n_dates)
    values = fill + first + np.arange(n_dates)[:, None] + np.arange(len(symbols)) / 100
    return StoredState(
        dates,
        symbols,
        {
            "returns": values,
            "sector": np.zeros((n_dates, len(symbols)), np.int16),
            "scores": values[:, None] * np.ones((1, 2, 1)),
        },
        {"factor_returns": np.full((n_dates, 3), fill)},
        {"covariance": np.eye(3) * fill},
        {"factors": ["a", "b", "c"]},
    )
