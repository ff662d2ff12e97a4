"""Registered estimators: put, list, delete, and what they predict."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.learning.features import Window, feature_values, in_form, known_names
from actors.learning.keeper import Keeper
from actors.reading.columns import Named
from actors.reading.confidence import confidence_score
from actors.reading.features import intake_of
from actors.reading.slices import Slices, row_of, unknown_symbols
from actors.runtime.device_user import DeviceUser
from contracts import learning_requests as lr
from contracts.answers import Calculation, Page
from contracts.errors import InvalidInput
from contracts.frames import decode
from contracts.operations import OPERATIONS
from contracts.settings import Settings
from contracts.work import Device, new_id
from devices import cpu
from devices.kernels import KERNELS
from factors.learning.dense import DenseNetwork
from factors.panel.intake import DEFAULT
from factors.panel.tables import typed
from store import LRU, Version
from store.estimator_store import Estimator, EstimatorStore
from store.place import store_place

if TYPE_CHECKING:
    import polars as pl

REMOVED_REMEMBERED = 256
NAMED_MOST = 20
TEXTS_NAMED = 3
NETWORKS_KEPT = 8
_PREDICT = OPERATIONS["predict"]


class Estimators(DeviceUser):
    """The methods of the factor library's actor that keep estimators and ask them."""

    slices: Slices
    settings: Settings

    def open_estimators(self) -> None:
        """Open the store; a process is started when a prediction is first asked for."""
        self.estimators = EstimatorStore(store_place(self.settings))
        self.keeper = Keeper()
        self._deleted: LRU[str, str] = LRU(REMOVED_REMEMBERED)
        self._networks: LRU[str, DenseNetwork] = LRU(NETWORKS_KEPT)

    def put_estimator(self, request: lr.PutEstimator) -> Calculation:
        """Load a file in a process of its own, try it out, and keep it."""
        content = _content(request.estimator)
        found, network = self.keeper.try_out(content, request.trusted, request.features, request.format)
        assert request.request_id is not None
        made = Estimator(
            request.estimator_id,
            features=tuple(request.features),
            trusted=tuple(request.trusted),
            description=request.description,
            form=request.format,
            features_form=request.features_form,
            features_clip=request.features_clip,
            **found,
        )
        kept = self.estimators.put(made, content, request.request_id, network)
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
            names, matrix = _given(request, request.features, kept.features)
            version, date = None, None
        else:
            version = self.slices.head(request.model_id)
            names, matrix, date = self._of_model(request, version, kept)
        whole = np.ones(len(matrix), bool) if kept.allows_missing else np.isfinite(matrix).all(axis=1)
        values = np.full(len(matrix), np.nan)
        device = Device.CPU
        if whole.any():
            values[whole], device = self._ask(kept, matrix[whole])
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
            device=device,
        )

    def _ask(self, kept: Estimator, matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], Device]:
        """Predict for whole rows, and say on what: a network of dense layers on the device that is fastest for it."""
        if not kept.network:
            made = self.keeper.predict(
                f"{kept.estimator_id} {kept.version}",  # a job may have registered another since
                lambda: (self.estimators.content(kept), kept.trusted, kept.features),
                matrix,
            )
            return made, Device.CPU
        network = self._networks.get(kept.network)
        if network is None:
            network = DenseNetwork.from_bytes(self.estimators.network(kept))
            self._networks.put(kept.network, network)
        given = (network.scaled(matrix), network.activations, *network.layers)
        sizes = KERNELS["network"].sizes(*given)
        # Each network is compared with the CPU by itself: how far short numbers err depends on the weights.
        values, device = self.devices.run("network", sizes, _PREDICT.tolerance, lambda: given, of=kept.network[:16])
        return values[:, 0], device

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
            raise unknown_symbols(request.symbols, version, "symbols")
        else:
            columns = np.array([version.column[symbol] for symbol in request.symbols], dtype=np.intp)
        values = feature_values(version, names, day, self._window(version, request.min_periods))
        # As a data set has them: scored on the CPU.
        values = in_form(version, names, values, kept.features_form, kept.features_clip, cpu.standardize)
        matrix = values[:, 0, columns].T
        return [version.symbols[i] for i in columns], matrix, str(version.date(row))

    if TYPE_CHECKING:

        def _features(self, model_id: str | None, version: Version, names: list[str]) -> list[str]: ...

        def _window(self, version: Version, min_periods: str) -> Window: ...


def _content(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the file must be base64, without line breaks", field="estimator") from None
    if len(content) > lr.ESTIMATOR_BYTES:
        raise InvalidInput(f"a file has at most {lr.ESTIMATOR_BYTES:,} bytes", field="estimator")
    return content


def _given(request: lr.Predict, table: bytes, features: tuple[str, ...]) -> tuple[list[str], NDArray[np.float64]]:
    """Read given features, [n_rows, n_features]; rows are named by their `symbol`, or numbered."""
    import polars as pl

    intake = intake_of(request, DEFAULT)
    frame = typed(decode(table), intake)
    called = {name: column for column, name in {**intake.columns, intake.symbol_col: "symbol"}.items()}
    for name, column in called.items():
        if column != name and column in frame.columns:
            if name in frame.columns:
                raise InvalidInput(f"the table has both {column!r} and {name!r}", field=f"features.{name}")
            frame = frame.rename({column: name})
    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise InvalidInput(f"the estimator needs a column {missing[0]!r}", field="features", rows=missing)
    wrong = [name for name in features if not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Null)]
    if wrong:
        raise _no_numbers(wrong[0], frame)
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
        "format": kept.form,
        "features_form": kept.features_form,
        "features_clip": kept.features_clip,
        "network": kept.network != "",
    }


def _no_numbers(name: str, frame: pl.DataFrame) -> InvalidInput:
    """Name a column that is no number, with the rows and the first texts that make it so."""
    import polars as pl

    said, rows = f"features.{name} must be numbers", None
    if frame[name].dtype == pl.String:
        texts = frame[name]
        at = (texts.is_not_null() & texts.str.strip_chars().cast(pl.Float64, strict=False).is_null()).arg_true()
        if len(at):
            names = frame["symbol"].cast(pl.String) if "symbol" in frame.columns else None
            rows = [names[i] if names is not None else str(i) for i in at.head(NAMED_MOST).to_list()]
            held = ", ".join(map(repr, texts.gather(at).unique(maintain_order=True).head(TEXTS_NAMED).to_list()))
            said += f": it holds {held}; na_values of the intake can name what stands for a missing number"
    return InvalidInput(said, field=f"features.{name}", rows=rows)
