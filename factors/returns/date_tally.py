"""How the regressions of the dates ended, counted as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from factors.panel.panel import Array
from factors.returns.kernels import DEFICIENT, EMPTY

KINDS = ((EMPTY, "no names: factor returns are 0"), (DEFICIENT, "rank deficient: minimum-norm answer"))


def returns_told(factor_returns: Array, standard_errors: Array) -> Array:
    """Give factor returns as they are told, NaN where nothing was estimated: the kernels leave 0 and a NaN error there.

    A factor of one name has a return and no error, and so has every factor of a minimum-norm answer; these stay.

    Parameters
    ----------
    factor_returns, standard_errors : float64 [n_dates, K] or [K]
    """
    return np.where(np.isnan(standard_errors) & (factor_returns == 0.0), np.nan, factor_returns)


class DateTally:
    """Dates without a regression of full rank, and on how many dates each factor was estimated.

    Kept so that what a model warns of costs the same after any history.

    Parameters
    ----------
    n_factors : int
    """

    def __init__(self, n_factors: int) -> None:
        # Per kind: how many dates, the first and the last, as days since the epoch.
        self._days = np.zeros((len(KINDS), 3), dtype=np.int64)
        self._estimated = np.zeros(n_factors, dtype=np.int64)

    def add(
        self, dates: NDArray[np.datetime64], status: NDArray[np.int8], returns: Array, standard_errors: Array
    ) -> None:
        """Count the next dates: status [n], factor returns and standard errors [n, K].

        A factor was estimated where it has a return or a standard error: of one name there is no error, and where a
        factor was not estimated its return is 0 and its error NaN.
        """
        for row, (kind, _) in zip(self._days, KINDS, strict=True):
            at = dates[status == kind].astype("datetime64[D]").astype(np.int64)
            if len(at):
                row[:] = row[0] + len(at), row[1] if row[0] else at[0], at[-1]
        self._estimated += np.isfinite(returns_told(returns, standard_errors)).sum(axis=0)

    def sentences(self, factor_names: Sequence[str]) -> list[str]:
        """Give a sentence for each kind of date, and one that names the factors that were never estimated."""
        found = []
        for (count, first, last), (_, what) in zip(self._days.tolist(), KINDS, strict=True):
            if count:
                begin, end = np.datetime64(first, "D"), np.datetime64(last, "D")
                found.append(f"factor returns on {count} dates ({begin} to {end}): {what}")
        absent = [name for name, days in zip(factor_names, self._estimated.tolist(), strict=True) if not days]
        if absent:
            found.append(f"never estimated, their returns are 0: {', '.join(absent)}")
        return found

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Give the counts."""
        return {"days": self._days.copy(), "estimated": self._estimated.copy()}

    def restore(self, state: Mapping[str, NDArray[np.int64]]) -> None:
        """Take up what `state` gave."""
        self._days, self._estimated = np.array(state["days"]), np.array(state["estimated"])
