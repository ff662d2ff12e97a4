"""The chains of a recompute: each makes its blocks one after the other, as the days came online, to the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from actors.portfolio.book_path import book_path
from actors.portfolio.past import PastBooks
from actors.portfolio.reader import BookReader
from actors.reading.slices import Slice, Slices
from contracts.errors import EngineError, InvalidInput, VersionConflict
from contracts.requests import PortfolioAttribution
from contracts.settings import Settings, settings
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.factor_model.state import ModelState
from factors.library import Library
from factors.library.definitions.fields import LibraryFields, library_fields
from factors.library.run.begin import begin as begin_of
from factors.library.run.machine import Machine
from factors.panel.corrections import as_given
from factors.panel.panel import Panel
from factors.portfolio.attribution import attribute
from factors.returns.date_tally import returns_told
from factors.style.scores import StyleScores
from jobs.pace import Pace
from jobs.parts import Results
from jobs.plan import MODEL, Chain, Plan, engine_digest, formulas_of, registered_of
from jobs.results import open_results
from jobs.source import Source, StoredSource, open_source

MACHINE_ROWS = 16
Tick = Callable[[], None]


def prepare(current: Settings) -> None:
    """Read what every chain needs, the catalogue and the registered formulas, once in a process."""
    engine_digest()
    formulas_of(current)


def run_chain(plan: Plan, chain: Chain, tick: Tick = lambda: None) -> float:
    """Make what is missing of a chain; gives the seconds that it took.

    Parameters
    ----------
    tick
        Called after each block.

    Raises
    ------
    InvalidInput
        This node has another version of the engine than the one that planned.
    """
    own = engine_digest()
    if own != plan.engine:
        raise InvalidInput(f"this node has the engine {own}, the job was planned by {plan.engine}: install one version")
    began = time.perf_counter()
    current = settings()
    results = open_results(plan.place.work, current)
    source = open_source(plan.place, current)
    make: type[_LibraryChain | _ModelChain] = _LibraryChain if chain.ids else _ModelChain
    missing = [b for b in plan.wanted if not all(results.is_made(plan.slot(what, chain, b)) for what in chain.what)]
    if missing:
        made = make(plan, chain, source, results, current)
        for block in made.blocks(missing):
            for what in chain.what:
                slot = plan.slot(what, chain, block)
                if block in missing and not results.is_made(slot):
                    start = time.perf_counter()
                    frame = made.frame(what, block)
                    results.write_part(slot, frame, time.perf_counter() - start)
            tick()
    return time.perf_counter() - began


class _Block(NamedTuple):
    panel: Panel
    factor_covariance: np.ndarray
    specific_variance: np.ndarray
    exposures: np.ndarray | None


class _ModelChain:
    """The factor model, grown day by day."""

    def __init__(self, plan: Plan, chain: Chain, source: Source, results: Results, _current: Settings) -> None:
        self._plan, self._chain, self._source, self._results = plan, chain, source, results
        self._settings = ModelSettings.from_dict(source.settings)
        strict = self._settings.read_as.policy == "strict"
        self._policy: Any = "warn" if strict else None  # the days were let in before
        self._daily = bool({"covariance", "specific", "attribution"} & set(chain.what))
        self._books = _Books(plan, source) if "attribution" in chain.what else None
        styles = StyleScores(
            self._settings.style_factors, set(source.fields), groups=set(source.panel(slice(0, 1)).categories)
        )
        self._lag = self._settings.regression.exposure_lag
        self._keep = max(styles.lookback, self._lag, 1)
        self._model: FactorModel
        self._made: _Block

    def blocks(self, missing: list[int]) -> Iterator[int]:
        """Compute the blocks up to the last missing one, from the carried state behind which none is missing."""
        plan = self._plan
        found = self._results.load_state(MODEL, plan.keys[: missing[0]])
        first = 0
        if found is not None:
            first = found[0] + 1
            self._model = _restored(found[1], found[2])
        pace = Pace()
        for block in range(first, missing[-1] + 1):
            self._made = self._compute(block)
            yield block
            self._model.forget(self._keep)
            if pace.due or block == missing[-1]:
                with pace.saving():
                    state = self._model.state(last=self._keep)
                    self._results.save_state(MODEL, plan.keys[block], *_kept(state))

    def _compute(self, block: int) -> _Block:
        first, last = self._plan.blocks[block]
        panel = as_given(self._source.panel(slice(first, last)))
        n, rest = last - first, slice(0, last - first)
        if first == 0:
            model = FactorModel(self._settings)
            recipe = self._source.recipe
            model.set_panel(panel.select(dates=slice(0, 1) if self._daily else rest), self._policy)
            model.clean_features(recipe.to_winsorize, recipe.to_fill, recipe.to_smooth)
            if recipe.top_n is not None:
                model.reduce_universe_by_market_cap(recipe.top_n)
            self._model = model.fit()
        elif not self._daily:
            self._model.update(panel, self._policy)
        if not self._daily:
            return _Block(panel, np.empty(0), np.empty(0), None)
        k = len(self._model.factor_names_)
        covariance = np.empty((n, k, k))
        specific = np.empty((n, panel.n_assets))
        held = np.empty((n, panel.n_assets, k)) if self._books else None
        for day in range(n):
            if held is not None and self._lag:
                held[day] = self._exposures_before() if first or day else np.nan
            if first or day:
                self._model.update(panel.select(dates=slice(day, day + 1)), self._policy)
            if held is not None and not self._lag:
                held[day] = self._model.exposures()
            covariance[day] = self._model.factor_covariance_
            specific[day] = self._model.specific_variance_
        return _Block(panel, covariance, specific, held)

    def _exposures_before(self) -> np.ndarray:
        """Give the exposures that the next day's return is attributed with."""
        dates = self._model.dates_
        if len(dates) < self._lag:
            return np.full(self._model.exposures().shape, np.nan)
        return self._model.exposures(dates[-self._lag])

    def frame(self, what: str, block: int) -> pl.DataFrame:
        """Give the rows of a block that are wanted, as a long frame."""
        cut = slice(*self._plan.cut(block))
        n = self._plan.blocks[block][1] - self._plan.blocks[block][0]
        model, made = self._model, self._made
        dates = made.panel.dates[cut]
        if what == "scores":
            scores = model.scores_[-n:][cut]
            return _long(made.panel, cut, dict(zip(model.style_names_, np.moveaxis(scores, 1, 0), strict=True)))
        if what == "specific":
            columns = {"specific_return": model.residuals_[-n:][cut], "specific_variance": made.specific_variance[cut]}
            return _long(made.panel, cut, columns)
        names = model.factor_names_
        if what == "returns":
            by_factor = (
                returns_told(model.factor_returns_, model.standard_errors_),
                model.standard_errors_,
                model.t_stats_,
            )
            labels = ("factor_return", "standard_error", "t_stat")
            columns = {label: values[-n:][cut].ravel() for label, values in zip(labels, by_factor, strict=True)}
            for label, values in (("r2", model.r2_), ("n_obs", model.n_obs_)):
                columns[label] = np.repeat(values[-n:][cut], len(names))
            return _by_day(dates, {"factor": names}, columns)
        if what == "covariance":
            upper = np.triu_indices(len(names))
            pairs = {"factor": [names[i] for i in upper[0]], "other": [names[i] for i in upper[1]]}
            return _by_day(dates, pairs, {"covariance": made.factor_covariance[cut][:, *upper].ravel()})
        assert self._books is not None
        assert made.exposures is not None
        first = self._plan.blocks[block][0]
        return self._books.frame(first, cut, model, made.exposures, n)


