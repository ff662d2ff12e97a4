"""When rows are: bars of any length, and the sessions that they are in.

A row's bar is the number of whole bars from the beginning of 1970 to its timestamp, and no two rows are in one bar. Its
session is the calendar date of the timestamp, which is the exchange's own time: nothing is converted. Of days, bar and
session are the same.

Windows and lags count rows, whatever lies between them. Windows above 64 rows are put together of blocks of 32 bars by
the clock (kernels/long.py). Running sums that begin anew do so with the session, or with its month or year.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.library.language.errors import FieldsError

DAY_US = 86_400_000_000
DAY = np.timedelta64(1, "D")


class Clock:
    """Reads timestamps as bars and sessions.

    Parameters
    ----------
    bar : timedelta64, or anything that numpy makes one of; a bare number counts microseconds
        One day for daily rows, the default; a minute for minute bars. Not more than a day.

    Raises
    ------
    FieldsError
        A bar that is no length of time, not positive, or longer than a day.
    """

    def __init__(self, bar: Any = DAY) -> None:
        try:
            self.bar_us = int(np.timedelta64(bar, "us").astype(np.int64))
        except (TypeError, ValueError) as error:
            raise FieldsError(f"the bar {bar!r} is no length of time") from error
        if not 0 < self.bar_us <= DAY_US:
            raise FieldsError(f"the bar is {bar}; expected more than nothing and a day at most")

    @property
    def daily(self) -> bool:
        """Whether rows are days."""
        return self.bar_us == DAY_US

    def read(self, times: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the bars and the sessions of timestamps, each [n_rows].

        Parameters
        ----------
        times : datetime64 array [n_rows]
        """
        if self.daily:
            days = np.asarray(times, "datetime64[D]").astype(np.int64)
            return days, days
        stamps = np.asarray(times, "datetime64[us]").astype(np.int64)
        return stamps // self.bar_us, stamps // DAY_US


def clock_of(times: Any, bar: Any = None) -> Clock:
    """Give the clock of a history: of `bar`, or of what lies between its rows.

    Days where the timestamps are days (all at midnight); else the shortest time between two rows.
    """
    if bar is not None:
        return Clock(bar)
    stamps = np.asarray(times)
    if stamps.dtype.kind != "M" or np.datetime_data(stamps.dtype)[0] in ("Y", "M", "W", "D"):
        return Clock()
    own = stamps.astype("datetime64[us]").astype(np.int64)
    apart = np.diff(own)
    if not (own % DAY_US).any() or not len(apart):
        return Clock()
    least = int(apart.min())
    if least <= 0:
        raise FieldsError("timestamps must increase from row to row")
    return Clock(np.timedelta64(min(least, DAY_US), "us"))
