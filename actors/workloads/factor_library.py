"""The factor library on stored models: definitions, values, correlations, and formulas of the caller's own."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from actors.analytics.scores import ScoreFigures
from actors.analytics.signals import Signals
from actors.learning.estimators import Estimators
from actors.learning.operations import Learning
from actors.library.bars import formula_details, on_bars
from actors.library.day import FORMS, LibraryDay
from actors.library.definitions import Definitions
from actors.library.explorer import Explorer
from actors.library.formulas import REGISTERED, Formulas, conventions_of, read_registered, write_registered
from actors.library.live_models import LiveModels
from actors.library.tables import ValueTables
from actors.library.values import last_row, library_day, window_values
from actors.live.operations import LiveOperations
from actors.reading.confidence import confidence_score, share
from actors.reading.panels import whole_panel
from actors.reading.slices import Slices, by_name, row_of, unknown_symbols
from actors.runtime.device_user import DeviceUser
from actors.runtime.niceness import step_back
from contracts import library_requests as lb
from contracts import requests as rq
from contracts.answers import Calculation, Page
from contracts.errors import EngineError, InvalidInput, Unavailable, UnknownFactor
from contracts.handed_tables import hand
from contracts.work import State, WorkItem, WorkResult, new_id
from factors.library import (
    PAPER,
    Catalogue,
    Conventions,
    Expression,
    FormulaError,
    Library,
    Translation,
    compile_library,
    parse,
    translate,
)
from factors.library.definitions.fields import computable, library_fields
from factors.library.definitions.scores import cross_section, rank_correlations
from factors.library.run.begin import begin
from store import LRU, Version
from store.place import store_place

REGISTERED_MOST = 500
"""Formulas of callers' own that are kept; one more is refused."""
DAYS_KEPT = 4
"""Past dates whose values are kept for `factor_results`, of all models together."""
WAIT_S = 90.0
"""How long an item waits for a warm-up; the caller is then told how far it is."""

_log = logging.getLogger(__name__)


