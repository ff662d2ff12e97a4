"""Slices of models: what a reader needs of one date, cached by model version, mapped from the store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from operator import itemgetter

import numpy as np
import orjson

from actors.reading.confidence import confidence_score
from actors.reading.unknown import spelled
from contracts.errors import DateOutsideModel, InvalidInput, UnknownSymbol
from contracts.settings import settings
from factors.factor_model.settings import ModelSettings
from factors.panel.axis import Former, now_called
from factors.panel.frequency import periods_per_year
from factors.panel.memberships import NO_SHARES, SHARES, joined_codes, sector_rows, shares_table
from factors.portfolio.exposures import exposure_matrix
from factors.returns.date_tally import returns_told
from store import LRU, ModelStore, Version
from store.place import store_place

SLICES_KEPT = 64
OFTEN = 8
"""Questions after which a slice keeps the exposures of all names; most days are asked about once or twice."""


class Slice:
    """One date of one model version.

    Attributes
    ----------
    scores : float64 [n_styles, n_assets]
        Style scores, NaN where missing; mapped from the store.
    known : bool [n_assets]
        Covered names: those with a cap at the date.
    column : mapping
        Position of each name.
    """

    def __init__(self, model_id: str, version: Version, row: int) -> None:
        self.model_id = model_id
        self.version = version
        self.number = version.manifest.version
        self.date = version.date(row)
        self.date_text = str(self.date)
        self.row = row
        self.symbols = version.symbols
        self.column = version.column
        meta = version.manifest.meta
        self.factor_names: tuple[str, ...] = tuple(meta["factor_names"])
        self.style_names: tuple[str, ...] = tuple(meta["style_names"])
        self.day = Day(version, row)
        self.scores = self.day.scores
        self.known = self.day.known
        self.n_known = int(np.count_nonzero(self.known))
        self._asked = 0

    @cached_property
    def periods_per_year(self) -> float:
        """How many rows a year of the model has, from its dates."""
        return periods_per_year(self.version.dates)

    @cached_property
    def exposures(self) -> np.ndarray:
        """Exposures of all names, float64 [n_assets, n_factors], kept; see `exposures_of`."""
        return self.day.exposures_of(slice(None))

    @cached_property
    def whole_confidence(self) -> float:
        """Confidence score of what the date covers whole."""
        return self.confidence(1.0)

    def exposures_of(self, columns: np.ndarray) -> np.ndarray:
        """Exposures of some names, float64 [n_columns, n_factors], as `FactorModel.exposures` gives them.

        1 for the market, one-hot sectors, style scores: a missing score counts as 0, the market's average. The row of a
        name that is not covered is NaN. Once it is asked often the matrix of all names is kept.
        """
        self._asked += 1
        return self.exposures.take(columns, axis=0) if self._asked > OFTEN else self.day.exposures_of(columns)

    def scores_of(self, columns: np.ndarray) -> np.ndarray:
        """Style scores of some names, float64 [n_styles, n_columns]; a missing one counts as 0, as in exposures."""
        scores = self.scores[:, columns]
        return np.where(np.isnan(scores), 0.0, scores)

    def holdings(
        self, portfolio: Mapping[str, float], field: str = "portfolio_weights"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give a portfolio as positions and weights, [n_holdings]. Raises `UnknownSymbol` naming the symbols."""
        column = self.column
        try:
            # One call for all names: half the time of a loop. Of one name it would not give a tuple.
            found = itemgetter(*portfolio)(column) if len(portfolio) > 1 else [column[name] for name in portfolio]
        except KeyError:
            raise unknown_symbols(portfolio, self.version, field) from None
        n = len(portfolio)
        return np.fromiter(found, np.intp, n), np.fromiter(portfolio.values(), np.float64, n)

    def weights(self, portfolio: Mapping[str, float], field: str = "portfolio_weights") -> np.ndarray:
        """Put a portfolio on the asset axis, float64 [n_assets]. Raises `UnknownSymbol` naming the symbols."""
        out = np.zeros(len(self.symbols))
        columns, weights = self.holdings(portfolio, field)
        out[columns] = weights
        return out

    def confidence(self, coverage: float) -> float:
        """Confidence score of a result that covers `coverage` of what was asked."""
        return confidence_score(coverage, self.n_known, len(self.factor_names))

    def chosen(self, symbols: Sequence[str] | None) -> np.ndarray:
        """Positions of the symbols asked for; all names with exposures when none are named."""
        if symbols is None:
            return np.flatnonzero(self.known)
        try:
            return np.array([self.column[s] for s in symbols], dtype=np.intp)
        except KeyError:
            raise unknown_symbols(symbols, self.version, "symbols") from None


