"""What of a model's history a correction leaves as it is: the newest state before its first day that is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from contracts.errors import ModelUnreadable, UnknownModel
from store import Checkpoint, Ground, ModelStore, StoredState, Version

CONTINUES = "continues"
"""In a manifest's meta: the version whose days a correction went on from, and how many of them."""


class Before(NamedTuple):
    """A state that was kept of the days before a date.

    Parameters
    ----------
    version
        Whose first days they are.
    n_dates
        How many.
    checkpoint
        None where they are all days of the version.
    """

    version: Version
    n_dates: int
    checkpoint: Checkpoint | None = None

    @property
    def ground(self) -> Ground:
        """What a commit goes on from."""
        return Ground(self.version.manifest.version, self.n_dates)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names that were known by then."""
        symbols = self.version.symbols
        return symbols if self.checkpoint is None else symbols[: self.checkpoint.n_assets]

    def state(self, last: int) -> StoredState:
        """Read what was carried, and the last days. Raises `ModelUnreadable`."""
        if self.checkpoint is None:
            return self.version.state(last)
        return self.version.state_at(self.checkpoint, last)


def state_before(store: ModelStore, head: Version, day: np.datetime64) -> Before | None:
    """Give the longest state that is kept of days before a date that the newest version has unchanged.

    Checkpoints of the newest version are looked at beside older versions. One that cannot be read is passed over.
    """
    kept = _version_before(store, head, str(day))
    had, most = kept.manifest.n_dates if kept else 0, head.rows_before(day)
    for one in reversed(head.manifest.checkpoints):
        if had < one.n_dates <= most:
            try:
                head.state_at(one, 1)
            except ModelUnreadable:
                continue
            return Before(head, one.n_dates, one)
    return Before(kept, had) if kept else None


def continued(before: Before) -> dict[str, Any]:
    """Give what the manifest of a version says that goes on from there."""
    return {CONTINUES: list(before.ground)}


def _version_before(store: ModelStore, head: Version, date: str) -> Version | None:
    """Give the longest kept version that ends before a date and whose days the newest version has unchanged.

    Versions from `since` on differ by added days only. What a correction went on from is part of the history too, and
    so are the versions before it, back to its own `since`.
    """
    model_id, until, most = head.manifest.model_id, head, head.manifest.n_dates
    while True:
        for number in range(until.manifest.version, until.manifest.since - 1, -1):
            try:
                found = until if number == until.manifest.version else store.version(model_id, number)
            except UnknownModel:
                return None
            blocks = found.manifest.blocks
            if blocks and found.manifest.n_dates <= most and blocks[-1].last_date < date:
                return found
        continues = until.manifest.meta.get(CONTINUES)
        if continues is None:
            return None
        # An earlier release noted the version alone, all of whose days were gone on from.
        number, n_dates = continues if isinstance(continues, list) else (continues, most)
        try:
            until = store.version(model_id, int(number))
        except UnknownModel:
            return None
        most = min(most, int(n_dates))
