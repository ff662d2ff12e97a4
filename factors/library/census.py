"""The honest count: which factors of the catalogue compute on a panel, and how many of them are different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factors.library.catalogue import Catalogue
from factors.library.compiler import Library, compile_library
from factors.library.distinct import MIN_COVERAGE, MIN_DATES, Similarity, similarity
from factors.library.fields import computable, library_fields
from factors.panel import Array, Panel


@dataclass(frozen=True)
class Census:
    """What was counted on one panel.

    Attributes
    ----------
    counted : tuple of str
        Factors with a value for more than half of the listed names on some date, not the same for all.
    missing : dict of str to str
        The others, with the reason.
    similarity : Similarity
        Of the counted ones.
    n_dates, n_names : int
        Compared.
    """

    counted: tuple[str, ...]
    missing: Mapping[str, str]
    similarity: Similarity
    n_dates: int
    n_names: int


class _Coverage:
    """Follows, block by block, where a factor has values and whether they differ."""

    def __init__(self, library: Library, listed: NDArray[np.bool_]) -> None:
        self.listed = listed.sum(axis=1)
        self.covered = np.zeros(len(library.ids), dtype=bool)
        self.differs = np.zeros(len(library.ids), dtype=bool)

    def follow(self, first: int, block: Array) -> None:
        n_rows = block.shape[1]
        listed = np.maximum(self.listed[first : first + n_rows], 1)
        defined = np.isfinite(block)
        covered = defined.sum(axis=2) > MIN_COVERAGE * listed
        high = np.where(defined, block, -np.inf).max(axis=2)
        low = np.where(defined, block, np.inf).min(axis=2)
        self.covered |= covered.any(axis=1)
        self.differs |= (covered & (high > low)).any(axis=1)

    def reason(self, i: int) -> str | None:
        if not self.covered[i]:
            return f"no date with more than {MIN_COVERAGE:.0%} of the listed names"
        return None if self.differs[i] else "the same value for all names"


def census(
    catalogue: Catalogue,
    panel: Panel,
    *,
    ids: Iterable[str] | None = None,
    without: Iterable[str] = (),
    n_names: int | None = None,
    threads: int = 1,
) -> Census:
    """Compute the catalogue on a panel and compare every pair of factors that count there.

    Parameters
    ----------
    catalogue : Catalogue
    panel : Panel
        Compared on `MIN_DATES` of its dates, every second one, the last of them the panel's last.
    ids : iterable of str, optional
        Entries to look at; all by default.
    without : iterable of str
        Fields not to use even where the panel or a proxy offers them; factors that need them are missing.
    n_names : int, optional
        Compare the names that trade on most of those dates; all by default.

    Returns
    -------
    Census
    """
    inputs = library_fields(panel)
    chosen = catalogue.entries if ids is None else {name: catalogue.entries[name] for name in ids}
    whole = compile_library(chosen)
    available = inputs.available - frozenset(without)
    names, missing = computable(whole, available)
    library = compile_library({name: chosen[name] for name in names})
    listed = np.isfinite(panel.fields["close"])
    rows = np.arange(panel.n_dates - 1, -1, -2)[:MIN_DATES][::-1]
    columns = np.sort(np.argsort(-listed[rows].sum(axis=0), kind="stable")[:n_names])
    kept = {name: np.empty((len(rows), len(columns))) for name in names}
    coverage = _Coverage(library, listed)
    for first, block in library.run_blocks(inputs.fields, dates=panel.dates, groups=inputs.groups, threads=threads):
        coverage.follow(first, block)
        inside = (rows >= first) & (rows < first + block.shape[1])
        if inside.any():
            part = block[:, rows[inside] - first][:, :, columns]
            for i, name in enumerate(names):
                kept[name][inside] = part[i]
    reasons = {name: coverage.reason(i) for i, name in enumerate(names)}
    missing = {**missing, **{name: reason for name, reason in reasons.items() if reason}}
    counted = tuple(name for name in names if reasons[name] is None)
    alike = similarity({name: kept[name] for name in counted})
    return Census(counted, missing, alike, len(rows), len(columns))
