"""The factor library on stored models: definitions, values, correlations, and formulas of the caller's own."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from actors.base import WorkloadActor
from actors.confidence import confidence_score
from actors.live_library import Formulas, LiveLibrary
from actors.panels import whole_panel
from actors.queue import Answer
from actors.slices import Slices, by_name, row_of, unknown_symbols
from contracts.errors import EngineError, InvalidInput, UnknownFactor
from contracts.work import Device, new_id
from factors.library import Catalogue, Expression, FormulaError, compile_library, parse
from factors.library.fields import computable, library_fields
from factors.library.scores import cross_section, rank_correlations
from store import Version

Batch = list[dict[str, Any]]
LIVE_KEPT = 2
REGISTERED_MOST = 500
"""Formulas of callers' own that are kept; one more is refused."""


class FactorLibrary(WorkloadActor):
    """Keeps the library of the models that were asked for current; one step per appended day."""

    def prepare(self) -> None:
        """Read the catalogue and the registered formulas, compile them, and load the kernels on a tiny panel."""
        self.slices = Slices()
        self._path = self.settings.store_path / "formulas.json"
        self._live: OrderedDict[str, LiveLibrary] = OrderedDict()
        self.formulas = Formulas(Catalogue.load(), _read(self._path))
        compile_library({"warm": "rank(close)"}).stream(4).warm(
            {"close": np.ones((2, 4))}, {}, np.array(["2020-01-02", "2020-01-03"], "datetime64[D]")
        )

    def notes(self) -> dict[str, Any]:
        """Give the counts of definitions and the models that are kept current."""
        if not hasattr(self, "formulas"):
            return {}
        catalogue = self.formulas.catalogue
        return {
            "factor_definitions_loaded": len(catalogue.entries),
            "aliases": len(catalogue.aliases),
            "registered": len(self.formulas.registered),
            "live_models": list(self._live),
        }

    # -- definitions

    def definitions(self, batch: Batch) -> list[Answer]:
        """All definitions, and which of them the model's data can compute."""
        return [self._definitions(request, None) for request in batch]

    def factor_category(self, batch: Batch) -> list[Answer]:
        """The definitions of one category."""
        return [self._definitions(request, request["category"]) for request in batch]

    def _definitions(self, request: dict[str, Any], category: str | None) -> dict[str, Any]:
        categories = dict(self.formulas.catalogue.categories())
        if self.formulas.registered:
            categories["registered"] = tuple(self.formulas.registered)
        if category is not None and category not in categories:
            known = ", ".join(sorted(categories))
            raise UnknownFactor(f"no category {category!r}; there are {known}", field="category")
        chosen = categories[category] if category is not None else self.formulas.library.ids
        ids, missing, proxies = self._computable(request["model_id"])
        able = set(ids)
        return {
            "body": {
                "loaded": len(chosen),
                "computable": sum(name in able for name in chosen),
                "missing": {name: reason for name, reason in missing.items() if name in set(chosen)},
                "model_id": request["model_id"],
                "proxies": proxies,
                "aliases": len(self.formulas.catalogue.aliases),
                "categories": {name: len(members) for name, members in categories.items()},
                "definitions": [self._describe(name) for name in chosen],
            }
        }

    def _computable(self, model_id: str | None) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
        """What a model's data can compute; without a model nothing, and the reason says so."""
        if model_id is None:
            return (), dict.fromkeys(self.formulas.library.ids, "no model is loaded"), {}
        fields = library_fields(whole_panel(self.slices.head(model_id), rows=1))
        ids, missing = computable(self.formulas.library, fields.available)
        return ids, missing, dict(fields.proxies)

    def _describe(self, name: str) -> dict[str, Any]:
        library = self.formulas.library
        common = {
            "id": name,
            "warmup": library.warmup[name],
            "inputs": list(library.inputs[name]),
            "recursive": name in library.recursive,
        }
        entry = self.formulas.catalogue.entries.get(name)
        if entry is None:
            return {**common, "category": "registered", "formula": self.formulas.registered[name].text}
        return {
            **common,
            "name": entry.name,
            "category": entry.category,
            "formula": entry.formula,
            "source": entry.source,
            "citation": entry.citation,
            "erratum": entry.erratum,
            "delay": entry.delay,
            "neutralisation": entry.neutralisation,
            "version": entry.version,
        }

    # -- values

    def calculate_factors(self, batch: Batch) -> list[Answer]:
        """Factors of a symbol: its value and its place in the cross-section."""
        return [self._calculate(request) for request in batch]

    def _calculate(self, request: dict[str, Any]) -> dict[str, Any]:
        version = self.slices.head(request["model_id"])
        column = _column(version, request)
        wanted = self._wanted(request["factors"])
        if request["date_requested"] is None and wanted is None:
            live = self._current(request["model_id"], version)
            return self._answer(live.ids, live.values, column, live.date, version)
        row = version.manifest.n_dates - 1
        if request["date_requested"] is not None:
            row = row_of(version, request["date_requested"], request["model_id"])
        able, missing, _ = self._computable(request["model_id"])
        ids = able if wanted is None else wanted
        lacking = [name for name in ids if name in missing]
        if lacking:
            raise InvalidInput(f"{lacking[0]} {missing[lacking[0]]}", field="factors", rows=lacking)
        values = self._run(self.formulas.chosen(ids), version, row)
        return self._answer(ids, values, column, version.dates[row], version)

    def _wanted(self, factors: list[str] | None) -> tuple[str, ...] | None:
        """Resolve ids and aliases. Raises `UnknownFactor` naming those that are neither."""
        if factors is None:
            return None
        catalogue, out, wrong = self.formulas.catalogue, [], []
        for name in factors:
            found = catalogue.aliases[name].alias_of if name in catalogue.aliases else name
            (out if found in self.formulas.all else wrong).append(found)
        if wrong:
            raise UnknownFactor(f"no factor {', '.join(wrong[:10])}", field="factors", rows=wrong)
        return tuple(dict.fromkeys(out))

    def _run(self, library: Any, version: Version, row: int) -> np.ndarray:
        """Values of one date, float64 [n_factors, n_assets]: the library over its warm-up up to there."""
        fields = library_fields(whole_panel(version))
        rows = len(version.dates[: row + 1]) if library.recursive else min(row + 1, max(library.warmup.values()) + 1)
        days = slice(row + 1 - rows, row + 1)
        stream = library.stream(len(version.symbols), threads=self.settings.library_threads)
        try:
            return np.array(
                stream.warm(
                    {name: values[days] for name, values in fields.fields.items()},
                    {name: codes[days] for name, codes in fields.groups.items()},
                    version.dates[days],
                )
            )
        finally:
            stream.close()

    def _current(self, model_id: str, version: Version) -> LiveLibrary:
        """The library of a model at its newest version: kept, stepped forward, or warmed anew."""
        live = self._live.get(model_id)
        if live is not None and live.formulas is self.formulas and live.follow(version):
            self._live.move_to_end(model_id)
            return live
        if live is not None:
            self._live.pop(model_id).close()
        live = self._live[model_id] = LiveLibrary(self.formulas, version, self.settings.library_threads)
        if len(self._live) > LIVE_KEPT:
            self._live.popitem(last=False)[1].close()
        return live

    def factor_results(self, batch: Batch) -> list[Answer]:
        """The last computed factors of a symbol."""
        return [self._results(request) for request in batch]

    def _results(self, request: dict[str, Any]) -> dict[str, Any]:
        live = self._live.get(request["model_id"])
        if live is None:
            raise UnknownFactor(
                f"no factors of {request['model_id']!r} were computed yet: POST /factors/calculate/{{symbol}} first",
                field="symbol",
            )
        if request["symbol"] not in live.column:
            raise unknown_symbols([request["symbol"]], live.column, request["model_id"], "symbol")
        version = self.slices.head(request["model_id"])
        return self._answer(live.ids, live.values, live.column[request["symbol"]], live.date, version)

    def _answer(
        self, ids: tuple[str, ...], values: np.ndarray, column: int, date: np.datetime64, version: Version
    ) -> dict[str, Any]:
        scores = cross_section(values)
        defined = np.isfinite(values[:, column])
        n_names = int(np.isfinite(values).sum(axis=1).max(initial=0))
        return {
            "values": by_name(ids, values[:, column]),
            "message": f"{int(defined.sum())} of {len(ids)} factors of {version.symbols[column]} on {date}",
            "confidence_score": confidence_score(float(defined.mean()), n_names, 1),
            "model_version": version.manifest.version,
            "hardware_used": Device.CPU,
            "extra": {
                "date": str(date),
                "zscore": by_name(ids, scores.zscore[:, column]),
                "rank": by_name(ids, scores.rank[:, column]),
            },
        }

    # -- between factors

    def factor_correlations(self, batch: Batch) -> list[Answer]:
        """Mean daily rank correlations across names, over a window of days."""
        return [self._correlations(request) for request in batch]

    def _correlations(self, request: dict[str, Any]) -> dict[str, Any]:
        version = self.slices.head(request["model_id"])
        ids = self._wanted(request["factors"])
        assert ids is not None
        _, missing, _ = self._computable(request["model_id"])
        lacking = [name for name in ids if name in missing]
        if lacking:
            raise InvalidInput(f"{lacking[0]} {missing[lacking[0]]}", field="factors", rows=lacking)
        fields = library_fields(whole_panel(version))
        library = self.formulas.chosen(ids)
        values = library.run(
            fields.fields, groups=fields.groups, dates=version.dates, threads=self.settings.library_threads
        )
        window = min(request["window_days"], len(version.dates))
        stacked = np.stack([values[name][-window:] for name in ids])
        matrix = rank_correlations(stacked)
        return {
            "values": {"factors": list(ids), "correlation": [by_name(ids, row) for row in matrix]},
            "message": f"mean daily rank correlations of {len(ids)} factors over {window} days",
            "confidence_score": confidence_score(float(np.isfinite(matrix).mean()), window, 1),
            "model_version": version.manifest.version,
            "hardware_used": Device.CPU,
            "extra": {"window_days": window, "end_date": str(version.dates[-1])},
        }

    # -- formulas of the caller's own

    def evaluate_formula(self, batch: Batch) -> list[Answer]:
        """Values of a formula on a date, by symbol."""
        return [self._evaluate(request) for request in batch]

    def _evaluate(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            expression = parse(request["formula"], definitions=self.formulas.catalogue.definitions)
            library = compile_library({"formula": expression})
        except FormulaError as error:
            raise _explained(error) from None
        version = self.slices.head(request["model_id"])
        row = version.manifest.n_dates - 1
        if request["date_requested"] is not None:
            row = row_of(version, request["date_requested"], request["model_id"])
        _, missing = computable(library, library_fields(whole_panel(version, rows=1)).available)
        if missing:
            raise InvalidInput(f"the formula {missing['formula']}, which the model lacks", field="formula")
        values = self._run(library, version, row)[0]
        if request["register_as"] is not None:
            self._register(request["register_as"], expression)
        columns = _columns(version, request)
        defined = columns[np.isfinite(values[columns])]
        return {
            "values": {version.symbols[i]: float(values[i]) for i in defined},
            "message": f"{len(defined)} of {len(columns)} names on {version.dates[row]}",
            "confidence_score": confidence_score(len(defined) / max(len(columns), 1), len(defined), 1),
            "model_version": version.manifest.version,
            "hardware_used": Device.CPU,
            "extra": {
                "date": str(version.dates[row]),
                "warmup": library.warmup["formula"],
                "inputs": list(library.inputs["formula"]),
                "registered_as": request["register_as"],
            },
        }

    def _register(self, name: str, expression: Expression) -> None:
        """Keep a formula under an id, durably; the same formula again is no change."""
        registered, catalogue = self.formulas.registered, self.formulas.catalogue
        if name in catalogue.entries or name in catalogue.aliases:
            raise InvalidInput(f"{name!r} is a factor of the catalogue", field="register_as")
        if name in registered and registered[name].text != expression.text:
            raise InvalidInput(
                f"{name!r} is registered with another formula: {registered[name].text}", field="register_as"
            )
        if name in registered:
            return
        if len(registered) >= REGISTERED_MOST:
            raise InvalidInput(f"{REGISTERED_MOST} formulas are registered; no more are kept", field="register_as")
        grown = {**registered, name: expression}
        _write(self._path, grown)
        self.formulas = Formulas(catalogue, grown)


def _explained(error: FormulaError) -> EngineError:
    line, column = error.position
    expected = f"; expected {', '.join(error.expected)}" if error.expected else ""
    where = f"line {line}, column {column}"
    return InvalidInput(f"{where}: {error.message}{expected}", field="formula", rows=[[line, column]])


def _column(version: Version, request: dict[str, Any]) -> int:
    try:
        return version.column[request["symbol"]]
    except KeyError:
        raise unknown_symbols([request["symbol"]], version.column, request["model_id"], "symbol") from None


def _columns(version: Version, request: dict[str, Any]) -> np.ndarray:
    if request["symbols"] is None:
        return np.arange(len(version.symbols))
    wrong = [symbol for symbol in request["symbols"] if symbol not in version.column]
    if wrong:
        raise unknown_symbols(request["symbols"], version.column, request["model_id"], "symbols")
    return np.array([version.column[symbol] for symbol in request["symbols"]], dtype=np.intp)


def _read(path: Path) -> dict[str, Expression]:
    """Read the registered formulas."""
    if not path.exists():
        return {}
    texts: dict[str, str] = orjson.loads(path.read_bytes())
    return {name: parse(text) for name, text in texts.items()}


def _write(path: Path, registered: dict[str, Expression]) -> None:
    """Make the registered formulas durable in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{new_id()}.tmp")
    with temporary.open("xb") as out:
        out.write(orjson.dumps({name: expression.text for name, expression in registered.items()}))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
