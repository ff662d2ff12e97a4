"""The stages of the model over consecutive days, and what each carries from one day to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import MissingColumnError, StageError
from factors.factor_model.peeked import PeekedDay
from factors.factor_model.recipe import Recipe, covered, estimation_mask
from factors.factor_model.risk_stage import RiskStage
from factors.factor_model.score_stage import ScoreStage
from factors.factor_model.settings import ModelSettings
from factors.factor_model.state import History, ModelState, fill_of, wide, writable
from factors.factor_model.vocabulary import category_of, check_next, grown, refuse_same_names, sector_codes, shares_of
from factors.numeric import deadline
from factors.numeric.kernels import exposure_rows
from factors.numeric.threads import count_threads, spread
from factors.panel.axis import positions
from factors.panel.panel import Array, Categories, Panel
from factors.returns.date_tally import DateTally
from factors.returns.stage import ReturnStage
from factors.risk.linked import LINK_DAYS, Linked, issuer_groups, link
from factors.style.series import CAP_OF_THE_DAY

SCORES = ("clean/", "estimation", "scores", "market_return")
RETURNS = ("factor_returns", "standard_errors", "r2", "n_obs", "status", "vif", "residuals")
VARIANCES = "variance_before"
# A field that is 1 where an asset is in the universe, 0 or missing where it is not; and a category.
INVESTMENT, ISSUER = "investment_universe", "issuer"
MAX_WARNINGS = 100
LAST = -1


class Steps:
    """A panel and what has been estimated on it so far.

    Parameters
    ----------
    settings : ModelSettings
    recipe : Recipe
    panel : Panel
    """

    def __init__(self, settings: ModelSettings, recipe: Recipe, panel: Panel) -> None:
        for name in ("returns", "market_cap"):
            if name not in panel.fields:
                raise MissingColumnError(f"the panel has no field {name!r}", field=name)
        self.settings = settings
        self._written_settings = settings.to_dict()
        self.recipe = recipe
        self.symbols, self.field_names = panel.symbols, tuple(panel.fields)
        self.category_names = {name: category.names for name, category in panel.categories.items()}
        self.history = History()
        self.risk = RiskStage(settings, self.history)
        self._notes: list[str] = []
        self._position = positions(panel.symbols)
        self._threads = count_threads(settings.threads)
        self._store(panel.dates, panel.fields, {name: category.codes for name, category in panel.categories.items()})
        self._new_scorer()
        refuse_same_names(self.sector_names, self.factor_names)

    def _new_scorer(self) -> None:
        self._scoring = ScoreStage(
            self.settings, self.recipe, set(self.field_names), set(self.category_names), self._threads
        )
        self._new_returns()

    def _new_returns(self) -> None:
        self._returns = ReturnStage(self.settings, self._threads)
        self._tally = DateTally(len(self.factor_names))

    def change_settings(self, settings: ModelSettings) -> None:
        """Take other settings of the regression; factor returns and what follows are forgotten."""
        self.settings = self.risk.settings = settings
        self._written_settings = settings.to_dict()
        self._forget_returns()

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """datetime64[D] [n_dates]."""
        return self.history.get("dates")

    @property
    def style_names(self) -> tuple[str, ...]:
        """The styles of the model."""
        return self._scoring.scorer.names

    @property
    def sector_names(self) -> tuple[str, ...]:
        """The sectors of the model."""
        return self.category_names.get("sector", ())

    @property
    def factor_names(self) -> tuple[str, ...]:
        """("market", *sectors, *styles)."""
        return (self.settings.mkt_factor_col, *self.sector_names, *self.style_names)

    @property
    def has_scores(self) -> bool:
        """Whether the styles have been scored."""
        return "scores" in self.history

    @property
    def has_factor_returns(self) -> bool:
        """Whether factor returns have been estimated."""
        return "factor_returns" in self.history

    def array(self, name: str, stage: str) -> NDArray[Any]:
        """Give an estimated array, or say which stage makes it."""
        if name not in self.history:
            raise StageError(f"call {stage} first", field=stage)
        values = self.history.get(name)
        n_assets = len(self.symbols)
        if self.history.by_asset(name) and values.shape[-1] < n_assets:
            self.history.append(name, np.empty((0, *values.shape[1:-1], n_assets), dtype=values.dtype), by_asset=True)
            values = self.history.get(name)
        return values

    def tail(self, name: str) -> NDArray[Any]:
        """Give the last row of an array."""
        row: NDArray[Any] = self.history.tail(name, 1)[0]
        return row

    def panel(self) -> Panel:
        """Give the panel as it was given."""
        return Panel(
            self.dates,
            self.symbols,
            {name: self.array(f"fields/{name}", "set_panel") for name in self.field_names},
            {
                name: Categories(self.array(f"category/{name}", "set_panel"), words)
                for name, words in self.category_names.items()
            },
        )

    def estimate_scores(self) -> None:
        """Score every date, from the beginning."""
        deadline.check()
        self._forget_returns()
        self.history.drop(*(name for name in self.history.names if name.startswith(SCORES)))
        self._new_scorer()
        fields = {name: writable(self.array(f"fields/{name}", "set_panel")) for name in self.field_names}
        codes = {name: writable(self.array(f"category/{name}", "set_panel")) for name in self.category_names}
        self._score(fields, codes)

    def estimate_factor_returns(self) -> None:
        """Regress every date, from the beginning."""
        deadline.check()
        if not self.has_scores:
            raise StageError("call estimate_style_scores first", field="estimate_style_scores")
        self._forget_returns()
        self._regress(len(self.dates))

    def estimate_covariance(self) -> None:
        """Estimate the factor covariance, from the beginning."""
        deadline.check()
        self.risk.fit_covariance(self._observed(len(self.dates)))

    def estimate_specific_risk(self) -> None:
        """Estimate specific risk, from the beginning."""
        deadline.check()
        residuals = self.array("residuals", "estimate_factor_returns")
        caps = self.array(self._caps_name, "estimate_style_scores")
        self.risk.fit_specific(residuals, caps, self.exposures())

    def estimate_risk(self) -> None:
        """Estimate covariance and specific risk; neither needs the other, so that two threads do both at once."""
        stages = (self.estimate_covariance, self.estimate_specific_risk)
        spread(lambda a, b: [stage() for stage in stages[a:b]], len(stages), self._threads)

    def update(self, days: Panel, names: tuple[str, ...] | None = None, followed_by: int = 0) -> None:
        """Run every stage that has been run on the new days; `names` are what its assets are called from then on."""
        if days.n_dates == 0:
            return
        check_next(days, self.history.tail("dates", 1)[0], self.field_names, self.category_names)
        if names is not None and names is not self.symbols:
            for old, new in zip(self.symbols, names, strict=True):
                if old != new:
                    self.note(f"{old} is called {new} from {days.dates[0]} on: its asset_id is the same")
            self.symbols, self._position = names, positions(names)
        self._append_symbols(days.symbols)
        fields, codes = self._aligned(days)
        self._store(days.dates, fields, codes)
        if self.has_scores:
            self._score(fields, codes)
        if self.has_factor_returns:
            self._regress(days.n_dates)
        if self.risk.covariance is not None:
            self.risk.update_covariance(self._observed(days.n_dates), followed_by)
        if self.risk.specific is not None:
            residuals = self.history.tail("residuals", days.n_dates)
            self.risk.update_specific(residuals, self.history.tail(self._caps_name, days.n_dates), self.exposures())

    def forget(self, days: int) -> None:
        """Drop what is kept by day but the last days; later days need no more than `exposure_lag` of them."""
        self.history.forget(max(days, self.settings.regression.exposure_lag, 1))

    def exposures(self, row: int = LAST) -> Array:
        """Give exposures [n_assets, K] of one date, NaN outside the coverage universe."""
        scores = self._row("scores", row)
        out = np.zeros((len(self.symbols), 1 + len(self.sector_names) + len(scores)))
        exposure_rows(
            scores, self._row(self._caps_name, row), self._sector_row(row), shares_of(self.category_names), out
        )
        return out

    def linked(self, row: int = LAST) -> Linked:
        """Give the correlations of specific returns of assets of one issuer, as known at the end of a date."""
        if ISSUER not in self.category_names or not self.has_factor_returns:
            return Linked()
        codes = self._row(f"category/{ISSUER}", row)
        residuals = self.array("residuals", "estimate_factor_returns")
        end = len(residuals) if row == LAST else row + 1
        return link(issuer_groups(codes), residuals[max(0, end - LINK_DAYS) : end])

    def coverage(self) -> NDArray[np.bool_]:
        """Mark the assets with a positive cap, [n_dates, n_assets]."""
        return covered(self.array(self._caps_name, "estimate_style_scores"))

    def investment(self) -> NDArray[np.bool_]:
        """Mark the covered assets that the panel says may be held, [n_dates, n_assets]; without its word, all."""
        mask = self.coverage()
        if INVESTMENT in self.field_names:
            mask &= self.array(f"fields/{INVESTMENT}", "set_panel") > 0.0
        return mask

    def mimicking_weights(self, row: int, *, investable: bool) -> Array:
        """Give factor-mimicking portfolios [K, n_assets] of one date."""
        caps = self._row(self._caps_name, row)
        mask = self._row("estimation", row)
        if investable:
            mask = estimation_mask(caps, self._sector_row(row) if self.sector_names else None)
            if INVESTMENT in self.field_names:
                mask &= self._row(f"fields/{INVESTMENT}", row) > 0.0
        return self._returns.regression.mimicking_weights(
            self._weights_after(row, caps), caps, self._sector_row(row), self._row("scores", row),
            mask, len(self.sector_names), shares_of(self.category_names),
        )  # fmt: skip

    def condition_numbers(self) -> Array:
        """Give the condition number of each date's weighted, constrained design."""
        lag = self.settings.regression.exposure_lag
        numbers = np.full(len(self.dates), np.nan)
        for row in range(lag, len(self.dates)):
            caps = self._row(self._caps_name, row - lag)
            weights = self._returns.weights(caps, self._row(VARIANCES, row) if VARIANCES in self.history else None)
            scores, mask = self._row("scores", row - lag), self._row("estimation", row - lag)
            codes, shares = self._sector_row(row - lag), shares_of(self.category_names)
            numbers[row] = self._returns.regression.condition_number(
                weights, caps, codes, scores, mask, len(self.sector_names), shares
            )
        return numbers

    def note(self, sentence: str) -> None:
        """Add to the warnings, of which so many are kept."""
        if len(self._notes) < MAX_WARNINGS:
            self._notes.append(sentence)

    def warnings(self) -> list[str]:
        """Give what was not as it should be."""
        found = list(self._notes)
        return found + self._tally.sentences(self.factor_names) if self.has_factor_returns else found

    def state(self, last: int | None = None) -> ModelState:
        """Give everything as arrays, or only the last days of what is kept by day (which joins nothing)."""
        day_asset: dict[str, NDArray[Any]] = {}
        day: dict[str, NDArray[Any]] = {}
        for name in self.history.names:
            if name == "dates":
                continue
            by_asset = self.history.by_asset(name)
            whole = self.array(name, "") if last is None else self.history.tail(name, last)
            (day_asset if by_asset else day)[name] = self._pad(whole) if by_asset else whole
        latest: dict[str, NDArray[Any]] = self._scoring.state()
        if self.has_factor_returns:
            latest |= {f"regression/{name}": values for name, values in self._returns.state().items()}
            latest |= {f"tally/{name}": values for name, values in self._tally.state().items()}
        latest |= self.risk.state()
        return ModelState(
            dates=self.dates if last is None else self.dates_of(last),
            symbols=self.symbols,
            factor_names=self.factor_names,
            style_names=self.style_names,
            category_names=dict(self.category_names),
            day_asset=day_asset,
            day=day,
            latest=latest,
            recipe=self.recipe.to_dict(),
            settings=self._written_settings,
        )

    @classmethod
    def from_state(cls, settings: ModelSettings, recipe: Recipe, state: ModelState) -> Steps:
        """Take up a state; only the rows that the styles look back on are read."""
        fields = {
            name.removeprefix("fields/"): values
            for name, values in state.day_asset.items()
            if name.startswith("fields/")
        }
        categories = {
            name: Categories(state.day_asset[f"category/{name}"], tuple(words))
            for name, words in state.category_names.items()
        }
        steps = cls(settings, recipe, Panel(state.dates, state.symbols, fields, categories))
        for group, by_asset in ((state.day_asset, True), (state.day, False)):
            for name, values in group.items():
                if not name.startswith(("fields/", "category/")):
                    steps.history.replace(name, values, by_asset=by_asset)
        groups: dict[str, dict[str, NDArray[Any]]] = {}
        for name, values in state.latest.items():
            group_name, _, rest = name.partition("/")
            if rest:
                groups.setdefault(group_name, {})[rest] = values
        steps._scoring.restore(groups, len(steps.symbols))
        steps._returns.restore(groups.get("regression", {}))
        if "tally" in groups:
            steps._tally.restore(groups["tally"])
        if steps.has_scores:
            rows = steps._scoring.scorer.lookback
            market = np.array(steps.history.tail("market_return", rows))
            steps._scoring.scorer.replay(steps._clean_tail(rows), market, steps.dates_of(rows))
        steps.risk.restore(groups)
        return steps

    @property
    def _caps_name(self) -> str:
        return self._clean_name("market_cap")

    def _clean_name(self, name: str) -> str:
        return f"clean/{name}" if f"clean/{name}" in self.history else f"fields/{name}"

    def _clean_tail(self, rows: int) -> dict[str, Array]:
        names = {name: self._clean_name(name) for name in self.field_names}
        names[CAP_OF_THE_DAY] = "fields/market_cap"
        return {name: np.array(self._pad(self.history.tail(held, rows))) for name, held in names.items()}

    def _row(self, name: str, row: int) -> NDArray[Any]:
        return self._pad(self.history.tail(name, 1)[0] if row == LAST else self.history.get(name)[row])

    def _sector_row(self, row: int) -> NDArray[np.int16]:
        return sector_codes(self.category_names, lambda name: self._row(f"category/{name}", row), (len(self.symbols),))

    def _last_sectors(self, rows: int, n_assets: int) -> NDArray[np.int16]:
        """Codes of the last rows, as kernels take them."""
        held = self.history
        return sector_codes(
            self.category_names, lambda name: wide(held.tail(f"category/{name}", rows), n_assets), (rows, n_assets)
        )

    def _store(
        self, dates: NDArray[np.datetime64], fields: Mapping[str, Array], codes: Mapping[str, NDArray[np.int16]]
    ) -> None:
        self.history.append("dates", dates, by_asset=False)
        for name in self.field_names:
            self.history.append(f"fields/{name}", fields[name], by_asset=True)
        for name in self.category_names:
            self.history.append(f"category/{name}", codes[name], by_asset=True)

    def _append_symbols(self, symbols: tuple[str, ...]) -> None:
        if symbols == self.symbols:
            return
        new = [symbol for symbol in symbols if symbol not in self._position]
        for symbol in new:
            self._position[symbol] = len(self._position)
        if new:
            self.symbols = (*self.symbols, *new)

    def _aligned(self, days: Panel) -> tuple[dict[str, Array], dict[str, NDArray[np.int16]]]:
        """Put new days on the model's asset axis and category vocabulary."""
        shape = (days.n_dates, len(self.symbols))
        same = days.symbols == self.symbols
        columns = None if same else np.array([self._position[symbol] for symbol in days.symbols], dtype=np.intp)

        def spread_out(values: NDArray[Any]) -> NDArray[Any]:
            if columns is None:
                return np.ascontiguousarray(values)
            wide = np.full(shape, fill_of(values), dtype=values.dtype)
            wide[:, columns] = values
            return wide

        fields = {name: spread_out(days.fields[name]) for name in self.field_names}
        codes: dict[str, NDArray[np.int16]] = {}
        self.category_names = grown(self.category_names, days)
        for name in [*self.category_names]:
            category = category_of(days, name)
            renamed = category.renamed(self.category_names[name])
            lost = int(((category.codes >= 0) & (renamed < 0)).sum())
            if lost:
                unknown = [word for word in category.names if word not in self.category_names[name]]
                self.note(
                    f"{name} of {lost} rows from {days.dates[0]} on is new to the model ({', '.join(unknown[:5])}): "
                    "they count as outside every one"
                )
            codes[name] = spread_out(renamed)
        return fields, codes

    def _score(self, raw: Mapping[str, Array], codes: Mapping[str, NDArray[np.int16]]) -> None:
        """Clean, mark the universe and score the last rows."""
        n_new = len(raw["returns"])
        # Caps as given are stored with the new days already, cleaned ones are not.
        stored = 0 if self._caps_name.startswith("clean/") else n_new
        days = Panel(self.dates_of(n_new), self.symbols, raw)
        scored = self._scoring.run(days, codes, self._before(stored, len(self.symbols)))
        for name, values in scored.changed.items():
            self.history.append(f"clean/{name}", values, by_asset=True)
        self.history.append("estimation", scored.estimation, by_asset=True)
        self.history.append("scores", scored.scores, by_asset=True)
        self.history.append("market_return", scored.market_return, by_asset=False)

    def _before(self, stored: int, n_assets: int) -> tuple[Array, NDArray[np.bool_]] | None:
        """Caps and estimation universe of the day before, whose caps stand before `stored` newer ones."""
        if "estimation" not in self.history:
            return None
        caps = wide(self.history.tail(self._caps_name, 1 + stored)[:1], n_assets)
        return caps, wide(self.history.tail("estimation", 1), n_assets)

    def peek(self, day: Panel) -> PeekedDay:
        """Give what `update` of one day would add; new names stand at the end of the day's axis."""
        if not self.has_factor_returns:
            raise StageError("call estimate_factor_returns first", field="estimate_factor_returns")
        check_next(day, self.history.tail("dates", 1)[0], self.field_names, self.category_names)
        n = len(day.symbols)
        names = grown(self.category_names, day)
        codes = {name: category_of(day, name).renamed(words) for name, words in names.items()}
        scored = self._scoring.run(day, codes, self._before(0, n), keep=False)
        caps = scored.changed.get("market_cap", day.fields["market_cap"])
        scores, mask = scored.scores, scored.estimation
        sectors, shares = sector_codes(names, codes.__getitem__, (1, n)), shares_of(names)
        exposures = np.zeros((n, len(self.factor_names)))
        exposure_rows(scores[0], caps[0], sectors[0], shares, exposures)
        if self.settings.regression.exposure_lag:
            held = (self._caps_name, "scores", "estimation")
            caps, scores, mask = (wide(self.history.tail(name, 1), n) for name in held)
            sectors = self._last_sectors(1, n)
        returns, n_sectors = day.fields["returns"], len(self.sector_names)
        fits, _ = self._returns.estimate(returns, caps, sectors, scores, mask, n_sectors, shares=shares, keep=False)
        return PeekedDay(day, scored.scores[0], scored.estimation[0], float(scored.market_return[0]), exposures, fits)

    def dates_of(self, n_last: int) -> NDArray[np.datetime64]:
        """Give the last dates."""
        return self.history.tail("dates", n_last)

    def _pad(self, values: NDArray[Any]) -> NDArray[Any]:
        return wide(values, len(self.symbols))

    def _regress(self, n_new: int) -> None:
        """Regress the last `n_new` dates on exposures known before (or on the same date without a lag)."""
        lag = self.settings.regression.exposure_lag
        n_dates = len(self.history.get("dates")) if not self.has_factor_returns else None
        first = n_dates is not None
        rows = n_new + (0 if first else lag)
        take = {
            name: self._pad(self.history.tail(name, rows))
            for name in (self._caps_name, "scores", "estimation", "fields/returns")
        }
        caps, scores, mask = take[self._caps_name], take["scores"], take["estimation"]
        codes = self._last_sectors(rows, len(self.symbols))
        returns = take["fields/returns"][lag:]
        known = slice(0, rows - lag)
        out, variances = self._returns.estimate(
            returns, caps[known], codes[known], scores[known], mask[known], len(self.sector_names),
            shares=shares_of(self.category_names),
        )  # fmt: skip
        self._tally.add(self.dates_of(len(returns)), out.status, out.factor_returns, out.standard_errors)
        found = {name: getattr(out, name) for name in RETURNS}
        if variances is not None:
            found[VARIANCES] = variances
        for name, values in found.items():
            blank = np.zeros((lag if first else 0, *values.shape[1:]), dtype=values.dtype)
            if values.dtype.kind == "f":
                blank[:] = np.nan
            whole = np.concatenate([blank, values]) if len(blank) else values
            self.history.append(name, whole, by_asset=name in ("residuals", VARIANCES))

    def next_weights(self) -> Array:
        """Weights of the next day's regression, 0 outside of the last date's estimation universe."""
        weights = self._weights_after(LAST, self._row(self._caps_name, LAST))
        return np.nan_to_num(np.where(self._row("estimation", LAST), weights, 0.0))

    def _weights_after(self, row: int, caps: Array) -> Array:
        """Regression weights known at the end of a date."""
        if not self._returns.carries_variances or row == LAST:
            return self._returns.weights(caps, None)
        return self._returns.weights(caps, self._row(VARIANCES, row + 1))

    def _observed(self, n_last: int) -> Array:
        """Factor returns of the last dates, NaN where a factor had no members."""
        if not self.has_factor_returns:
            raise StageError("call estimate_factor_returns first", field="estimate_factor_returns")
        errors = self.history.tail("standard_errors", n_last)
        return np.where(np.isfinite(errors), self.history.tail("factor_returns", n_last), np.nan)

    def _forget_returns(self) -> None:
        self.history.drop(*RETURNS, VARIANCES)
        self._new_returns()
        self.risk.forget()
