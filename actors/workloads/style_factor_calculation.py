"""Style scores of a model or of posted frames, and signals made from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from actors.reading.columns import Named, Table
from actors.reading.confidence import confidence_score, share
from actors.reading.features import intake_of
from actors.reading.panels import whole_panel
from actors.reading.posted import panel_of, warnings_of
from actors.reading.slices import Slice, Slices, by_name, factor_returns_of, settings_of
from actors.runtime.base import WorkloadActor
from actors.workloads.individual import style_scores
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from factors.factor_model.settings import StyleSettings
from factors.panel.axis import positions
from factors.panel.intake import DEFAULT
from factors.panel.panel import Panel
from factors.style.scores import StyleScores
from factors.style.series import CAP_OF_THE_DAY
from store import Version

TRADING_DAYS = 252
FRAMES = {
    "returns_data": ("momentum", ("returns",)),
    "market_cap_data": ("size", ("market_cap",)),
    "fundamental_data": ("value", ("book_price", "sales_price", "cf_price")),
}


class StyleFactorCalculation(WorkloadActor):
    """Answers with the stored scores where the settings are the model's, and computes them where they are not."""

    def prepare(self) -> None:
        """Open the store and compile the kernels on a small panel."""
        self.slices = Slices()
        rng = np.random.default_rng(0)
        fields = {"returns": rng.standard_normal((40, 8)) * 0.02, "market_cap": np.exp(rng.standard_normal((40, 8)))}
        dates = np.datetime64("2020-01-01", "D") + np.arange(40)
        style_scores(Panel(dates, tuple("ABCDEFGH"), fields), StyleSettings(names=("momentum", "size")))

    def style_factors(self, request: rq.StyleFactors) -> Calculation:
        """Scores by style and symbol on the last date."""
        frames = {name: payload for name in FRAMES if (payload := getattr(request, name)) is not None}
        return self._posted(request, frames) if frames else self._of_model(request)

    def _of_model(self, request: rq.StyleFactors) -> Calculation:
        found = self.slices.at(request.model_id)
        settings = settings_of(found.version).style_factors
        asked = _with(settings, request)
        names = found.style_names
        columns = found.chosen(request.symbols)
        stored = asked.mom == settings.mom
        if stored:
            scores = found.scores[:, columns]
        else:
            scores = _scored_again(found.version, replace(asked, names=names))[:, columns]
        coverage = share(np.isfinite(scores))
        return Calculation(
            values=Table(names, found.version.names_of(columns), scores),
            message=f"{len(names)} styles of {len(columns)} names on {found.date}",
            confidence_score=found.confidence(coverage),
            model_version=found.number,
            details={"date": str(found.date), "stored": stored, "trailing_days": asked.mom.trailing_days},
        )

    def _posted(self, request: rq.StyleFactors, frames: dict[str, bytes]) -> Calculation:
        asked = _with(StyleSettings(), request)
        values: dict[str, dict[str, float]] = {}
        n_names, n_scores, last = 0, 0, ""
        intake, warnings = intake_of(request, DEFAULT), list[str]()
        for frame, payload in frames.items():
            style, required = FRAMES[frame]
            panel = panel_of(payload, frame, required, intake)
            warnings += [f"{frame}: {line}" for line in warnings_of(panel, intake)]
            row = style_scores(panel, replace(asked, names=(style,)))[-1]
            columns = _positions(panel, request.symbols, frame)
            values |= Table((style,), [panel.symbols[i] for i in columns], row[:, columns])
            n_names, n_scores = n_names + len(columns), n_scores + int(np.isfinite(row[0, columns]).sum())
            last = max(last, str(panel.dates[-1]))
        return Calculation(
            values=values,
            message=f"{len(values)} styles from posted frames on {last}",
            confidence_score=confidence_score(n_scores / max(n_names, 1), n_scores, len(values)),
            details={"date": last, "trailing_days": asked.mom.trailing_days, "warnings": warnings},
        )

    def factor_signals(self, request: rq.FactorSignals) -> Calculation:
        """Per style: return, momentum t-statistic and trend of its factor; per symbol: the composite score."""
        found = self.slices.at(request.model_id)
        window = request.window_days
        first = len(found.factor_names) - len(found.style_names)
        total = found.version.manifest.n_dates
        history = factor_returns_of(found.version, slice(max(total - TRADING_DAYS, 0), total))[:, first:]
        if len(history) < window:
            raise InvalidInput(f"the model has {len(history)} days, window_days asks for {window}", field="window_days")
        # Of the days on which a style was estimated; one that never was has no signal, not one of 0.
        recent = history[-window:]
        n_days = np.isfinite(recent).sum(axis=0)
        mean, long_mean = _mean(recent), _mean(history)
        spread = np.nansum((recent - mean) ** 2, axis=0)
        deviation = np.sqrt(np.divide(spread, n_days - 1, out=np.zeros(len(mean)), where=n_days > 1))
        t_statistic = np.divide(
            mean * np.sqrt(n_days), deviation, out=np.full(len(mean), np.nan), where=deviation > 0.0
        )
        made = np.where(n_days > 0, np.nanprod(1.0 + recent, axis=0) - 1.0, np.nan)
        told = np.stack([made, t_statistic, mean - long_mean], axis=1)
        styles = {
            name: by_name(("return", "momentum_t", "trend"), row)
            for name, row in zip(found.style_names, told, strict=True)
        }
        columns = found.chosen(request.symbols)
        return Calculation(
            values={"styles": styles, "composite": self._composite(found, np.nan_to_num(t_statistic), columns)},
            message=f"signals of {len(styles)} styles over {window} days and of {len(columns)} names",
            confidence_score=confidence_score(share(found.known[columns]), window, 2),
            model_version=found.number,
            details={
                "date": str(found.date),
                "window_days": window,
                "composite": "style scores weighted by the styles' momentum t-statistics, by their absolute sum",
            },
        )

    @staticmethod
    def _composite(found: Slice, weights: np.ndarray, columns: np.ndarray) -> Named:
        scores = found.scores_of(columns).T
        size = np.abs(weights).sum()
        blend = scores @ (weights / size if size else weights)
        return Named(found.version.names_of(columns), blend)


