"""Specific risk of names that are hard to forecast: new listings, names after an event, names around earnings."""

from __future__ import annotations

from typing import Any

import numpy as np

from factors.risk.arrays import BoolArray, FloatArray
from factors.validation.statistics import bias_statistic, breach_share, qlike

GROUPS = ("every name", "new listing", "after an event", "around earnings")
# A name is new until the blend with the structural model ends (USE4's 180 days in `blend_history`).
NEW_DAYS = 180
# An event is a specific return beyond so many of its forecast deviations, in the last so many days.
EVENT_DEVIATIONS, EVENT_DAYS = 4.0, 5
# Days from the release of quarterly earnings on.
EARNINGS_DAYS = 2


class SpecificGroups:
    """Forecasts and outcomes of specific returns by group, one day ahead.

    Parameters
    ----------
    residuals
        `[T, N]` specific returns.
    earnings
        `[T, N]` quarterly earnings as they were known, or None: a change is a release. The release of the day that is
        forecast counts, as its date is known before.
    """

    def __init__(self, residuals: FloatArray, earnings: FloatArray | None) -> None:
        self.residuals = residuals
        self.history = np.cumsum(np.isfinite(residuals), axis=0)
        self.event_row = np.full(residuals.shape[1], -np.inf)
        self.release_row = None if earnings is None else _last_change(earnings)
        self._before: tuple[int, FloatArray] | None = None
        self._rows: dict[str, list[tuple[float, float]]] = {group: [] for group in GROUPS}
        self._names: dict[str, list[FloatArray]] = {group: [] for group in GROUPS}

    def note(self, row: int, variance: FloatArray, alive: BoolArray) -> None:
        """Note the variances `[N]` forecast at the end of a row and the specific returns of the row after it."""
        volatility = np.sqrt(variance)
        if self._before is not None:
            start, known = self._before
            for past in range(start + 1, row + 1):
                jumped = np.abs(self.residuals[past]) > EVENT_DEVIATIONS * known
                self.event_row[jumped] = past
        self._before = row, volatility
        following = self.residuals[row + 1]
        counted = alive & np.isfinite(following) & (volatility > 0.0)
        members = {
            "every name": counted,
            "new listing": counted & (self.history[row] > 0) & (self.history[row] < NEW_DAYS),
            "after an event": counted & (row - self.event_row < EVENT_DAYS),
        }
        if self.release_row is not None:
            members["around earnings"] = counted & (row + 1 - self.release_row[row + 1] <= EARNINGS_DAYS)
        for group, inside in members.items():
            n = int(inside.sum())
            if n:
                made, risk = following[inside], volatility[inside]
                self._names[group].append(made / risk)
                self._rows[group].append((made.mean(), float(np.sqrt((risk * risk).sum())) / n))

    def figures(self) -> list[dict[str, Any]]:
        """Give for each group that had names: days, names a day, and figures of its portfolio and of its names.

        The portfolio holds the group's names in equal parts. Bias statistics are 1 where risk is right.
        """
        out = []
        for group in GROUPS:
            if not self._rows[group]:
                continue
            made, risk = np.array(self._rows[group]).T
            names = np.concatenate(self._names[group])[:, None]
            portfolio = (made / risk)[:, None]
            out.append(
                {
                    "group": group,
                    "n_days": int(made.size),
                    "names_a_day": names.size / made.size,
                    "portfolio_bias": float(bias_statistic(portfolio)[0]),
                    "portfolio_qlike": qlike(portfolio),
                    "name_bias": float(bias_statistic(names)[0]),
                    "name_breaches_99": breach_share(names, 0.99),
                }
            )
        return out


def _last_change(values: FloatArray) -> FloatArray:
    """Give `[T, N]` the row of the last change up to each row; minus infinity before the first."""
    changed = np.zeros(values.shape, dtype=np.bool_)
    both = np.isfinite(values[1:]) & np.isfinite(values[:-1])
    changed[1:] = both & (values[1:] != values[:-1])
    rows = np.where(changed, np.arange(len(values), dtype=np.float64)[:, None], -np.inf)
    last: FloatArray = np.maximum.accumulate(rows, axis=0)
    return last
