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
from factors.settings import ModelSettings

Batch = list[dict[str, Any]]


class IndividualFactor(WorkloadActor):
    """Computes one style on the last date.

    A subclass names its request's frame, the fields it needs and how far it looks back, and computes the scores.
    """

    frame: ClassVar[str]
    required: ClassVar[tuple[str, ...]]

    def prepare(self) -> None:
        """Open the store and compile the kernels on a small panel."""
        self.slices = Slices()
        self.scores(_warm_panel(), ModelSettings(), {"trailing_days": 20, "winsor_factor": 0.01})

    def scores(self, panel: Panel, settings: ModelSettings, request: dict[str, Any]) -> np.ndarray:
        """Scores, float64 [n_dates, n_assets]."""
        raise NotImplementedError

    def look_back(self, request: dict[str, Any], settings: ModelSettings) -> int:
        """Rows that the last date's scores need."""
        del request, settings
        return 1

    def _answer(self, batch: Batch) -> list[Answer]:
        return [self._one(request) for request in batch]

    def _one(self, request: dict[str, Any]) -> dict[str, Any]:
        number, model_id = None, request["model_id"]
        if request[self.frame] is not None:
            settings = ModelSettings()
            panel = panel_of(request[self.frame], self.frame, self.required)
        else:
            version = self.slices.head(model_id)
            settings = ModelSettings.from_dict(version.manifest.meta["settings"])
            panel = last_panel(version, self.look_back(request, settings), self.required)
            number = version.manifest.version
        row = self.scores(panel, settings, request)[-1]
        columns = _chosen(panel, request["symbols"], model_id or self.frame)
        defined = np.isfinite(row)
        there = columns[defined[columns]]
        return {
            "values": {panel.symbols[i]: float(row[i]) for i in there},
            "message": f"scores of {len(there)} names on {panel.dates[-1]}",
            "confidence_score": confidence_score(len(there) / max(len(columns), 1), int(defined.sum()), 1),
            "model_version": number,
            "hardware_used": Device.CPU,
            "extra": {"date": str(panel.dates[-1]), "n_dates": panel.n_dates},
        }


def settings_with(settings: ModelSettings, **changes: Any) -> ModelSettings:
    """Give the model's settings with those of one style changed; the momentum lag stays below its window."""
    styles = settings.style_factors
    return replace(settings, style_factors=replace(styles, **changes))


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