_GROUPS = ("day_asset", "day", "latest")


def _kept(state: ModelState) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {f"{group}:{name}": array for group in _GROUPS for name, array in getattr(state, group).items()}
    arrays["dates"] = state.dates.astype(np.int64)
    words = {name: list(labels) for name, labels in state.category_names.items()}
    meta = {
        "symbols": list(state.symbols),
        "factor_names": list(state.factor_names),
        "style_names": list(state.style_names),
        "category_names": words,
        "recipe": state.recipe,
        "settings": state.settings,
    }
    return arrays, meta


def _restored(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> FactorModel:
    of = {
        group: {name.partition(":")[2]: a for name, a in arrays.items() if name.startswith(f"{group}:")}
        for group in _GROUPS
    }
    state = ModelState(
        arrays["dates"].astype("datetime64[D]"),
        tuple(meta["symbols"]),
        tuple(meta["factor_names"]),
        tuple(meta["style_names"]),
        {name: tuple(words) for name, words in meta["category_names"].items()},
        of["day_asset"],
        of["day"],
        of["latest"],
        meta["recipe"],
        meta["settings"],
    )
    return FactorModel.from_state(None, state)


class _Books(PastBooks):
    """Attribution of every book of the store, day by day, by what is estimated here."""

    def __init__(self, plan: Plan, source: Source) -> None:
        if not isinstance(source, StoredSource):
            raise InvalidInput("attribution needs the books of a store", field="what")
        self.slices = Slices()
        self.books = BookReader(self.slices)
        self._names = [name for name, _ in plan.books]
        self._source, self._model_id = source, plan.place.work.model_id
        version = source.version
        self._found = Slice(self._model_id, version, version.manifest.n_dates - 1)

    def frame(self, first: int, cut: slice, model: FactorModel, exposures: np.ndarray, n: int) -> pl.DataFrame:
        """Give the contributions of the factors, of specific returns, and of what is not explained, by book and day."""
        names = [*model.factor_names_, "specific", "unexplained", "total"]
        begin = max(first + cut.start, model.settings.regression.exposure_lag)
        rows = range(begin, first + cut.stop)
        whole = np.empty((len(rows), len(self._names), len(names)))
        returns, errors = model.factor_returns_[-n:], np.nan_to_num(model.standard_errors_[-n:])
        for i, row in enumerate(rows):
            for j, book in enumerate(self._names):
                at = row - first
                whole[i, j] = self._day(book, row, exposures[at], returns[at : at + 1], errors[at : at + 1])
        labels = {"portfolio_id": np.repeat(self._names, len(names)).tolist(), "part": names * len(self._names)}
        return _by_day(self._source.dates[begin : first + cut.stop], labels, {"contribution": whole.ravel()})

    def _day(
        self, book: str, row: int, exposures: np.ndarray, factor_returns: np.ndarray, errors: np.ndarray
    ) -> np.ndarray:
        """Give the parts of a book's return on one day, as an answer about that day has them."""
        version, days = self._source.version, slice(row, row + 1)
        request = PortfolioAttribution(model_id=self._model_id, portfolio_id=book)
        try:
            path = book_path(self.books, self._found, None, book, days, "portfolio_id", request.between)
        except EngineError as error:
            raise InvalidInput(f"the book {book!r} on {version.date(row)}: {error.detail}", field="what") from None
        made = attribute(
            path.weights,
            [exposures[path.columns]],
            factor_returns,
            asset_returns=version.day_asset("fields/returns", days, path.columns),
            factor_return_covariance=errors,
        )
        parts: np.ndarray = np.r_[made.factor[0], made.specific, made.unexplained, made.portfolio_returns]
        return parts


class _LibraryChain:
    """A group of the factor library, row by row with what it carries."""

    def __init__(self, plan: Plan, chain: Chain, source: Source, results: Results, current: Settings) -> None:
        self._plan, self._chain, self._source, self._results = plan, chain, source, results
        formulas = formulas_of(current)
        if registered_of(formulas, chain.ids) != chain.formulas:
            raise VersionConflict("formulas were registered anew or removed while the job ran: submit it again")
        self._library: Library = formulas.chosen(chain.ids)
        self._carried = plan.carried(chain)
        self._levels = _levels(plan, source)
        self._room = np.empty(0)
        self._values: np.ndarray
        self._panel: Panel

    def blocks(self, missing: list[int]) -> Iterator[int]:
        """Compute the blocks that are missing; before each run of them as many days as the factors look back on."""
        plan, library, name = self._plan, self._library, self._chain.name
        machine = Machine(library.plan, len(self._source.symbols), MACHINE_ROWS, 1)
        try:
            begin = 0
            if library.recursive:
                found = self._results.load_state(name, self._carried[: missing[0]])
                if found is not None:
                    machine.restore(found[1])
                    begin = plan.blocks[found[0]][1]
            elif missing[0]:
                stop = plan.blocks[missing[-1]][1]
                begin = begin_of(library, self._fields(0, stop).fields, plan.blocks[missing[0]][0], stop)
            pace = Pace()
            for block, (first, last) in enumerate(plan.blocks[: missing[-1] + 1]):
                if last <= begin:
                    continue
                self._compute(machine, max(first, begin), last, first)
                yield block
                if library.recursive and (pace.due or block == missing[-1]):
                    with pace.saving():
                        self._results.save_state(name, self._carried[block], machine.state(), {})
        finally:
            machine.close()

    def _compute(self, machine: Machine, start: int, last: int, first: int) -> None:
        fields = self._fields(start, last)
        values: dict[str, np.ndarray] = {**fields.fields, **fields.groups}
        wanted = {name: values[name] for name in (*self._library.fields, *self._library.groups)}
        bars, sessions = machine.clock.read(self._source.dates[start:last])
        out = self._taken((len(self._chain.ids), last - first, machine.n))
        out[:, : start - first] = np.nan
        for t in range(0, last - start, machine.block):
            end = min(t + machine.block, last - start)
            machine.load({name: value[t:end] for name, value in wanted.items()}, bars[t:end])
            machine.run(out[:, start - first + t : start - first + end], bars[t:end], sessions[t:end])
        self._values = out

    def _taken(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Give room for a block's values, that of the block before: the system clears fresh memory, at every block."""
        size = shape[0] * shape[1] * shape[2]
        if size > len(self._room):
            self._room = np.empty(size)
        return self._room[:size].reshape(shape)

    def _fields(self, start: int, last: int) -> LibraryFields:
        """Give what the library reads of some days, with the benchmark as it was over the whole history."""
        before = max(start - 1, 0)
        panel = self._source.panel(slice(before, last))
        level = float(self._levels[before]) if before and self._levels is not None else None
        made = library_fields(panel, level)
        lead = start - before
        self._panel = panel.select(dates=slice(lead, None)) if lead else panel
        if not lead:
            return made
        return LibraryFields(
            {name: values[lead:] for name, values in made.fields.items()},
            {name: codes[lead:] for name, codes in made.groups.items()},
            made.proxies,
        )

    def frame(self, _what: str, block: int) -> pl.DataFrame:
        """Give the rows of a block that are wanted."""
        cut = slice(*self._plan.cut(block))
        ids = self._chain.ids
        return _long(self._panel, cut, {name: self._values[i, cut] for i, name in enumerate(ids)})


def _levels(plan: Plan, source: Source) -> np.ndarray | None:
    """Give the benchmark's proxy, its close on each day as the whole history compounds it; None where none is made."""
    fields = ("returns", "market_cap")
    if "benchmark_return" in source.fields or not set(fields) <= set(source.fields):
        return None
    levels = np.empty(plan.rows[1])
    level: float | None = None
    for first, last in plan.blocks:
        before = max(first - 1, 0)
        made = library_fields(source.panel(slice(before, last), fields), level)
        levels[before:last] = made.fields["benchmark_close"][:, 0]
        level = float(levels[last - 1])
    return levels


def _long(panel: Panel, cut: slice, columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """Make a long frame of arrays [n_dates, n_assets], of names with a return or a cap on the day; NaN is null."""
    there = np.isfinite(panel.fields["returns"][cut]) | np.isfinite(panel.fields["market_cap"][cut])
    rows, names = np.nonzero(there)
    symbols = pl.Series("symbol", panel.symbols, dtype=pl.String)
    data = {"date": pl.Series(panel.dates[cut][rows]), "symbol": symbols.gather(names)}
    data |= {name: pl.Series(name, values[there]) for name, values in columns.items()}
    return pl.DataFrame(data).with_columns(pl.col(pl.Float64).fill_nan(None))


def _by_day(dates: np.ndarray, labels: dict[str, Any], columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """Make a long frame of arrays that have a value for each label on each day."""
    n = len(next(iter(labels.values())))
    data: dict[str, Any] = {"date": pl.Series(np.repeat(dates, n))}
    data |= {name: list(words) * len(dates) for name, words in labels.items()}
    return pl.DataFrame(data | columns).with_columns(pl.col(pl.Float64).fill_nan(None))
