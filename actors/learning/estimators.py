"""Registered estimators: put, list, delete, and what they predict."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.learning.features import Window, feature_values, known_names
from actors.learning.keeper import Keeper
from actors.reading.columns import Named
from actors.reading.confidence import confidence_score
from actors.reading.slices import Slices, row_of, unknown_symbols
from contracts import learning_requests as lr
from contracts.answers import Calculation, Page
from contracts.errors import InvalidInput
from contracts.frames import decode
from contracts.settings import Settings
from contracts.work import new_id
from store import LRU, Version
from store.estimator_store import Estimator, EstimatorStore

REMOVED_REMEMBERED = 256
NAMED_MOST = 20


class Estimators:
    """The methods of the factor library's actor that keep estimators and ask them."""

    slices: Slices
    settings: Settings

    def open_estimators(self) -> None:
        """Open the store; a process is started when a prediction is first asked for."""
        self.estimators = EstimatorStore(self.settings.store_path)
        self.keeper = Keeper()
        self._deleted: LRU[str, str] = LRU(REMOVED_REMEMBERED)

    def put_estimator(self, request: lr.PutEstimator) -> Calculation:
        """Load a file in a process of its own, try it out, and keep it."""
        content = _content(request.estimator)
        found = self.keeper.try_out(content, request.trusted, request.features)
        assert request.request_id is not None
        made = Estimator(
            request.estimator_id,
            features=tuple(request.features),
            trusted=tuple(request.trusted),
            description=request.description,
            **found,
        )
        kept = self.estimators.put(made, content, request.request_id)
        self.keeper.forget(kept.estimator_id)
        return Calculation(_summary(kept), f"the estimator {kept.estimator_id} is at version {kept.version}", 1.0)

    def list_estimators(self, request: lr.ListEstimators) -> Page:  # noqa: ARG002
        """List the registered estimators."""
        rows = [_summary(kept) for kept in self.estimators.all()]
        return Page({"estimators": rows, "count": len(rows)})

    def delete_estimator(self, request: lr.DeleteEstimator) -> Calculation:
        """Remove an estimator; a repeated request is answered as the first was."""
        name = request.estimator_id
        if request.request_id is None or self._deleted.get(request.request_id) != name:
            self.estimators.delete(name)
            self.keeper.forget(name)
            self._deleted.put(request.request_id or new_id(), name)
        return Calculation({"estimator_id": name, "deleted": True}, f"the estimator {name} is removed", 1.0)

    def predict(self, request: lr.Predict) -> Calculation:
        """Predict for symbols of a model on a date, or for given features."""
        kept = self.estimators.get(request.estimator_id)
        if request.features is not None:
            names, matrix = _given(request.features, kept.features)
            version, date = None, None
        else:
            version = self.slices.head(request.model_id)
            names, matrix, date = self._of_model(request, version, kept)
        whole = np.ones(len(matrix), bool) if kept.allows_missing else np.isfinite(matrix).all(axis=1)
        values = np.full(len(matrix), np.nan)
        if whole.any():
            values[whole] = self.keeper.predict(
                kept.estimator_id,
                lambda: (self.estimators.content(kept), kept.trusted, kept.features),
                matrix[whole],
            )
        n_made = int(np.isfinite(values).sum())
        details = {
            "estimator_id": kept.estimator_id,
            "estimator_version": kept.version,
            "features": list(kept.features),
            "n_without_features": int((~whole).sum()),
            "without_features": [names[i] for i in np.flatnonzero(~whole)[:NAMED_MOST]],
        }
        return Calculation(
            values=Named(names, values),
            message=f"{n_made} of {len(names)} predictions" + (f" on {date}" if date else ""),
            confidence_score=confidence_score(n_made / max(len(names), 1), n_made, 1),
            model_version=None if version is None else version.manifest.version,
            details=details if date is None else {"date": date, **details},
        )

    def _of_model(
        self, request: lr.Predict, version: Version, kept: Estimator
    ) -> tuple[list[str], NDArray[np.float64], str]:
        model_id = version.manifest.model_id
        names = self._features(request.model_id, version, list(kept.features))
        if len(names) != len(kept.features):
            raise InvalidInput("two features of the estimator are the same factor", field="estimator_id")
        row = version.manifest.n_dates - 1
        if request.date_requested is not None:
            row = row_of(version, request.date_requested, model_id)
        day = slice(row, row + 1)
        if request.symbols is None:
            columns = np.flatnonzero(known_names(version, day)[0])
        elif any(symbol not in version.column for symbol in request.symbols):
            raise unknown_symbols(request.symbols, version.column, model_id, "symbols")
        else:
            columns = np.array([version.column[symbol] for symbol in request.symbols], dtype=np.intp)
        matrix = feature_values(version, names, day, self._window(version))[:, 0, columns].T
        return [version.symbols[i] for i in columns], matrix, str(version.date(row))

    if TYPE_CHECKING:

        def _features(self, model_id: str | None, version: Version, names: list[str]) -> list[str]: ...

        def _window(self, version: Version) -> Window: ...


def _content(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the file must be base64, without line breaks", field="estimator") from None
    if len(content) > lr.ESTIMATOR_BYTES:
        raise InvalidInput(f"a file has at most {lr.ESTIMATOR_BYTES:,} bytes", field="estimator")
    return content


def _given(table: bytes, features: tuple[str, ...]) -> tuple[list[str], NDArray[np.float64]]:
    """Read given features, [n_rows, n_features]; rows are named by their `symbol`, or numbered."""
    import polars as pl

    frame = decode(table)
    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise InvalidInput(f"the estimator needs a column {missing[0]!r}", field="features", rows=missing)
    wrong = [name for name in features if not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Null)]
    if wrong:
        raise InvalidInput(f"features.{wrong[0]} must be numbers", field=f"features.{wrong[0]}")
    matrix = frame.select([pl.col(name).cast(pl.Float64) for name in features]).fill_null(np.nan).to_numpy()
    if "symbol" not in frame.columns:
        return [str(i) for i in range(frame.height)], matrix
    names = frame["symbol"].cast(pl.String).to_list()
    if len(set(names)) < len(names) or None in names:
        raise InvalidInput("a symbol stands in two rows, or in none: rows are answered by it", field="features.symbol")
    return names, matrix


def _summary(kept: Estimator) -> dict[str, object]:
    return {
        "estimator_id": kept.estimator_id,
        "estimator_version": kept.version,
        "kind": kept.kind,
        "features": list(kept.features),
        "trusted": list(kept.trusted),
        "sha256": kept.sha256,
        "n_bytes": kept.n_bytes,
        "created_at": kept.created_at,
        "description": kept.description,
        "saved_by": kept.saved_by,
    }
