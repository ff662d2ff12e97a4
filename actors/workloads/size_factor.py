"""Size."""

from __future__ import annotations

from typing import Any

from actors.runtime.queue import Answer
from actors.workloads.individual import Batch, IndividualFactor
from factors.factor_model.settings import StyleSettings


class SizeFactor(IndividualFactor):
    """Size from market cap: small minus big."""

    style = "size"
    frame = "market_cap_data"
    required = ("market_cap",)

    def _style_settings(self, settings: StyleSettings, request: dict[str, Any]) -> StyleSettings:
        """Keep the settings: size has neither a window nor winsorising."""
        del request
        return settings

    def size(self, batch: Batch) -> list[Answer]:
        """Size scores of the last date."""
        return self._answer(batch)
