"""Portfolio exposures, and what models there are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from actors.portfolio.reader import BookReader
from actors.reading.books import Book
from actors.reading.quality import quality_of
from actors.reading.slices import Slice, Slices, caps_name, settings_of
from actors.reading.versions import version_rows
from actors.runtime.base import batched
from actors.runtime.device_user import DeviceUser
from actors.runtime.queue import Outcome
from contracts import device_requests as dr
from contracts import job_requests as jr
from contracts import requests as rq
from contracts.answers import Calculation, Page
from contracts.errors import EngineError, ModelUnreadable, Unavailable, UnknownModel
from contracts.operations import OPERATIONS
from contracts.work import Device
from devices import calibration
from devices.detect import device_folder
from devices.routing import route_factor_workload

LARGEST = 10

_log = logging.getLogger(__name__)


class FactorExposureAnalysis(DeviceUser):
    """Answers from the latest slices; portfolios of one model and date are one matrix product."""

    def prepare(self) -> None:
        """Look for the devices, take in what was measured of them, and open the models that are there."""
        self.slices = Slices()
        self.books = BookReader(self.slices)
        self._tolerance = OPERATIONS["factor_exposures"].tolerance
        self.find_devices("factor_exposure_analysis")
        for model_id in self.slices.store.ids():
            try:
                self.slices.at(model_id)
            except Exception as error:  # noqa: BLE001  (one bad model is not the others' fault)
                _log.warning("the model %s is not opened beforehand: %s", model_id, error)

    def notes(self) -> dict[str, Any]:
        """Say what is cached."""
        return dict(self.slices.counters) if hasattr(self, "slices") else {}

    @batched
    def factor_exposures(self, batch: Sequence[rq.FactorExposures]) -> list[Outcome]:
        """Exposures of portfolios: ``x_p = sum_i w_pi X_i``, per unit of portfolio value."""
        answers: dict[int, Outcome] = {}
        slices: dict[tuple[str | None, Any], Slice | EngineError] = {}
        groups: dict[int, list[tuple[int, Slice, Book]]] = {}
        for i, request in enumerate(batch):
            key = (request.model_id, request.date_requested)
            found = slices.get(key)
            if found is None:
                found = slices[key] = self._slice(*key)
            if isinstance(found, EngineError):
                answers[i] = found
                continue
            try:
                if request.benchmark is not None or request.benchmark_weights is not None:
                    answers[i] = self._with_benchmark_or_proxies(request)
                    continue
                book = self.books.book(found, request)
            except EngineError as error:
                answers[i] = error
                continue
            groups.setdefault(id(found), []).append((i, found, book))
        for members in groups.values():
            exposures, device = self._exposures([book for _, _, book in members], members[0][1])
            for (i, found, book), row in zip(members, exposures, strict=True):
                # Each name of the model adds to the market, and one that is not covered makes it NaN: so nothing has to
                # be looked up of a book that is covered whole.
                if row[0] == row[0]:
                    answers[i] = self._exposure_answer(found, book, row, device)
                else:
                    answers[i] = self._in_part(found, book, batch[i])
        return [answers[i] for i in range(len(batch))]

    def _slice(self, model_id: str | None, date: Any) -> Slice | EngineError:
        try:
            return self.slices.at(model_id, date)
        except EngineError as error:
            return error

    def _exposures(self, books: list[Book], found: Slice) -> tuple[list[list[float]], Device]:
        """Exposures of books of one slice: by their holdings on the CPU, as one product on another device.

        Those of a book with names that the model does not cover are NaN.
        """

        def by_holdings() -> np.ndarray:
            # One product for each: a tenth of the time of one sum over the holdings of all, and no part of the matrix
            # is touched that nobody holds.
            return np.array([book.weights @ found.exposures_of(book.columns) for book in books])

        def as_matrices() -> tuple[np.ndarray, np.ndarray]:
            held = np.unique(np.concatenate([book.columns for book in books]))
            matrix = np.array([book.on(held) for book in books])
            matrix[[not found.known[book.columns].all() for book in books]] = np.nan
            return matrix, np.nan_to_num(found.exposures_of(held))

        n_held = sum([len(book.columns) for book in books])
        sizes = (len(books), max(n_held // len(books), 1), len(found.factor_names))
        made, device = self.devices.run("exposures", sizes, self._tolerance, as_matrices, by_holdings)
        rows: list[list[float]] = made.tolist()
        return rows, device

    def _exposure_answer(self, found: Slice, book: Book, row: list[float], device: Device) -> Calculation:
        return Calculation(
            values=dict(zip(found.factor_names, row, strict=True)),
            message=f"exposures of {np.count_nonzero(book.weights)} names on {found.date_text}",
            confidence_score=found.whole_confidence,
            model_version=found.number,
            device=device,
            details={"date": found.date_text, "coverage": 1.0, **book.told()},
        )

    def _in_part(self, found: Slice, book: Book, request: rq.FactorExposures) -> Outcome:
        """Exposures of a book with names that the model does not cover: without them, if that is what is asked."""
        known = found.known[book.columns]
        columns, weights = book.columns[known], book.weights[known]
        gross = float(np.abs(book.weights).sum())
        coverage = float(np.abs(weights).sum()) / gross if gross else 0.0
        if request.uncovered != "warn" or not coverage > 0.0:
            try:
                return self._with_benchmark_or_proxies(request)
            except EngineError as error:
                return error
        made = self._exposure_answer(found, book, (weights @ found.exposures_of(columns)).tolist(), Device.CPU)
        made.confidence_score = found.confidence(coverage)
        missing = found.version.names_of(np.sort(book.columns[~known]))
        made.details = {**made.details, "coverage": round(coverage, 6), "uncovered_symbols": missing}
        return made

    def _with_benchmark_or_proxies(self, request: rq.FactorExposures) -> Calculation:
        """Exposures of a book that the model does not cover whole, or of one beside its benchmark."""
        held = self.books.held(request)
        names = held.found.factor_names
        exposures = held.covered.weights @ np.nan_to_num(held.covered.exposures)
        details = held.details()
        if held.benchmark is not None:
            details["benchmark_exposures"] = dict(zip(names, exposures[1].tolist(), strict=True))
            details["active_exposures"] = dict(zip(names, (exposures[0] - exposures[1]).tolist(), strict=True))
        return Calculation(
            values=dict(zip(names, exposures[0].tolist(), strict=True)),
            message=f"exposures of {np.count_nonzero(held.book.weights)} names on {held.found.date_text}",
            confidence_score=held.found.confidence(held.coverage),
            model_version=held.found.number,
            details=details,
        )

    @batched
    def list_models(self, batch: Sequence[rq.Empty]) -> list[Outcome]:
        """Every model at its newest version."""
        models: list[dict[str, Any]] = []
        unreadable: list[dict[str, Any]] = []
        for model_id in self.slices.store.ids():
            try:
                damage = self.slices.head(model_id).damage
                if damage is not None:
                    raise damage
                models.append(self._status(model_id))
            except UnknownModel:  # deleted since the listing
                continue
            except (ModelUnreadable, Unavailable) as error:
                file = error.rows[0] if error.rows else None
                unreadable.append({"model_id": model_id, "file": file, "reason": error.detail})
            except (KeyError, IndexError, TypeError, ValueError) as error:  # a manifest that says less than it should
                reason = f"its manifest lacks something: {type(error).__name__} {error}"
                unreadable.append({"model_id": model_id, "file": None, "reason": reason})
        return [Page({"models": models, "count": len(models), "unreadable": unreadable})] * len(batch)

    def model_status(self, request: rq.ModelRef) -> Page:
        """A model at its newest version, with its largest names."""
        return Page({**self._status(request.model_id), "largest_symbols": self._largest(request.model_id)})

    def model_quality(self, request: rq.ModelRef) -> Page:
        """What looked wrong in the data of a model."""
        version = self.slices.head(request.model_id)
        about = {
            "model_id": request.model_id,
            "model_version": version.manifest.version,
            "policy": settings_of(version).intake.policy,
        }
        return Page({**about, **quality_of(version).to_dict()})

    def model_versions(self, request: jr.ModelVersions) -> Page:
        """The kept versions of a model, and what each changed."""
        rows = version_rows(self.slices.store, request.model_id)
        return Page({"model_id": request.model_id, "versions": rows, "count": len(rows)})

    def explain_routing(self, request: dr.ExplainRouting) -> Page:
        """Where a workload of some size would go, and why."""
        made = route_factor_workload(
            request.workload,
            request.assets,
            request.factors,
            dispatcher=self.journal.everything(self.devices),
            portfolios=request.portfolios,
            scenarios=request.scenarios,
            dates=request.dates,
        )
        return Page(made.to_dict())

    def calibrate_devices(self, request: dr.CalibrateDevices) -> Page:
        """Measure every device anew."""
        del request
        rows = calibration.seeded(self.devices, device_folder(), anew=True)
        found = self.devices.told()["found"]
        return Page({"success": True, "key": calibration.key(), "rows": rows, "devices": found})

    def _largest(self, model_id: str) -> list[str]:
        version = self.slices.head(model_id)
        last = version.manifest.n_dates - 1
        caps = np.nan_to_num(np.asarray(version.day_asset(caps_name(version), slice(last, last + 1))[0]))
        return [version.symbols[i] for i in np.argsort(-caps, kind="stable")[:LARGEST]]

    def _status(self, model_id: str) -> dict[str, Any]:
        manifest = self.slices.head(model_id).manifest
        meta = manifest.meta
        return {
            "model_id": model_id,
            "model_version": manifest.version,
            "operation": manifest.operation,
            "created_at": manifest.created_at,
            "n_dates": manifest.n_dates,
            "n_assets": manifest.n_assets,
            "first_date": manifest.blocks[0].first_date,
            "last_date": manifest.blocks[-1].last_date,
            "factors": list(meta["factor_names"]),
            "styles": list(meta["style_names"]),
            "sectors": list(meta["category_names"].get("sector", ())),
            "settings": meta["settings"],
            "recipe": meta["recipe"],
            "warnings": meta.get("warnings", []),
        }
