"""Finding one's way in the library: the language's table for editors, and which factors are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.library.formulas import Formulas
from actors.library.values import window_values
from actors.reading.confidence import confidence_score
from actors.reading.panels import whole_panel
from actors.reading.slices import Slices, row_of
from contracts import library_requests as lr
from contracts.answers import Calculation, Page
from contracts.errors import InvalidInput
from contracts.settings import Settings
from factors.library.definitions.fields import computable, library_fields
from factors.library.definitions.scores import rank_correlations
from factors.library.language.listing import name_table, operator_table
from store import LRU, Version

MOST_VALUES = 40_000_000
"""Values of factors by date and name that are held while they are compared: 320 MB. Wide models get fewer dates."""
COMPARED_KEPT = 4
"""Comparisons of all factors that are kept: 1.5 MB each."""
LEAST_NAMES = 20
"""Names that two factors must have in common on a date: below it chance makes them alike."""

Compared = tuple[tuple[str, ...], NDArray[np.float32], int]


class Explorer:
    """The methods of the factor library's actor for whoever looks around in it."""

    slices: Slices
    formulas: Formulas
    settings: Settings

    def open_explorer(self) -> None:
        """Begin with nothing compared."""
        self._compared: LRU[tuple[str, int, str, int, int, str], Compared] = LRU(COMPARED_KEPT)

    def formula_language(self, request: lr.FormulaLanguage) -> Page:
        """Operators, fields, groups, derived names, shared definitions; and which fields the model's data have."""
        available = None
        if request.model_id is not None:
            available = library_fields(whole_panel(self.slices.head(request.model_id), rows=1)).available
        shared = {name: one.text for name, one in self.formulas.catalogue.definitions.items()}
        names = [
            *name_table(available),
            *({"name": name, "kind": "shared", "stands_for": text, "available": None} for name, text in shared.items()),
        ]
        return Page({"model_id": request.model_id, "operators": operator_table(), "names": names})

    def factor_neighbours(self, request: lr.FactorNeighbours) -> Calculation:
        """Mean daily rank correlations of one factor with every other that the model's data can compute."""
        version = self.slices.head(request.model_id)
        model_id = version.manifest.model_id
        end = version.manifest.n_dates - 1
        if request.date_requested is not None:
            end = row_of(version, request.date_requested, model_id)
        [name] = self.formulas.resolve([request.factor], "factor")
        able, missing = computable(self.formulas.library, library_fields(whole_panel(version, rows=1)).available)
        if name in missing:
            raise InvalidInput(f"{name} {missing[name]}", field="factor", rows=[name])
        ids, matrix, n_days = self._alike(version, able, end, request.window_days, request.min_periods)
        at = ids.index(name)
        row = matrix[at].astype(np.float64)
        row[at] = np.nan
        known = np.flatnonzero(np.isfinite(row))
        nearest = known[np.argsort(-np.abs(row[known]), kind="stable")][: request.most]
        details = {
            "factor": name,
            "date": str(version.dates[end]),
            "window_days": n_days,
            "compared": len(known),
            "not_comparable": len(ids) - 1 - len(known),
            "least_names": LEAST_NAMES,
            **self.formulas.aliased([request.factor]),
        }
        return Calculation(
            {ids[i]: float(row[i]) for i in nearest},
            f"{name} beside {len(known)} factors over {n_days} days",
            confidence_score(len(known) / max(len(ids) - 1, 1), n_days, 1),
            version.manifest.version,
            details=details,
        )

    def _alike(self, version: Version, ids: tuple[str, ...], end: int, window: int, min_periods: str) -> Compared:
        """Compare every two factors over the days up to a row, unless that was done of this very version."""
        n_days = max(1, min(window, end + 1, MOST_VALUES // max(len(ids) * len(version.symbols), 1)))
        head = version.manifest
        key = (head.model_id, head.version, head.request_id, end, n_days, min_periods)

        def compare() -> Compared:
            formulas = self.formulas.under(min_periods)
            values, _ = window_values(formulas, ids, version, end, n_days, self.settings.library_threads)
            return ids, rank_correlations(values, LEAST_NAMES).astype(np.float32), n_days

        found = self._compared.get(key)
        if found is None or found[0] != ids:  # a formula was registered, or forgotten
            found = compare()
            self._compared.put(key, found)
        return found
