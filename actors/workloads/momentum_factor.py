"""Momentum."""

from __future__ import annotations

from dataclasses import replace

from actors.workloads.individual import IndividualFactor
from contracts import requests as rq
from contracts.answers import Calculation
from factors.factor_model.settings import StyleSettings


class MomentumFactor(IndividualFactor):
    """Momentum from returns: the weighted return of the trailing days, the latest left out."""

    style = "momentum"
    frame = "returns_data"
    required = ("returns",)

    def _style_settings(self, settings: StyleSettings, request: rq.IndividualFactor) -> StyleSettings:
        """Take the window and the winsorising of the request; half-life and lag stay those of the settings."""
        changed = replace(settings.mom, trailing_days=request.trailing_days, winsor_factor=request.winsor_factor)
        return replace(settings, mom=changed)

    def momentum(self, request: rq.MomentumFactor) -> Calculation:
        """Momentum scores of the last date."""
        return self._answer(request)
