"""What a comparison of two implementations sees of names that list late, leave and pause."""

import numpy as np

AFTER = 60
"""Rows after a listing or a return in which a window of a quarter still holds what was before."""


def troubled(fields):
    """Mark the rows after a late listing, those after a pause, and those after a name has left.

    Returns
    -------
    dict of {"late", "back", "gone"} to bool [n_dates, n_assets]
    """
    listed = np.isfinite(fields["close"])
    rows = np.arange(len(listed))[:, None]
    first = listed.argmax(axis=0)
    begun = rows >= first
    paused = np.maximum.accumulate(np.where(begun & ~listed, rows, -AFTER - 1), axis=0)
    last = len(listed) - 1 - listed[::-1].argmax(axis=0)
    return {
        "late": listed & (first > 0) & (rows < first + AFTER),
        "back": listed & (rows - paused <= AFTER),
        "gone": rows > last,
    }


class Seen:
    """Counts over a family's factors: cells with a value of both, cells where one of them is missing, by trouble."""

    def __init__(self, fields):
        self.troubled = troubled(fields)
        self.names = {name: int(cells.any(axis=0).sum()) for name, cells in self.troubled.items()}
        self.values = dict.fromkeys(("all", *self.troubled), 0)
        self.missing = {}

    def add(self, factor, ours, theirs, there):
        """Count one factor's cells where `there` is true."""
        a, b = np.isfinite(ours) & there, np.isfinite(theirs) & there
        self.values["all"] += int((a & b).sum())
        for name, cells in self.troubled.items():
            self.values[name] += int((a & b & cells).sum())
        if (a != b).any():
            self.missing[factor] = int((a & ~b).sum()), int((b & ~a).sum())
