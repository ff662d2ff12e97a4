"""The operations of learning, on the actor that holds the factor library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.learning.dataset import (
    folds_of,
    labels_of,
    manifest_of,
    refuse_heavy,
    refuse_large,
    split_columns,
    table_of,
)
from actors.learning.features import Window, feature_values, in_form, known_names, split_names
from actors.library.formulas import Formulas
from actors.library.values import window_values
from actors.reading.confidence import confidence_score, share
from actors.reading.slices import Slices, by_name, row_of, rows_between, unknown_symbols
from actors.runtime.device_user import DeviceUser
from contracts import learning_requests as lr
from contracts.answer_table import ArrowValues
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.operations import OPERATIONS
from contracts.settings import Settings
from contracts.work import Device
from devices import cpu
from store import Version

_FEATURES = OPERATIONS["factor_features"]


class Learning(DeviceUser):
    """The methods of the factor library's actor that make features and data sets."""

    slices: Slices
    formulas: Formulas
    settings: Settings

    def factor_features(self, request: lr.FactorFeatures) -> Calculation:
        """Features of a date by symbol, or of a period as a table."""
        version = self.slices.head(request.model_id)
        names = list(version.manifest.meta["factor_names"])
        if request.factors is not None:
            names = self._features(request.model_id, version, request.factors)
        columns = _columns(version, request.symbols)
        if request.of_period:
            return self._of_period(request, version, names, columns)
        last = version.manifest.n_dates - 1
        model_id, date = version.manifest.model_id, request.date_requested
        row = last if date is None else row_of(version, date, model_id)
        day = slice(row, row + 1)
        known = known_names(version, day)[0]
        if request.symbols is None:
            columns = np.flatnonzero(known)
        features, device = self._features_of(version, names, day, request)
        values = features[:, 0, columns].T
        day_text = str(version.date(row))
        score = confidence_score(share(known[columns]), int(known.sum()), len(names))
        return Calculation(
            values={version.symbols[i]: by_name(names, x) for i, x in zip(columns, values, strict=True)},
            message=f"{len(columns)} symbols by {len(names)} factors on {day_text}",
            confidence_score=score,
            model_version=version.manifest.version,
            details={"date": day_text, "columns": names},
            device=device,
        )

    def _of_period(
        self, request: lr.FactorFeatures, version: Version, names: list[str], columns: NDArray[np.intp]
    ) -> Calculation:
        days = rows_between(version, request.start_date, request.end_date, version.manifest.model_id)
        refuse_large((days.stop - days.start) * len(columns) * (len(names) + 2))
        refuse_heavy(version, days, names)
        rows = _rows(version, days, columns)
        features, device = self._features_of(version, names, days, request)
        dates = version.dates_of(days)
        frame = table_of(dict(zip(names, features, strict=True)), dates, version.symbols, rows)
        n_known = int(rows.sum(axis=1).max(initial=0))
        return Calculation(
            values=ArrowValues.of(frame),
            message=f"{frame.height} rows by {len(names)} factors from {dates[0]} to {dates[-1]}",
            confidence_score=confidence_score(share(np.isfinite(features[:, rows])), n_known, len(names)),
            model_version=version.manifest.version,
            details={"start_date": str(dates[0]), "end_date": str(dates[-1]), "columns": frame.columns},
            device=device,
        )

    def _features_of(
        self, version: Version, names: list[str], days: slice, request: lr.FactorFeatures
    ) -> tuple[NDArray[np.float64], Device]:
        """Give features, [n_features, n_days, n_assets], in the form that was asked for, and what scored them."""
        values = feature_values(version, names, days, self._window(version, request.min_periods))
        used = [Device.CPU]

        def scores(rows: NDArray[np.float64], known: NDArray[np.bool_], bound: float) -> NDArray[np.float64]:
            made, used[0] = self.devices.run(
                "standardize", rows.shape, _FEATURES.tolerance, lambda: (rows, known, bound)
            )
            return np.asarray(made)

        return in_form(version, names, values, request.form, request.clip, scores), used[0]

    def dataset(self, request: lr.Dataset) -> Calculation:
        """Features with forward returns, folds, and a manifest."""
        version = self.slices.head(request.model_id)
        names = list(version.manifest.meta["style_names"])
        if request.factors is not None:
            names = self._features(request.model_id, version, request.factors)
        columns = _columns(version, request.symbols)
        days = rows_between(version, request.start_date, request.end_date, version.manifest.model_id)
        dates = version.dates_of(days)
        folds = folds_of(request, len(dates))
        n_columns = 3 + len(folds.marks) + len(names) + len(request.horizons)
        refuse_large(len(dates) * len(columns) * n_columns)
        refuse_heavy(version, days, names)
        rows = _rows(version, days, columns)
        values = feature_values(version, names, days, self._window(version, request.min_periods))
        # On the CPU, so that the hash of a manifest is the same on every machine.
        features = in_form(version, names, values, request.form, request.clip, cpu.standardize)
        panels = split_columns(folds) | dict(zip(names, features, strict=True)) | labels_of(version, days, request)
        frame = table_of(panels, dates, version.symbols, rows)
        manifest = manifest_of(request, version, frame, folds, dates, names, self.formulas.digest)
        if request.sha256 is not None and request.sha256 != manifest["sha256"]:
            raise InvalidInput(
                f"the data are not those of the manifest: they have the hash {manifest['sha256']}; corrected days, "
                "other definitions of factors or another request make other data",
                field="sha256",
            )
        return Calculation(
            values=ArrowValues.of(frame),
            message=f"{frame.height} rows by {len(names)} features, {len(request.horizons)} labels, "
            f"{len(folds.marks)} splits from {dates[0]} to {dates[-1]}",
            confidence_score=confidence_score(
                share(np.isfinite(features[:, rows])), int(rows.sum(axis=1).max(initial=0)), len(names)
            ),
            model_version=version.manifest.version,
            details={"manifest": manifest, "columns": frame.columns},
        )

    def _features(self, model_id: str | None, version: Version, names: list[str]) -> list[str]:
        """Resolve feature names, and refuse those that the model's data cannot compute."""
        found = split_names(version, names, self.formulas.resolve)
        taken = [name for name in found if name in ("date", "symbol", "fold") or name.startswith("split_")]
        if taken:
            raise InvalidInput(f"{taken[0]!r} is a column of every table", field="factors", rows=taken)
        own = set(version.manifest.meta["factor_names"])
        self._refuse_uncomputable(model_id, tuple(name for name in found if name not in own))
        return found

    def _window(self, version: Version, min_periods: str) -> Window:
        formulas = self.formulas.under(min_periods)

        def window(ids: tuple[str, ...], days: slice) -> NDArray[np.float64]:
            n_days = days.stop - days.start
            return window_values(formulas, ids, version, days.stop - 1, n_days, self.settings.library_threads)[0]

        return window

    if TYPE_CHECKING:

        def _refuse_uncomputable(self, model_id: str | None, ids: tuple[str, ...]) -> None: ...


def _columns(version: Version, symbols: list[str] | None) -> NDArray[np.intp]:
    if symbols is None:
        return np.arange(len(version.symbols))
    if any(symbol not in version.column for symbol in symbols):
        raise unknown_symbols(symbols, version, "symbols")
    return np.array([version.column[symbol] for symbol in symbols], dtype=np.intp)


def _rows(version: Version, days: slice, columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which dates and names have a row, bool [n_days, n_assets]. Raises `InvalidInput` where none has."""
    rows = np.zeros((days.stop - days.start, len(version.symbols)), bool)
    rows[:, columns] = known_names(version, days)[:, columns]
    if not rows.any():
        raise InvalidInput("the model covers none of these symbols in the period", field="symbols")
    return rows
