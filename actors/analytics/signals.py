"""Signals of library factors and formulas: what they foretold lately, and what they say of each name now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from actors.library.formulas import Formulas
from actors.library.values import library_window, window_values
from actors.reading.columns import Named
from actors.reading.confidence import confidence_score, share
from actors.reading.slices import Slices, row_of, unknown_symbols
from contracts import portfolio_requests as pq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.settings import Settings
from factors.analytics.information import forward_returns, information_coefficient, information_summary
from factors.analytics.signals import blend, standardised
from factors.library import Library
from store import Version


class Signals:
    """The method of the factor library's actor that makes signals."""

    slices: Slices
    formulas: Formulas
    settings: Settings

    def library_signals(self, request: pq.LibrarySignals) -> Calculation:
        """Per factor and formula: rank IC over the window; per name: z-scores and their composite by the IC's t."""
        version = self.slices.head(request.model_id)
        model_id = version.manifest.model_id
        last = version.manifest.n_dates - 1
        row = last if request.date_requested is None else row_of(version, request.date_requested, model_id)
        if row < request.window_days:
            raise InvalidInput(
                f"the model has {row} days before {version.date(row)}, window_days asks for {request.window_days}",
                field="window_days",
            )
        if request.symbols is not None and (wrong := [name for name in request.symbols if name not in version.column]):
            raise unknown_symbols(wrong, version, "symbols")
        days = slice(row - request.window_days, row + 1)
        names, scores = self._of(request, version, days)
        following = forward_returns(np.asarray(version.day_asset("fields/returns", days)))
        summaries = [information_summary(information_coefficient(rows, following)) for rows in scores]
        z = np.stack([standardised(rows[-1]) for rows in scores])
        composite = blend(z, np.array([summary.t_statistic for summary in summaries]))
        symbols = version.symbols if request.symbols is None else request.symbols
        columns = np.array([version.column[name] for name in symbols], np.intp)
        factors = {
            name: {
                "ic": _defined(summary.mean),
                "ic_t": _defined(summary.t_statistic),
                "hit_rate": _defined(summary.share_positive),
                "n_days": summary.n_dates,
                "covered": share(np.isfinite(of_names)),
                "zscores": Named(symbols, of_names[columns]),
            }
            for name, summary, of_names in zip(names, summaries, z, strict=True)
        }
        return Calculation(
            values={"factors": factors, "composite": Named(symbols, composite[columns])},
            message=f"signals of {len(names)} factors over {request.window_days} days and of {len(columns)} names",
            confidence_score=confidence_score(share(np.isfinite(composite)), request.window_days, 2),
            model_version=version.manifest.version,
            details={
                "date": str(version.date(row)),
                "window_days": request.window_days,
                "composite": "z-scores weighted by the t-statistics of their rank ICs, by their absolute sum; a name's "
                "missing scores leave their weight to its others",
                **self.formulas.aliased(list(request.factors)),
            },
        )

    def _of(self, request: pq.LibrarySignals, version: Version, days: slice) -> tuple[list[str], np.ndarray]:
        """Give names and values, float64 [n_scores, n_days, n_assets]."""
        threads, n_days = self.settings.library_threads, days.stop - days.start
        names, scores = [], []
        if request.factors:
            ids = self.formulas.resolve(list(request.factors))
            self._refuse_uncomputable(request.model_id, ids)
            formulas = self.formulas.under(request.min_periods)
            values, _ = window_values(formulas, ids, version, days.stop - 1, n_days, threads)
            names += list(ids)
            scores += list(values)
        for name, formula in request.formulas.items():
            library = self._compiled(formula, request.model_id, request.min_periods)
            names.append(name)
            scores.append(library_window(library, version, days, threads)[0])
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInput(f"{twice[0]!r} is named twice", field="formulas", rows=twice)
        return names, np.stack(scores)

    if TYPE_CHECKING:

        def _refuse_uncomputable(self, model_id: str | None, ids: tuple[str, ...]) -> None: ...

        def _compiled(self, formula: str, model_id: str | None, min_periods: Literal["strict", "one"]) -> Library: ...


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