class FactorLibrary(Definitions, ScoreFigures, Signals, Explorer, Learning, Estimators, LiveOperations, DeviceUser):
    """Keeps the library of the models that were asked for current; one step per appended day."""

    def prepare(self) -> None:
        """Read the catalogue and the registered formulas, compile them, load the kernels, and take up saved states."""
        self.slices = Slices()
        self._place = store_place(self.settings)
        self._days: LRU[tuple[str, str, tuple[str, ...]], LibraryDay] = LRU(DAYS_KEPT)
        self._damage: str | None = None
        self._tables = ValueTables()
        self._removed: LRU[str, str] = LRU(REGISTERED_MOST)
        catalogue = Catalogue.load()
        self.formulas = Formulas(catalogue, self._registered(catalogue))
        compile_library({"warm": "rank(close)"}).stream(4).warm(
            {"close": np.ones((2, 4))}, {}, np.array(["2020-01-02", "2020-01-03"], "datetime64[D]")
        )
        current = self.settings
        folder = current.store_path / "library"
        self._handed = current.run_dir.resolve() / "handed"
        self.live = LiveModels(self.slices.store, folder, current.library_threads, current.library_models)
        self.live.recover(self.formulas)
        self.open_desk(self.live.continues)
        self.open_explorer()
        self.find_devices("factor_library")
        self.open_estimators()

    def _registered(self, catalogue: Catalogue) -> dict[str, Expression]:
        """Read the registered formulas. Where their file is damaged the catalogue goes on without them."""
        try:
            return read_registered(self._place, catalogue)
        except (OSError, ValueError) as error:
            self._damage = f"the registered formulas cannot be read: {REGISTERED}: {error}"
            _log.warning("%s", self._damage)
            return {}

    def notes(self) -> dict[str, Any]:
        """Give the counts of definitions, how far the library of each model is, and what it does without."""
        if not hasattr(self, "live"):
            return {}
        catalogue = self.formulas.catalogue
        degraded = [{"component": "registered_formulas", "reason": self._damage, "file": REGISTERED}]
        return {
            "degraded": degraded if self._damage else [],
            "factor_definitions_loaded": len(catalogue.entries),
            "aliases": len(catalogue.aliases),
            "registered": len(self.formulas.registered),
            "live_models": self.live.states(),
            "running_days": self.desk.notes() if hasattr(self, "desk") else {},
        }

    def call_heavy(self, items: list[WorkItem]) -> list[WorkResult]:
        """Answer long items, behind the short ones of every actor of the machine."""
        step_back()
        return super().call_heavy(items)

    def foresee(self, items: list[WorkItem]) -> list[Calculation | None]:
        """Compute the days that the model's writer is making durable; see `LiveLibrary.foresee`."""
        return [self._foreseen(item.request) for item in items]

    def _foreseen(self, request: Any) -> Calculation | None:
        if self._state is not State.READY or not isinstance(request, rq.AppendDay):
            return None
        found = self.live.foresee(request, self.formulas)
        if found is None:
            return None
        told = _update(found.day, found.steps, self._tables.write(found.day))
        return replace(told, tables=hand(self._handed, told.tables), day=found.name)

    # -- values

    def factor_category(self, request: rq.FactorCategory) -> Page:
        """The definitions of one category; with a symbol also its values as they were computed last."""
        body = self._described(request.model_id, request.category)
        if request.symbol is None:
            return Page(body)
        day = self._computed(request.model_id, request.symbol, request.date_requested, None)
        ids = tuple(row["id"] for row in body["definitions"] if row["id"] in day.position)
        values, details = day.of_symbol(request, ids, day.column[request.symbol])
        return Page({**body, "calculation_result": {"factor_values": values, **details}})

    def update_factors(self, request: rq.UpdateFactors) -> Calculation:
        """Bring the library of a model up to its newest day."""
        model_id = self.slices.head(request.model_id).manifest.model_id
        live = self.live.stepped(model_id, self.formulas) if request.light else None
        if live is None and not request.wait:
            if self.live.known(model_id) is None:
                self.live.begin(model_id, self.formulas)
            state = self.live.states().get(model_id, {"state": "warming"})
            message = f"the library of {model_id} is {state['state']}"
            return Calculation({}, message, 0.0, state.get("model_version"), details=state, event=False)
        live = live or self.live.current(model_id, self.formulas, WAIT_S)
        day, steps = live.day, live.steps
        self.desk.committed(model_id)
        return _update(day, steps, self._tables.write(day) if request.values else [])

    def calculate_factors(self, request: rq.CalculateFactors) -> Calculation:
        """Factors of a symbol: its value and its place in the cross-section."""
        version = self.slices.head(request.model_id)
        if request.symbol not in version.column:
            raise unknown_symbols([request.symbol], version, "symbol")
        day, ids = self._asked(request, version)
        return self._of_symbol(request, day, ids)

    def _asked(
        self, request: rq.CalculateFactors | rq.FactorCrossSection, version: Version
    ) -> tuple[LibraryDay, tuple[str, ...]]:
        """Find or compute the date that a request is about, and resolve the factors that it names."""
        model_id = version.manifest.model_id
        wanted = None if request.factors is None else self.formulas.resolve(request.factors)
        last = version.manifest.n_dates - 1
        row = last if request.date_requested is None else row_of(version, request.date_requested, model_id)
        able, missing, _ = self._computable(model_id)
        if wanted is not None:
            _refuse_missing(wanted, missing)
        live = self.live.known(model_id)
        strict = request.min_periods == "strict"  # the conventions of what is kept current
        if (
            strict
            and row == last
            and (wanted is None or (live is not None and live.number == version.manifest.version))
        ):
            day = self.live.current(model_id, self.formulas, WAIT_S).day
            return day, day.ids if wanted is None else wanted
        ids = able if wanted is None else wanted
        if not strict:
            formulas = self.formulas.under(request.min_periods)
            return library_day(formulas, ids, version, row, self.settings.library_threads), ids
        return self._day(model_id, version, row, ids), ids

    def _day(self, model_id: str, version: Version, row: int, ids: tuple[str, ...]) -> LibraryDay:
        """Compute factors of a date, unless they were of this very version."""
        date = str(version.dates[row])
        wanted = (model_id, date, version.manifest.version)
        for (kept_model, kept_date, _), day in self._days.items():
            if (kept_model, kept_date, day.number) == wanted and set(ids) <= day.position.keys():
                return day
        day = library_day(self.formulas, ids, version, row, self.settings.library_threads)
        self._days.put((model_id, date, ids), day)
        return day

    def factor_results(self, request: lb.FactorResults) -> Calculation:
        """The factors of a symbol as they were computed last."""
        wanted = None if request.factors is None else self.formulas.resolve(request.factors)
        day = self._computed(request.model_id, request.symbol, request.date_requested, wanted)
        return self._of_symbol(request, day, day.ids if wanted is None else wanted)

    def _computed(
        self, asked_model: str | None, symbol: str, date: dt.date | None, wanted: tuple[str, ...] | None
    ) -> LibraryDay:
        """Find what was computed last of the model, the date and the factors that a request names; never computes."""
        model_id = self.slices.head(asked_model).manifest.model_id  # a model that was deleted is none
        live = self.live.known(model_id)
        days = [day for (name, _, _), day in reversed(self._days.items()) if name == model_id]
        for day in ([live.day] if live is not None else []) + days:
            if (date is None or str(day.date) == str(date)) and (wanted is None or set(wanted) <= day.position.keys()):
                if symbol not in day.column:
                    raise unknown_symbols([symbol], self.slices.head(model_id), "symbol")
                return day
        when = "" if date is None else f" on {date}"
        raise UnknownFactor(
            f"no such factors of {model_id!r} were computed yet{when}: POST /factors/calculate/{{symbol}} first",
            field="symbol",
        )

    def _of_symbol(
        self, request: rq.CalculateFactors | lb.FactorResults, day: LibraryDay, ids: tuple[str, ...]
    ) -> Calculation:
        values, details = day.of_symbol(request, ids, day.column[request.symbol])
        n_defined = sum(value is not None for value in values.values())
        n_names = int(np.isfinite(day.values).sum(axis=1).max(initial=0))
        message = f"{n_defined} of {len(ids)} factors of {request.symbol} on {day.date}"
        score = confidence_score(n_defined / max(len(ids), 1), n_names, 1)
        return Calculation(
            values, message, score, day.number, details={**details, **self.formulas.aliased(request.factors)}
        )

    def factor_cross_section(self, request: rq.FactorCrossSection) -> Calculation:
        """Factors across all names of a date, in every form."""
        version = self.slices.head(request.model_id)
        columns = _columns(version, request.symbols)
        day, ids = self._asked(request, version)
        forms = day.forms(request)
        rows = np.array([day.position[name] for name in ids], dtype=np.intp)
        symbols = [day.symbols[i] for i in columns]
        values = {
            name: {form: [_number(v) for v in getattr(forms, form)[i, columns].tolist()] for form in FORMS}
            for name, i in zip(ids, rows.tolist(), strict=True)
        }
        shown = np.isfinite(day.values[np.ix_(rows, columns)])
        details = {"symbols": symbols, **day.note(request, rows, ids), **self.formulas.aliased(request.factors)}
        message = f"{len(ids)} factors of {len(symbols)} names on {day.date}"
        score = confidence_score(share(shown), int(shown.sum(axis=1).max(initial=0)), 1)
        return Calculation(values, message, score, day.number, details=details)

    # -- between factors

    def factor_correlations(self, request: lb.FactorCorrelations) -> Calculation:
        """Mean daily rank correlations across names, over a window of days."""
        version = self.slices.head(request.model_id)
        ids = self.formulas.resolve(request.factors)
        self._refuse_uncomputable(request.model_id, ids)
        end = version.manifest.n_dates - 1
        if request.date_requested is not None:
            end = row_of(version, request.date_requested, version.manifest.model_id)
        n_days = min(request.window_days, end + 1)
        stacked, groups = window_values(
            self.formulas.under(request.min_periods), ids, version, end, n_days, self.settings.library_threads
        )
        if request.form != "raw":
            day = LibraryDay(ids, stacked[:, -1], version, end, {name: codes[-1] for name, codes in groups.items()})
            level = day.level(request.neutralise_by)
            for t in range(n_days):
                codes = None if level == "none" else groups[level][t]
                forms = cross_section(stacked[:, t], codes, deviations=request.winsor_deviations)
                stacked[:, t] = getattr(forms, request.form)
        matrix = rank_correlations(stacked)
        values = {"factors": list(ids), "correlation": [by_name(ids, row) for row in matrix]}
        details = {"window_days": n_days, "end_date": str(version.dates[end]), "form": request.form}
        message = f"mean daily rank correlations of {len(ids)} factors over {n_days} days"
        score = confidence_score(share(np.isfinite(matrix)), n_days, 1)
        return Calculation(values, message, score, version.manifest.version, details=details)

    # -- formulas of the caller's own

    def evaluate_formula(self, request: rq.EvaluateFormula) -> Calculation:
        """Values of a formula on a date, or on the last bar of a posted table, by symbol."""
        expression, library, translation = self._parsed(request.formula, conventions_of(request), request.dialect)
        about = formula_details(request, expression, library, translation)
        if request.frame_data is not None:
            values, shown, n = on_bars(request, library, self.settings.library_threads)
            self._keep(request, expression)
            message = f"{len(values)} of {n} names at {shown['times'][-1]}"
            score = confidence_score(len(values) / max(n, 1), len(values), 1)
            return Calculation(values, message, score, details={**about, **shown})
        version = self.slices.head(request.model_id)
        row = version.manifest.n_dates - 1
        if request.date_requested is not None:
            row = row_of(version, request.date_requested, version.manifest.model_id)
        _refuse_lacking(library, version)
        row_values = self._formula_values(library, version, row)
        self._keep(request, expression)
        columns = _columns(version, request.symbols)
        defined = columns[np.isfinite(row_values[columns])]
        values = {version.symbols[i]: float(row_values[i]) for i in defined}
        message = f"{len(defined)} of {len(columns)} names on {version.dates[row]}"
        score = confidence_score(len(defined) / max(len(columns), 1), len(defined), 1)
        details = {"date": str(version.dates[row]), **about}
        return Calculation(values, message, score, version.manifest.version, details=details)

    def _keep(self, request: rq.EvaluateFormula, expression: Expression) -> None:
        if request.register_as is not None:
            self._register(request.register_as, expression)

    def _parsed(
        self, formula: str, chosen: Conventions = PAPER, dialect: str = "own"
    ) -> tuple[Expression, Library, Translation | None]:
        """Read a formula, first translated from its dialect, whose conventions hold unless others are asked for."""
        translation = None
        try:
            if dialect != "own":
                translation = translate(formula, dialect)
                formula, chosen = translation.text, translation.conventions if chosen == PAPER else chosen
            expression = parse(formula, chosen, definitions=self.formulas.catalogue.definitions)
            return expression, compile_library({"formula": expression}, listed=True), translation
        except FormulaError as error:
            raise _explained(error) from None

    def _compiled(
        self, formula: str, model_id: str | None, min_periods: Literal["strict", "one"], base: Conventions = PAPER
    ) -> Library:
        """Compile a formula that a model can compute."""
        _, library, _ = self._parsed(formula, replace(base, min_periods=min_periods))
        _refuse_lacking(library, self.slices.head(model_id))
        return library

    def _refuse_uncomputable(self, model_id: str | None, ids: tuple[str, ...]) -> None:
        _, missing, _ = self._computable(model_id)
        _refuse_missing(ids, missing)

    def _formula_values(self, library: Library, version: Version, row: int) -> np.ndarray:
        """Values of one formula on a date, float64 [n_assets]: over its look-back, or over everything."""
        fields = library_fields(whole_panel(version))
        days = slice(begin(library, fields.fields, row, row + 1), row + 1)
        values: np.ndarray = last_row(library, fields, version.dates, days, self.settings.library_threads)[0]
        return values

    def _register(self, name: str, expression: Expression) -> None:
        """Keep a formula under an id, durably; the same formula again is no change."""
        if self._damage:  # to write now would lose what a person may yet mend
            raise Unavailable(self._damage)
        registered, catalogue = self.formulas.registered, self.formulas.catalogue
        if name in catalogue.entries or name in catalogue.aliases:
            raise InvalidInput(f"{name!r} is a factor of the catalogue", field="register_as")
        if name in registered and not _same(registered[name], expression):
            raise InvalidInput(
                f"{name!r} is registered with another formula: {registered[name].text}", field="register_as"
            )
        if name in registered:
            return
        if len(registered) >= REGISTERED_MOST:
            raise InvalidInput(f"{REGISTERED_MOST} formulas are registered; no more are kept", field="register_as")
        grown = {**registered, name: expression}
        write_registered(self._place, grown)
        self.formulas = Formulas(catalogue, grown)

    def remove_formula(self, request: lb.RemoveFormula) -> Calculation:
        """Forget a registered formula, durably, and what was computed of it."""
        name = request.formula_id
        if request.request_id is None or self._removed.get(request.request_id) != name:
            self._unregister(name)
            self._removed.put(request.request_id or new_id(), name)
        return Calculation({"formula_id": name, "removed": True}, f"the formula {name} is removed", 1.0)

    def _unregister(self, name: str) -> None:
        if self._damage:
            raise Unavailable(self._damage)
        registered, catalogue = self.formulas.registered, self.formulas.catalogue
        if name not in registered:
            kind = "a factor of the catalogue, which stays" if name in catalogue.entries else "not registered"
            raise UnknownFactor(f"{name!r} is {kind}", field="formula_id")
        left = {other: expression for other, expression in registered.items() if other != name}
        write_registered(self._place, left)
        self.formulas = Formulas(catalogue, left)
        # Another formula may take the id: nothing of this one may be found under it.
        self.live.forget(name)
        for key, day in self._days.items():
            if name in day.position:
                self._days.pop(key)


