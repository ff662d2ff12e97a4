"""A day that is on its way: its row beside the last one of the model, as both will be stored if nothing adjusts it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from actors.library.day import LibraryDay
from actors.reading.features import features_panel, intake_of_days
from actors.reading.panels import whole_panel
from actors.reading.slices import settings_of
from contracts.requests import AppendDay
from factors.panel.panel import Panel
from store import Version


class Foreseen(NamedTuple):
    """What a library gives if a day is stored as it came.

    Attributes
    ----------
    day : LibraryDay
    steps : int
        Days that the library will have taken since its warm-up.
    name : str
        Of the day that is meant; see `name_of_day`.
    """

    day: LibraryDay
    steps: int
    name: str


def with_next_day(version: Version, request: AppendDay) -> Panel | None:
    """Give the last day of a version and the day that a request appends, on the version's names.

    A guess: the model's door may adjust the day, or refuse it. Who uses it compares with what was stored.

    Returns
    -------
    Panel or None
        Two dates. None where the request has other than one day, a name that is new, or a day that does not come next.

    Raises
    ------
    EngineError
        The table cannot be read.
    """
    meta = version.manifest.meta
    intake = intake_of_days(request, settings_of(version).read_as)
    day = features_panel(request, intake, sectors=tuple(meta["category_names"].get("sector", ())))
    if day.n_dates != 1 or day.dates[0] <= version.dates[-1] or not version.column.keys() >= set(day.symbols):
        return None
    last = whole_panel(version, rows=1)
    fields = {name: values for name, values in day.fields.items() if name in last.fields}
    categories = {name: codes for name, codes in day.categories.items() if name in last.categories}
    return Panel.concat([last, replace(day, fields=fields, categories=categories)])
