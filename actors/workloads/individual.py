"""What the momentum, value and size actors share: one style's scores from a posted frame, or of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from actors.reading.columns import Named
from actors.reading.confidence import confidence_score
from actors.reading.features import intake_of
from actors.reading.panels import last_panel
from actors.reading.posted import panel_of, warnings_of
from actors.reading.slices import Slices, not_among, settings_of, unknown_symbols
from actors.runtime.base import WorkloadActor
from contracts import requests as rq
from contracts.answers import Calculation
from factors.factor_model.settings import StyleSettings
from factors.panel.intake import DEFAULT
from factors.panel.panel import Panel
from factors.style.scores import StyleScores
from store import LRU, Version

LIVE_STYLES = 8
"""Styles of models whose rows are kept in memory; least recently asked for go first."""


class IndividualFactor(WorkloadActor):
    """Computes one style on the last date.

    A subclass names its style, its request's frame, the fields that the frame must have, and its settings.
    """

    style: ClassVar[str]
    frame: ClassVar[str]
    required: ClassVar[tuple[str, ...]]
    """Fields that a posted frame must have; of a model, all fields are read that the style can use."""

    def prepare(self) -> None:
        """Open the store and compile the kernels on a small panel."""
        self.slices = Slices()
        self._live: LRU[tuple[str, str], LiveStyle] = LRU(LIVE_STYLES)
        settings = self._style_settings(StyleSettings(), rq.IndividualFactor(trailing_days=20))
        style_scores(_warm_panel(), settings)

    def _style_settings(self, settings: StyleSettings, request: rq.IndividualFactor) -> StyleSettings:
        """Give the settings of this style with what the request asks for."""
        raise NotImplementedError

    def _answer(self, request: rq.IndividualFactor) -> Calculation:
        """Answer this style's operation."""
        number, model_id, about = None, request.model_id, {}
        source: Version | str = self.frame
        posted = getattr(request, self.frame)
        if posted is not None:
            intake = intake_of(request, DEFAULT)
            panel = panel_of(posted, self.frame, self.required, intake)
            about = {"warnings": warnings_of(panel, intake)}
            row = style_scores(panel, self._named(StyleSettings(), request))[-1, 0]
            symbols, date, n_dates = panel.symbols, panel.dates[-1], panel.n_dates
        else:
            source = version = self.slices.head(model_id)
            row, n_dates = self._of_model(version, self._named(settings_of(version).style_factors, request))
            symbols, date, number = (
                version.symbols,
                version.date(version.manifest.n_dates - 1),
                version.manifest.version,
            )
        columns = _chosen(symbols, request.symbols, source)
        defined = np.isfinite(row)
        there = columns[defined[columns]]
        names = [symbols[i] for i in there.tolist()]
        return Calculation(
            values=Named(names, row[there]),
            message=f"{self.style} of {len(there)} names on {date}",
            confidence_score=confidence_score(len(there) / max(len(columns), 1), int(defined.sum()), 1),
            model_version=number,
            details={"date": str(date), "n_dates": n_dates, **about},
        )

    def _of_model(self, version: Version, settings: StyleSettings) -> tuple[np.ndarray, int]:
        """Give the scores of a model's last date [n_assets], and how many dates they depend on.

        The rows that the style looks back on stay in memory, so that a new day reads one row.
        """
        key = (version.manifest.model_id, repr(settings))
        live = self._live.pop(key)
        if live is None or not live.continues(version):
            stored = set(version.manifest.meta["fields"])
            fields = tuple(name for name in dict.fromkeys((*self.required, "market_cap")) if name in stored)
            live = LiveStyle(settings, fields)
        row = live.row_of(version)
        self._live.put(key, live)
        return row, min(live.lookback, version.manifest.n_dates)

    def _named(self, settings: StyleSettings, request: rq.IndividualFactor) -> StyleSettings:
        return replace(self._style_settings(settings, request), names=(self.style,))


def style_scores(panel: Panel, settings: StyleSettings) -> np.ndarray:
    """Scores of the panel's dates, float64 [n_dates, n_styles, n_assets]."""
    return score_panel(panel, StyleScores(settings, set(panel.fields)))


def score_panel(panel: Panel, scorer: StyleScores) -> np.ndarray:
    """Scores of the next dates of a scorer, float64 [n_dates, n_styles, n_assets].

    Without caps every name that has any value on a date weighs the same; the market is the cap-weighted return.
    """
    present = np.logical_or.reduce([np.isfinite(values) for values in panel.fields.values()])
    caps = panel.fields.get("market_cap", present.astype(np.float64))
    mask = present & (np.nan_to_num(caps) > 0.0)
    held = np.where(mask, np.nan_to_num(caps), 0.0)
    returns = np.nan_to_num(panel.fields.get("returns", np.zeros(panel.shape)))
    total = held.sum(axis=1)
    market = np.divide((held * returns).sum(axis=1), total, out=np.zeros(len(total)), where=total > 0.0)
    codes = {name: category.codes for name, category in panel.categories.items()}
    return scorer.compute(panel.fields, market, caps, mask, panel.dates, codes)


class LiveStyle:
    """One style of one model, carried from version to version while days are added.

    Parameters
    ----------
    settings
        They name one style that does not read the market's return.
    fields
        Fields of the model that the style reads.
    """

    def __init__(self, settings: StyleSettings, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self._scorer = StyleScores(settings, set(fields))
        self._version = self._n_dates = 0
        self._row = np.empty(0)

    @property
    def lookback(self) -> int:
        """Rows that a date's scores depend on, that date's included."""
        return self._scorer.lookback

    def continues(self, version: Version) -> bool:
        """Say whether a version is the one last read with days added at the end, or none."""
        return version.manifest.since <= self._version <= version.manifest.version

    def row_of(self, version: Version) -> np.ndarray:
        """Give the scores of the version's last date, float64 [n_assets]; reads the rows that are new."""
        if version.manifest.version == self._version:
            return self._row
        total = version.manifest.n_dates
        first = not self._version
        new = last_panel(version, min(self.lookback, total) if first else total - self._n_dates, self._fields)
        if first and new.n_dates > 1:
            earlier = {name: values[:-1] for name, values in new.fields.items()}
            self._scorer.replay(earlier, np.zeros(new.n_dates - 1), new.dates[:-1])
            new = new.last(1)
        self._row = score_panel(new, self._scorer)[-1, 0]
        self._version, self._n_dates = version.manifest.version, total
        return self._row


def _chosen(known: tuple[str, ...], symbols: Sequence[str] | None, source: Version | str) -> np.ndarray:
    if symbols is None:
        return np.arange(len(known))
    column = {symbol: i for i, symbol in enumerate(known)}
    if any(symbol not in column for symbol in symbols):
        if isinstance(source, str):
            raise not_among(symbols, column, source, "symbols")
        raise unknown_symbols(symbols, source, "symbols")
    return np.array([column[symbol] for symbol in symbols], dtype=np.intp)


def _warm_panel() -> Panel:
    rng = np.random.default_rng(0)
    shape = (60, 12)
    fields = {"returns": rng.standard_normal(shape) * 0.02, "market_cap": np.exp(rng.standard_normal(shape) + 20.0)}
    fields |= {name: np.exp(rng.standard_normal(shape)) for name in ("book_price", "sales_price", "cf_price")}
    dates = np.datetime64("2020-01-01", "D") + np.arange(shape[0])
    return Panel(dates, tuple(f"W{i:02d}" for i in range(shape[1])), fields)
