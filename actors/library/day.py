"""Library factors across the names of a model on one date, and the forms of that cross-section."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.reading.slices import by_name
from contracts.errors import InvalidInput
from contracts.requests import CrossSectionForms
from factors.library.definitions.scores import CrossSection, cross_section
from store import LRU, Version

DEFAULT_LEVEL = "industry"
FORMS_KEPT = 2
FORMS = ("raw", "winsorised", "zscore", "neutralised", "rank")


class LibraryDay:
    """Values of factors on one date. A value: it does not change.

    Parameters
    ----------
    ids : tuple of str
    values : float64 [n_factors, n_assets]
        NaN where undefined.
    version : Version
        The model's version that they were made from.
    row : int
        The date's row there.
    groups : mapping of level to codes [n_assets]
        Below 0 for none.
    """

    def __init__(
        self,
        ids: tuple[str, ...],
        values: NDArray[np.float64],
        version: Version,
        row: int,
        groups: Mapping[str, NDArray[np.int16]],
    ) -> None:
        self.ids = ids
        self.values = values
        self.number = version.manifest.version
        self.symbols = version.symbols
        self.column = version.column
        self.date = version.dates[row]
        self._groups = groups
        self._forms: LRU[tuple[float, str], CrossSection] = LRU(FORMS_KEPT)
        self._making = threading.Lock()

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each factor."""
        return {name: i for i, name in enumerate(self.ids)}

    def without(self, name: str) -> LibraryDay:
        """Give the day without one of its factors."""
        rows = [i for i, other in enumerate(self.ids) if other != name]
        left = copy.copy(self)
        vars(left).pop("position", None)
        made = {"_forms": LRU(FORMS_KEPT), "_making": threading.Lock()}
        vars(left).update(ids=tuple(self.ids[i] for i in rows), values=self.values[rows], **made)
        return left

    def followed(
        self,
        ids: tuple[str, ...],
        values: NDArray[np.float64],
        date: np.datetime64,
        groups: Mapping[str, NDArray[np.int16]],
    ) -> LibraryDay:
        """Give the day that a version with one date more, on the same names, would have."""
        day = copy.copy(self)
        vars(day).pop("position", None)
        made = {"_forms": LRU(FORMS_KEPT), "_making": threading.Lock(), "_groups": groups}
        vars(day).update(ids=ids, values=values, number=self.number + 1, date=date, **made)
        return day

    def level(self, asked: str | None) -> str:
        """Name the groups to neutralise by. Raises `InvalidInput` when the model lacks the level asked for."""
        if asked is None:
            return DEFAULT_LEVEL if DEFAULT_LEVEL in self._groups else "none"
        if asked != "none" and asked not in self._groups:
            has = ", ".join(self._groups) or "no groups"
            raise InvalidInput(f"the model has no {asked}; it has {has}", field="neutralise_by")
        return asked

    def forms(self, request: CrossSectionForms) -> CrossSection:
        """Make every form of the cross-sections, as the request wants them; the last ones made are kept."""
        level = self.level(request.neutralise_by)
        key = (request.winsor_deviations, level)
        groups = None if level == "none" else self._groups[level]
        with self._making:  # both lanes of the actor ask, and a cross-section of everything is worth waiting for
            return self._forms.get_or_make(key, lambda: cross_section(self.values, groups, deviations=key[0]))

    def of_symbol(
        self, request: CrossSectionForms, ids: Sequence[str], column: int
    ) -> tuple[dict[str, float | None], dict[str, Any]]:
        """Give a name's value of each factor; and its place in the cross-section in every form, and the note."""
        rows = np.array([self.position[name] for name in ids], dtype=np.intp)
        forms = self.forms(request)
        places = {form: by_name(ids, getattr(forms, form)[rows, column]) for form in FORMS[1:]}
        return by_name(ids, self.values[rows, column]), {**places, **self.note(request, rows, ids)}

    def note(self, request: CrossSectionForms, rows: NDArray[np.intp], ids: Sequence[str]) -> dict[str, Any]:
        """Say of which date the forms are, and how they were made."""
        forms = self.forms(request)
        limits = np.stack([forms.lower[rows], forms.upper[rows]], axis=1)
        return {
            "date": str(self.date),
            "neutralised_by": self.level(request.neutralise_by),
            "winsor_deviations": request.winsor_deviations,
            "winsor_limits": {
                name: [None if bound != bound else bound for bound in pair]
                for name, pair in zip(ids, limits.tolist(), strict=True)
            },
        }
