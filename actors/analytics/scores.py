"""What a score was worth: tear sheets of styles, library factors, formulas and posted scores."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from actors.library.bars import shown
from actors.library.formulas import Formulas
from actors.library.values import library_window, window_values
from actors.reading.confidence import confidence_score
from actors.reading.slices import Slices, rows_between, unknown_symbols
from actors.reading.unknown import no_factor
from contracts import portfolio_requests as pq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.settings import Settings
from factors.analytics.tear_sheet import TearSheetSettings, tear_sheet
from factors.errors import FactorError
from factors.library import PAPER, Conventions, FormulaError, Library, Translation, translate
from store import Version

LONGEST_DAYS = 1260


class ScoreFigures:
    """The methods of the factor library's actor that judge scores."""

    slices: Slices
    formulas: Formulas
    settings: Settings

    def factor_analytics(self, request: pq.FactorAnalytics) -> Calculation:
        """Information coefficients, quantile returns, spreads, turnover and significance of one score."""
        version = self.slices.head(request.model_id)
        days = rows_between(version, request.start_date, request.end_date, version.manifest.model_id)
        if request.start_date is None:
            days = slice(max(days.start, days.stop - LONGEST_DAYS), days.stop)
        if days.stop - days.start > LONGEST_DAYS:
            raise InvalidInput(f"the period must hold at most {LONGEST_DAYS} dates", field="start_date")
        name, scores = self._scores(request, version, days)
        returns = np.asarray(version.day_asset("fields/returns", days))
        chosen = TearSheetSettings(
            horizons=tuple(request.horizons), n_quantiles=request.n_quantiles, trials=request.trials
        )
        others = _styles(version, days, request.style)
        try:
            sheet = tear_sheet(scores, returns, version.dates_of(days), chosen, name, others)
        except FactorError as error:
            raise InvalidInput(str(error), field=error.field) from None
        values = dict(sheet.figures)
        if request.html:
            values["html"] = sheet.to_html()
        n_days = days.stop - days.start
        return Calculation(
            values=values,
            message=f"{name} judged over {n_days} days",
            confidence_score=confidence_score(float(values["coverage"] or 0.0), n_days, 1),
            model_version=version.manifest.version,
            details={
                "start_date": str(version.date(days.start)),
                "end_date": str(version.date(days.stop - 1)),
                "min_periods": request.min_periods,
                **shown(_translation(request)),
                **_left_out(request.scores or {}, version, days),
            },
        )

    def _scores(self, request: pq.FactorAnalytics, version: Version, days: slice) -> tuple[str, np.ndarray]:
        """Give the score's name and values, float64 [n_days, n_assets]."""
        if request.style is not None:
            styles = list(version.manifest.meta["style_names"])
            if request.style not in styles:
                raise no_factor([request.style], styles, "style", "style")
            return request.style, np.asarray(version.day_asset("scores", days))[:, styles.index(request.style)]
        if request.scores is not None:
            return "posted scores", _posted(request.scores, version, days)
        threads = self.settings.library_threads
        if request.factor is not None:
            ids = self.formulas.resolve([request.factor], "factor")
            self._refuse_uncomputable(request.model_id, ids)
            formulas = self.formulas.under(request.min_periods)
            values, _ = window_values(formulas, ids, version, days.stop - 1, days.stop - days.start, threads)
            return ids[0], values[0]
        assert request.formula is not None
        formula, base = request.formula, PAPER
        translation = _translation(request)
        if translation is not None:
            formula, base = translation.text, translation.conventions
        library = self._compiled(formula, request.model_id, request.min_periods, base)
        return request.formula, library_window(library, version, days, threads)[0]

    if TYPE_CHECKING:

        def _refuse_uncomputable(self, model_id: str | None, ids: tuple[str, ...]) -> None: ...

        def _compiled(
            self, formula: str, model_id: str | None, min_periods: Literal["strict", "one"], base: Conventions = PAPER
        ) -> Library: ...


def _styles(version: Version, days: slice, but: str | None) -> dict[str, np.ndarray]:
    """Give the scores of the model's styles but one, which every score is compared with."""
    scores = np.asarray(version.day_asset("scores", days))
    return {name: scores[:, i] for i, name in enumerate(version.manifest.meta["style_names"]) if name != but}


def _translation(request: pq.FactorAnalytics) -> Translation | None:
    """Translate a formula from its dialect; None where it has none."""
    if request.formula is None or request.dialect == "own":
        return None
    try:
        return translate(request.formula, request.dialect)
    except FormulaError as error:
        raise InvalidInput(str(error), field="formula") from None


def _posted(scores: Mapping[str, Mapping[str, float]], version: Version, days: slice) -> np.ndarray:
    """Put posted scores on the model's axes. Raises for dates and symbols that it does not have."""
    dates = {str(date): i for i, date in enumerate(version.dates_of(days))}
    out = np.full((days.stop - days.start, len(version.symbols)), np.nan)
    wrong = [date for date in scores if not _is_date(date)]
    if wrong:
        raise InvalidInput(f"scores are by ISO date: {wrong[0]!r} is none", field="scores", rows=wrong)
    strange: set[str] = set()
    used = 0
    for date, row in scores.items():
        strange |= row.keys() - version.column.keys()
        if date in dates:
            used += 1
            for symbol, score in row.items():
                if symbol in version.column:
                    out[dates[date], version.column[symbol]] = score
    if strange:
        raise unknown_symbols(sorted(strange), version, "scores")
    if not used:
        raise InvalidInput("none of the scores' dates is a date of the model in the period", field="scores")
    return out


def _left_out(scores: Mapping[str, Mapping[str, float]], version: Version, days: slice) -> dict[str, list[str]]:
    """Warn of posted dates that judge nothing: a month that ends on a Saturday is no date of the model."""
    unused = sorted(scores.keys() - {str(date) for date in version.dates_of(days)})
    if not unused:
        return {}
    said = (
        f"{len(unused)} of {len(scores)} dates of the scores are no dates of the model in the period and judge nothing"
    )
    return {"warnings": [f"{said}: {', '.join(unused[:5])}{', ...' if len(unused) > 5 else ''}"]}


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