def _explained(error: FormulaError) -> EngineError:
    line, column = error.position
    expected = f"; expected {', '.join(error.expected)}" if error.expected else ""
    where = f"line {line}, column {column}"
    return InvalidInput(f"{where}: {error.message}{expected}", field="formula", rows=[[line, column]])


def _refuse_lacking(library: Library, version: Version) -> None:
    _, missing = computable(library, library_fields(whole_panel(version, rows=1)).available)
    if missing:
        raise InvalidInput(f"the formula {missing['formula']}, which the model lacks", field="formula")


def _update(day: LibraryDay, steps: int, tables: list[bytes]) -> Calculation:
    """Tell of a day that a library was brought up to, or will be."""
    defined = np.isfinite(day.values).sum(axis=1)
    details = {
        "date": str(day.date),
        "factors": len(day.ids),
        "names": len(day.symbols),
        "steps": steps,
        "tables": len(tables),
    }
    counts = dict(zip(day.ids, defined.tolist(), strict=True))
    score = confidence_score(share(defined > 0), int(defined.max(initial=0)), 1)
    message = f"{len(day.ids)} factors of {len(day.symbols)} names on {day.date}"
    return Calculation(counts, message, score, day.number, details=details, tables=tables)


def _columns(version: Version, symbols: list[str] | None) -> np.ndarray:
    if symbols is None:
        return np.arange(len(version.symbols))
    if any(symbol not in version.column for symbol in symbols):
        raise unknown_symbols(symbols, version, "symbols")
    return np.array([version.column[symbol] for symbol in symbols], dtype=np.intp)


def _refuse_missing(ids: tuple[str, ...], missing: dict[str, str]) -> None:
    """Raise `InvalidInput` naming the factors that the model's data cannot compute, and what the first needs."""
    lacking = [name for name in ids if name in missing]
    if lacking:
        raise InvalidInput(f"{lacking[0]} {missing[lacking[0]]}", field="factors", rows=lacking)


def _number(value: float) -> float | None:
    return value if value == value else None


def _same(one: Expression, other: Expression) -> bool:
    return (one.text, one.conventions) == (other.text, other.conventions)
