"""The honest count: which factors of the catalogue compute on a panel, and how many of them are different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factors.library.compile.compiler import Library, compile_library
from factors.library.definitions.catalogue import Catalogue
from factors.library.definitions.distinct import MIN_COVERAGE, MIN_DATES, Similarity, similarity
from factors.library.definitions.fields import LibraryFields, computable, library_fields
from factors.panel.panel import Array, Panel

SHORT_ROWS = 270


@dataclass(frozen=True)
class Census:
    """What was counted on one panel.

    Attributes
    ----------
    counted : tuple of str
        Factors with a value for more than half of the listed names on some date of the window, not the same for all.
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
    """Follows, block by block, where some factors have values and whether they differ."""

    def __init__(self, n_factors: int, listed: NDArray[np.bool_]) -> None:
        self.listed = np.maximum(listed.sum(axis=1), 1)
        self.covered = np.zeros(n_factors, dtype=bool)
        self.differs = np.zeros(n_factors, dtype=bool)

    def follow(self, rows: slice, block: Array) -> None:
        defined = np.isfinite(block)
        covered = defined.sum(axis=2) > MIN_COVERAGE * self.listed[rows]
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
        Compared on `MIN_DATES` of its dates, every second one, the last of them the panel's last: the window.
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
    names, missing = computable(whole, inputs.available - frozenset(without))
    listed = np.isfinite(panel.fields["close"])
    rows = np.arange(panel.n_dates - 1, -1, -2)[:MIN_DATES][::-1]
    columns = np.sort(np.argsort(-listed[rows].sum(axis=0), kind="stable")[:n_names])
    kept = {name: np.empty((len(rows), len(columns))) for name in names}
    reasons: dict[str, str | None] = {}
    for start, tier in _tiers(whole, names, int(rows[0])):
        library = compile_library({name: chosen[name] for name in tier})
        coverage = _Coverage(len(tier), listed)
        for first, block in _blocks(library, inputs, panel, start, threads):
            inside = slice(max(first, int(rows[0])), first + block.shape[1])
            if inside.start >= inside.stop:
                continue
            coverage.follow(inside, block[:, inside.start - first :])
            here = (rows >= inside.start) & (rows < inside.stop)
            part = block[:, rows[here] - first][:, :, columns]
            for i, name in enumerate(tier):
                kept[name][here] = part[i]
        reasons |= {name: coverage.reason(i) for i, name in enumerate(tier)}
    missing = {**missing, **{name: reason for name in names if (reason := reasons[name])}}
    counted = tuple(name for name in names if reasons[name] is None)
    alike = similarity({name: kept[name] for name in counted})
    return Census(counted, missing, alike, len(rows), len(columns))


def _tiers(library: Library, names: Iterable[str], first: int) -> Iterator[tuple[int, list[str]]]:
    """Split the factors into those that look back a year at most, begun that much before the window, and the rest."""
    names = list(names)
    short = {name for name in names if name not in library.recursive and library.lookback[name] <= SHORT_ROWS}
    for start, tier in ((max(0, first - SHORT_ROWS), short), (0, set(names) - short)):
        if tier:
            yield start, [name for name in names if name in tier]


def _blocks(
    library: Library, inputs: LibraryFields, panel: Panel, start: int, threads: int
) -> Iterator[tuple[int, Array]]:
    """Run a library from a row on; gives the panel's row of each block."""
    fields = {name: values[start:] for name, values in inputs.fields.items()}
    groups = {name: codes[start:] for name, codes in inputs.groups.items()}
    for first, block in library.run_blocks(fields, dates=panel.dates[start:], groups=groups, threads=threads):
        yield start + first, block
