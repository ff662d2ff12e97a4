"""What the momentum, value and size actors share: one style's scores from a posted frame, or of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from actors.base import WorkloadActor
from actors.confidence import confidence_score
from actors.panels import last_panel
from actors.posted import panel_of
from actors.queue import Answer
from actors.slices import Slices, unknown_symbols
from contracts.work import Device
from factors.panel import Panel
from factors.settings import ModelSettings, StyleSettings
from factors.style_scores import StyleScores

Batch = list[dict[str, Any]]


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
        settings = self._style_settings(StyleSettings(), {"trailing_days": 20, "winsor_factor": 0.01})
        style_scores(_warm_panel(), settings)

    def _style_settings(self, settings: StyleSettings, request: dict[str, Any]) -> StyleSettings:
        """Give the settings of this style with what the request asks for."""
        raise NotImplementedError

    def _answer(self, batch: Batch) -> list[Answer]:
        """Answer a batch of this style's operation."""
        return [self._one(request) for request in batch]

    def _one(self, request: dict[str, Any]) -> dict[str, Any]:
        number, model_id = None, request["model_id"]
        if request[self.frame] is not None:
            settings = self._named(StyleSettings(), request)
            panel = panel_of(request[self.frame], self.frame, self.required)
        else:
            version = self.slices.head(model_id)
            settings = self._named(ModelSettings.from_dict(version.manifest.meta["settings"]).style_factors, request)
            stored = set(version.manifest.meta["fields"])
            fields = [name for name in (*self.required, "market_cap") if name in stored]
            rows = StyleScores(settings, stored).lookback
            panel = last_panel(version, rows, list(dict.fromkeys(fields)))
            number = version.manifest.version
        row = style_scores(panel, settings)[-1, 0]
        columns = _chosen(panel, request["symbols"], model_id or self.frame)
        defined = np.isfinite(row)
        there = columns[defined[columns]]
        return {
            "values": {panel.symbols[i]: float(row[i]) for i in there},
            "message": f"{self.style} of {len(there)} names on {panel.dates[-1]}",
            "confidence_score": confidence_score(len(there) / max(len(columns), 1), int(defined.sum()), 1),
            "model_version": number,
            "hardware_used": Device.CPU,
            "extra": {"date": str(panel.dates[-1]), "n_dates": panel.n_dates},
        }

    def _named(self, settings: StyleSettings, request: dict[str, Any]) -> StyleSettings:
        return replace(self._style_settings(settings, request), names=(self.style,))


def style_scores(panel: Panel, settings: StyleSettings) -> np.ndarray:
    """Scores of the panel's dates, float64 [n_dates, n_styles, n_assets].

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
    return StyleScores(settings, set(panel.fields)).compute(panel.fields, market, caps, mask, panel.dates, codes)


def _chosen(panel: Panel, symbols: Sequence[str] | None, source: str) -> np.ndarray:
    if symbols is None:
        return np.arange(len(panel.symbols))
    column = {symbol: i for i, symbol in enumerate(panel.symbols)}
    if any(symbol not in column for symbol in symbols):
        raise unknown_symbols(symbols, column, source, "symbols")
    return np.array([column[symbol] for symbol in symbols], dtype=np.intp)


def _warm_panel() -> Panel:
    rng = np.random.default_rng(0)
    shape = (60, 12)
    fields = {"returns": rng.standard_normal(shape) * 0.02, "market_cap": np.exp(rng.standard_normal(shape) + 20.0)}
    fields |= {name: np.exp(rng.standard_normal(shape)) for name in ("book_price", "sales_price", "cf_price")}
    dates = np.datetime64("2020-01-01", "D") + np.arange(shape[0])
    return Panel(dates, tuple(f"W{i:02d}" for i in range(shape[1])), fields)
