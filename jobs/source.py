"""Where a recompute reads from, some days at a time: a version of the store, or a table of the caller's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from contracts.errors import InvalidInput, first_line
from contracts.settings import Settings
from factors.errors import FactorError
from factors.factor_model.frames import features_panel
from factors.factor_model.recipe import Recipe
from factors.factor_model.settings import ModelSettings
from factors.panel.dates import parse_dates
from factors.panel.meaning import ID
from factors.panel.panel import Categories, Panel
from jobs.work import Work
from store import ModelStore, Version
from store.place import store_place

BLOCK_DAYS = 64
"""Days of a block: small enough that all factors of many names fit into memory, and the warm-up before it is little."""

OBJECTS = ("s3://", "gs://", "az://")
REMOTE: dict[str, Any] = {"timeout": "60s", "connect_timeout": "5s", "max_retries": 5, "retry_timeout_ms": 20_000}
"""Of what polars reads from an object store. By itself it tries a store that never answers for minutes."""


class Source(Protocol):
    """Days of a market on one axis of names, under the settings of a model."""

    dates: np.ndarray
    symbols: tuple[str, ...]
    fields: tuple[str, ...]
    settings: dict[str, Any]
    recipe: Recipe
    told: dict[str, Any]
    """What the manifest says of it."""

    def panel(self, days: slice, fields: tuple[str, ...] | None = None) -> Panel:
        """Read some days, of all fields or of some."""
        ...


class Place(NamedTuple):
    """What a worker needs to open the same source: the work, the version, and the store's settings are elsewhere."""

    work: Work
    version: int | None


def open_source(place: Place, current: Settings) -> Source:
    """Open what a work reads from.

    Raises
    ------
    UnknownModel, ModelUnreadable
        There is no such model, or the version was retired.
    InvalidInput
        The table cannot be read; names the argument.
    """
    store = ModelStore(store_place(current), current.keep_versions)
    work = place.work
    head = store.head(work.model_id)
    version = (
        head if place.version in (None, head.manifest.version) else store.version(work.model_id, place.version or 0)
    )
    stored = StoredSource(version)
    if work.data is not None:
        return TableSource(work.data, stored.settings_with(work.settings), stored.recipe)
    stored.settings = stored.settings_with(work.settings)
    return stored


