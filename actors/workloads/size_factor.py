"""Size."""

from __future__ import annotations

from actors.workloads.individual import IndividualFactor
from contracts import requests as rq
from contracts.answers import Calculation
from factors.factor_model.settings import StyleSettings


class SizeFactor(IndividualFactor):
    """Size from market cap: small minus big."""

    style = "size"
    frame = "market_cap_data"
    required = ("market_cap",)

    def _style_settings(self, settings: StyleSettings, request: rq.IndividualFactor) -> StyleSettings:
        """Keep the settings: size has neither a window nor winsorising."""
        del request
        return settings

    def size(self, request: rq.SizeFactor) -> Calculation:
        """Size scores of the last date."""
        return self._answer(request)