def unknown_symbols(asked: Iterable[str], version: Version, field: str) -> UnknownSymbol:
    """Make the error that names the symbols that are not in the model, and what those of before are called now."""
    return not_among(asked, version.column, f"model {version.manifest.model_id!r}", field, former_symbols(version))


def not_among(
    asked: Iterable[str], known: Collection[str], where: str, field: str, former: Former = ()
) -> UnknownSymbol:
    """Make the error that names the symbols that something lacks."""
    wrong = [symbol for symbol in asked if symbol not in known]
    are = "symbol is" if len(wrong) == 1 else "symbols are"
    said = f"{len(wrong)} {are} not in {where}: {', '.join(wrong[:10])}"
    said += now_called(wrong[:10], former) or spelled(wrong[:10], known)
    return UnknownSymbol(said, field=field, rows=wrong)


def former_symbols(version: Version) -> tuple[tuple[str, str], ...]:
    """Give the symbols that names of a model had before, each with what the name is called."""
    if "door/had" not in version.latest_names():
        return ()
    had = orjson.loads(bytes(np.asarray(version.latest("door/had"))))
    return tuple((before, version.symbols[place]) for before, places in had.items() for place in places)


class Day:
    """What exposures of one date are made of, mapped from the store.

    A new day is asked about portfolios of some names, and the matrix of all of them has a hundred times the cells.

    Attributes
    ----------
    scores : float64 [n_styles, n_assets]
    known : bool [n_assets]
    sectors : int16 [n_assets]
        Codes, -1 for none; of a name in several the largest.
    n_sectors : int
    codes : int16 [n_assets]
        As `sectors`; of a name in several a row of `shares`, counted from `n_sectors` on.
    shares : float64 [n_memberships, n_sectors]
    """

    def __init__(self, version: Version, row: int) -> None:
        days = slice(row, row + 1)
        caps = np.asarray(version.day_asset(caps_name(version), days)[0])
        self.scores = np.asarray(version.day_asset("scores", days)[0])
        self.n_sectors = len(version.manifest.meta["category_names"].get("sector", ()))
        self.sectors = (
            np.asarray(version.day_asset("category/sector", days)[0])
            if self.n_sectors
            else np.full(len(caps), -1, np.int16)
        )
        self.known = np.isfinite(caps) & (caps > 0.0)
        labels = version.manifest.meta["category_names"].get(SHARES, ())
        self.codes, self.shares = self.sectors, NO_SHARES
        if labels:
            several = np.asarray(version.day_asset(f"category/{SHARES}", days)[0])
            self.codes = joined_codes(self.sectors, several, self.n_sectors)
            sectors = version.manifest.meta["category_names"]["sector"]
            self.shares = shares_table(tuple(labels), tuple(sectors))

    def exposures_of(self, columns: np.ndarray | slice) -> np.ndarray:
        """Exposures of some names, float64 [n_columns, n_factors]; see `Slice.exposures_of`."""
        scores, known = self.scores[:, columns], self.known[columns]
        return exposure_matrix(scores, known, self.codes[columns], self.n_sectors, self.shares)

    def sector(self, number: int) -> np.ndarray:
        """Exposures of all names to one sector, float64 [n_assets]."""
        rows: np.ndarray = sector_rows(self.codes, self.n_sectors, self.shares)[:, number]
        return rows


def exposures_over(version: Version, days: slice, columns: np.ndarray) -> np.ndarray:
    """Exposures of some names on each of some days, float64 [n_days, n_columns, n_factors]; NaN where not covered."""
    caps = version.day_asset(caps_name(version), days, columns)
    scores = version.day_asset("scores", days, columns)
    names = version.manifest.meta["category_names"]
    n_sectors = len(names.get("sector", ()))
    codes = np.full(caps.shape, -1, np.int16)
    if n_sectors:
        codes = version.day_asset("category/sector", days, columns)
    shares, labels = NO_SHARES, names.get(SHARES, ())
    if labels:
        codes = joined_codes(codes, version.day_asset(f"category/{SHARES}", days, columns), n_sectors)
        shares = shares_table(tuple(labels), tuple(names["sector"]))
    return exposure_matrix(scores, np.isfinite(caps) & (caps > 0.0), codes, n_sectors, shares)