class StoredSource:
    """The days of a version of the store."""

    def __init__(self, version: Version) -> None:
        meta = version.manifest.meta
        self.version = version
        self.dates, self.symbols = version.dates, version.symbols
        self.settings: dict[str, Any] = dict(meta["settings"])
        self.recipe = Recipe.from_dict(meta["recipe"])
        self.fields = tuple(meta["fields"])
        self._categories: Mapping[str, Any] = meta["category_names"]
        self.told = {"model_version": version.manifest.version, "since": version.manifest.since}

    def settings_with(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Give the model's settings, changed. Raises `FactorError` for one that does not exist."""
        return ModelSettings.to_dict(ModelSettings.from_dict(_merged(self.settings, changes)))

    def panel(self, days: slice, fields: tuple[str, ...] | None = None) -> Panel:
        """Read some days from the maps of the store."""
        version = self.version
        categories = self._categories if fields is None else {}
        return Panel(
            version.dates_of(days),
            self.symbols,
            {
                name: np.ascontiguousarray(version.day_asset(f"fields/{name}", days), dtype=np.float64)
                for name in (self.fields if fields is None else fields)
            },
            {
                name: Categories(np.asarray(version.day_asset(f"category/{name}", days)), tuple(words))
                for name, words in categories.items()
            },
        )


class TableSource:
    """The days of a table that polars scans: no more of it is in memory than the days that are read."""

    def __init__(self, uri: str, settings: dict[str, Any], recipe: Recipe) -> None:
        self._uri, self.settings, self.recipe = uri, settings, recipe
        self._model = ModelSettings.from_dict(settings)
        self._scan = scan(uri)
        intake = self._model.read_as
        names = self._collected(self._scan.head(0)).columns
        for column in (intake.date_col, intake.symbol_col, intake.returns_col, intake.mkt_cap_col):
            if column not in names:
                raise InvalidInput(f"{uri} has no column {column!r}; it has {', '.join(names[:30])}", field="data")
        self._day = pl.col(intake.date_col).map_batches(
            lambda column: parse_dates(column.alias("date"), intake.date_format), return_dtype=pl.Date
        )
        # What is known later than the day that it is about, and what a name is called last, cannot be read by days.
        of_all = {intake.available_at_col, *(column for column, name in intake.names.items() if name == ID), ID}
        self._whole = None if of_all.isdisjoint(names) else self._read(slice(None))
        written = self._collected(self._scan.select(pl.col(intake.date_col)).unique()).get_column(intake.date_col)
        try:
            days = parse_dates(written.alias("date"), intake.date_format).unique().drop_nulls().sort()
        except FactorError as error:
            raise InvalidInput(f"{uri}: {error}", field="data") from None
        if not len(days):
            raise InvalidInput(f"{uri} has no rows", field="data")
        self.dates = days.to_numpy().astype("datetime64[D]")
        self._look()
        self.told = {"data": uri}

    def _look(self) -> None:
        """Learn the names, the fields and the words of each category, which the days of a block may lack."""
        symbols: set[str] = set()
        words: dict[str, set[str]] = {}
        fields: dict[str, None] = {}
        for first in range(0, len(self.dates), BLOCK_DAYS):
            panel = self._read(slice(first, first + BLOCK_DAYS))
            symbols.update(panel.symbols)
            fields |= dict.fromkeys(panel.fields)
            for name, category in panel.categories.items():
                words.setdefault(name, set()).update(category.names)
        self.symbols, self.fields = tuple(sorted(symbols)), tuple(fields)
        self._words = {name: tuple(sorted(labels)) for name, labels in words.items()}

    def panel(self, days: slice, fields: tuple[str, ...] | None = None) -> Panel:
        """Read some days of the table, on the axis of all names."""
        panel = self._read(days).on_axis(self.symbols)
        if panel.symbols != self.symbols:
            raise InvalidInput(f"{self._uri} was changed while it was read: new names", field="data")
        empty = np.full(panel.shape, np.nan)
        wanted = self.fields if fields is None else fields
        categories = {
            name: Categories(
                panel.categories[name].renamed(labels)
                if name in panel.categories
                else np.full(panel.shape, -1, np.int16),
                labels,
            )
            for name, labels in self._words.items()
        }
        return replace(
            panel, fields={name: panel.fields.get(name, empty) for name in wanted}, categories=categories, findings=()
        )

    def _read(self, days: slice) -> Panel:
        whole = getattr(self, "_whole", None)
        if whole is not None:
            return Panel.select(whole, dates=days)
        frame = self._scan
        if days != slice(None):
            dates = self.dates[days]
            frame = frame.filter(self._day.is_between(dates[0].astype(object), dates[-1].astype(object)))
        try:
            return features_panel(self._collected(frame), None, self._model)
        except FactorError as error:
            raise InvalidInput(f"{self._uri}: {error}", field="data", rows=list(error.rows) or None) from None

    def _collected(self, frame: pl.LazyFrame) -> pl.DataFrame:
        try:
            return frame.collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InvalidInput(f"{self._uri} cannot be read: {first_line(error)}", field="data") from None


def scan(uri: str) -> pl.LazyFrame:
    """Scan a table where it lies.

    Raises
    ------
    InvalidInput
        There is nothing, or the library that reads this kind of table is not installed.
    """
    path = Path(uri.removeprefix("file://"))
    remote = "://" in uri and not uri.startswith("file://")
    options = REMOTE if uri.startswith(OBJECTS) else None
    if not remote and not path.exists():
        raise InvalidInput(f"there is nothing at {path}", field="data")
    try:
        if (path / "_delta_log").is_dir():
            return pl.scan_delta(str(path))
        if (path / "metadata").is_dir() and any((path / "metadata").glob("*.metadata.json")):
            return pl.scan_iceberg(str(max((path / "metadata").glob("*.metadata.json"))))
        if uri.endswith((".csv", ".csv.gz")):
            # As text: what reads the table makes dates and numbers of it, as of any other CSV, and guesses none.
            return pl.scan_csv(uri, infer_schema=False, storage_options=options)
        if not remote and path.is_dir():
            return pl.scan_parquet(path / "**/*.parquet", hive_partitioning=True)
        return pl.scan_parquet(uri if remote else path, storage_options=options)
    except ImportError as error:
        raise InvalidInput(f"{uri}: a library is missing that reads it: {first_line(error)}", field="data") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{uri} cannot be read: {first_line(error)}", field="data") from None


def digest_of(panel: Panel) -> bytes:
    """Hash what a panel holds, to the bit."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(panel.dates.astype(np.int64)).data)
    digest.update("\0".join(panel.symbols).encode())
    for name in sorted(panel.fields):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(panel.fields[name]).data)
    for name in sorted(panel.categories):
        digest.update("\0".join((name, *panel.categories[name].names)).encode())
        digest.update(np.ascontiguousarray(panel.categories[name].codes).data)
    return digest.digest()


def _merged(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(kept)
    for name, value in changes.items():
        old = out.get(name)
        out[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out
