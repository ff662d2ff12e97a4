"""Features of a model: its factors and the library's, over days and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from actors.reading.slices import Day, caps_name
from contracts.errors import UnknownFactor
from store import Version

Scores = Callable[[NDArray[np.float64], NDArray[np.bool_], float], NDArray[np.float64]]
"""Clipped z-scores of rows, given which values are known and the bound; see `devices.cpu.standardize`."""
Window = Callable[[tuple[str, ...], slice], NDArray[np.float64]]
"""Values of library factors of some days, float64 [n_factors, n_days, n_assets]."""


def split_names(version: Version, names: Sequence[str], resolve: Callable[[list[str]], tuple[str, ...]]) -> list[str]:
    """Resolve feature names: factors of the model as they are, others as ids or aliases of the library, each once.

    Raises
    ------
    UnknownFactor
        Names those that are neither.
    """
    own = set(version.manifest.meta["factor_names"])
    out: list[str] = []
    wrong: list[str] = []
    for name in names:
        if name in own:
            out.append(name)
            continue
        try:
            out += resolve([name])
        except UnknownFactor:
            wrong.append(name)
    if wrong:
        raise UnknownFactor(
            f"{', '.join(wrong[:10])}: neither a factor of the model ({', '.join(sorted(own))}) nor of the library",
            field="factors",
            rows=wrong,
        )
    return list(dict.fromkeys(out))


def known_names(version: Version, days: slice) -> NDArray[np.bool_]:
    """Which names the model covers on which days, bool [n_days, n_assets]: those with a cap."""
    caps = np.asarray(version.day_asset(caps_name(version), days), dtype=np.float64)
    known: NDArray[np.bool_] = np.isfinite(caps) & (caps > 0.0)
    return known


def feature_values(version: Version, names: Sequence[str], days: slice, window: Window) -> NDArray[np.float64]:
    """Read or compute features, float64 [n_features, n_days, n_assets]; NaN where there is none.

    A style score is the stored one; a missing one stays missing, though an exposure counts it as the average. Sectors
    and the market are exposures: 1 or 0, or shares of a name in several sectors.
    """
    meta = version.manifest.meta
    styles, sectors = list(meta["style_names"]), list(meta["category_names"].get("sector", ()))
    known = known_names(version, days)
    out = np.full((len(names), *known.shape), np.nan)
    library = tuple(name for name in names if name not in meta["factor_names"])
    computed = dict(zip(library, window(library, days), strict=True)) if library else {}
    scores = np.asarray(version.day_asset("scores", days)) if set(names) & set(styles) else None
    places = [Day(version, t) for t in range(days.start, days.stop)] if set(names) & set(sectors) else []
    for row, name in zip(out, names, strict=True):
        if name in computed:
            row[:] = computed[name]
        elif scores is not None and name in styles:
            row[:] = scores[:, styles.index(name)]
        elif name in sectors:
            row[:] = np.array([day.sector(sectors.index(name)) for day in places])
        else:
            row[:] = 1.0
    out[:, ~known] = np.nan
    return out


def in_form(
    version: Version, names: Sequence[str], values: NDArray[np.float64], form: str, clip: float | None, scores: Scores
) -> NDArray[np.float64]:
    """Give features in a form, [n_features, n_days, n_assets], which must be of all names of the model.

    Styles and library factors are scored across the names of a date that have the value; the market and sectors are
    exposures of 0 to 1, and stay as they are.
    """
    if form == "raw":
        return values
    own = set(version.manifest.meta["factor_names"]) - set(version.manifest.meta["style_names"])
    at = [i for i, name in enumerate(names) if name not in own]
    if not at:
        return values
    rows = values[at].reshape(-1, values.shape[-1])
    known = np.isfinite(rows)
    out = values.copy()
    made = scores(np.where(known, rows, 0.0), known, np.inf if clip is None else clip)
    out[at] = made.reshape(len(at), *values.shape[1:])
    return out