def _mean(returns: np.ndarray) -> np.ndarray:
    """Give the mean over days of returns `[n_dates, K]`, of those that are there; NaN where none is."""
    n_days = np.isfinite(returns).sum(axis=0)
    mean = np.full(returns.shape[1], np.nan)
    np.divide(np.nansum(returns, axis=0), n_days, out=mean, where=n_days > 0)
    return mean


def _scored_again(version: Version, asked: StyleSettings) -> np.ndarray:
    """Score a model's last date by other settings, over its own universe, market and cleaned fields.

    Returns
    -------
    float64 [n_styles, n_assets]
    """
    meta, total = version.manifest.meta, version.manifest.n_dates
    scorer = StyleScores(asked, set(meta["fields"]), groups=set(meta["category_names"]))
    panel, days = whole_panel(version, scorer.lookback), slice(max(total - scorer.lookback, 0), total)
    cleaned = {name: version.day_asset(f"clean/{name}", days) for name in meta["cleaned"]}
    used = {**panel.fields, **cleaned, CAP_OF_THE_DAY: panel.fields["market_cap"]}
    market, mask = version.day("market_return", days), version.day_asset("estimation", days)
    codes = {name: category.codes for name, category in panel.categories.items()}
    return np.asarray(scorer.compute(used, market, used["market_cap"], mask, panel.dates, codes)[-1])


def _with(settings: StyleSettings, request: rq.StyleFactors) -> StyleSettings:
    changed = replace(settings.mom, trailing_days=request.trailing_days, winsor_factor=request.winsor_factor)
    return replace(settings, mom=changed)


def _positions(panel: Panel, symbols: list[str] | None, frame: str) -> np.ndarray:
    """Positions of the symbols asked for in one posted frame; one that this frame lacks is named."""
    if symbols is None:
        return np.arange(len(panel.symbols))
    column = positions(panel.symbols)
    wrong = [symbol for symbol in symbols if symbol not in column]
    if wrong:
        raise InvalidInput(f"{frame} has no rows of {', '.join(wrong[:10])}", field="symbols", rows=wrong)
    return np.array([column[symbol] for symbol in symbols], dtype=np.intp)