def settings_of(version: Version) -> ModelSettings:
    """Read the settings of a version; those of its model's newest versions are mostly the same, and kept."""
    return _settings(orjson.dumps(version.manifest.meta["settings"]))


@lru_cache(maxsize=64)
def _settings(written: bytes) -> ModelSettings:
    return ModelSettings.from_dict(orjson.loads(written))


def caps_name(version: Version) -> str:
    """Name of the caps that the model uses: cleaned ones where its recipe cleans them."""
    return "clean/market_cap" if "market_cap" in version.manifest.meta["cleaned"] else "fields/market_cap"


class Slices:
    """Opens models for reading; one `stat` per request when nothing changed. Bounded, least recently used go first."""

    def __init__(self, store: ModelStore | None = None) -> None:
        current = settings()
        self.store = store or ModelStore(
            store_place(current), current.keep_versions, current.checkpoint_days, current.checkpoints
        )
        self._slices: LRU[tuple[str, int, int], Slice] = LRU(SLICES_KEPT)

    @property
    def counters(self) -> dict[str, int]:
        """Count what was found, loaded and let go."""
        kept = self._slices
        return {"slice_hits": kept.hits, "slice_loads": kept.misses, "slice_evictions": kept.evictions}

    def head(self, model_id: str | None) -> Version:
        """Open a model's newest version. Raises `UnknownModel`, or `InvalidInput` when no model is named."""
        if model_id is None:
            raise InvalidInput("model_id must be given: no default model is loaded", field="model_id")
        return self.store.head(model_id)

    def at(self, model_id: str | None, date: dt.date | None = None) -> Slice:
        """Give the slice of a date, or of the last one. Raises `DateOutsideModel` naming the nearest dates."""
        version = self.head(model_id)
        assert model_id is not None
        row = version.manifest.n_dates - 1 if date is None else row_of(version, date, model_id)
        key = (model_id, version.manifest.version, row)
        return self._slices.get_or_make(key, lambda: Slice(model_id, version, row))


def row_of(version: Version, date: dt.date, model_id: str, field: str = "date_requested") -> int:
    """Find a date's row. Raises `DateOutsideModel` naming the range and the nearest dates."""
    wanted = np.datetime64(date, "D")
    row = version.rows_before(wanted)
    if row < version.manifest.n_dates and version.date(row) == wanted:
        return row
    dates = version.dates
    near = [str(d) for d in dates[max(row - 1, 0) : row + 1]]
    raise DateOutsideModel(
        f"{date} is not a date of model {model_id!r} ({dates[0]} .. {dates[-1]}); nearest: {', '.join(near)}",
        field=field,
        rows=near,
    )


def rows_between(version: Version, start: dt.date | None, end: dt.date | None, model_id: str) -> slice:
    """Find the rows of a period, both ends included. Raises `DateOutsideModel` when it holds no date of the model."""
    if start is None and end is None:
        return slice(0, version.manifest.n_dates)
    first = 0 if start is None else version.rows_before(np.datetime64(start, "D"))
    n_dates = version.manifest.n_dates
    last = n_dates if end is None else version.rows_before(np.datetime64(end, "D"), through=True)
    if first >= last:
        dates = version.dates
        raise DateOutsideModel(
            f"start_date {start} is after end_date {end}"
            if start is not None and end is not None and start > end
            else f"no date of model {model_id!r} ({dates[0]} .. {dates[-1]}) lies between {start} and {end}",
            field="start_date",
        )
    return slice(first, last)


def factor_returns_of(version: Version, days: slice) -> np.ndarray:
    """Give factor returns `[n_dates, K]` as they are told, NaN where a factor was not estimated."""
    return returns_told(
        np.asarray(version.day("factor_returns", days)), np.asarray(version.day("standard_errors", days))
    )


def returns_of_risk(version: Version, days: slice) -> np.ndarray:
    """Give the factor returns `[n_dates, K]` that risk is estimated from, NaN where one has no standard error."""
    errors = np.asarray(version.day("standard_errors", days))
    return np.where(np.isfinite(errors), np.asarray(version.day("factor_returns", days)), np.nan)


def by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    """Give a vector as {name: value}; null where undefined."""
    return {n: (v if v == v else None) for n, v in zip(names, values.tolist(), strict=True)}
