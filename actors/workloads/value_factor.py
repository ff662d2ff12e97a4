"""Value."""

from __future__ import annotations

from dataclasses import replace

from actors.workloads.individual import IndividualFactor
from contracts import requests as rq
from contracts.answers import Calculation
from factors.factor_model.settings import StyleSettings


class ValueFactor(IndividualFactor):
    """Value from book, sales and cash flow to price."""

    style = "value"
    frame = "fundamental_data"
    required = ("book_price", "sales_price", "cf_price")

    def _style_settings(self, settings: StyleSettings, request: rq.IndividualFactor) -> StyleSettings:
        """Take the winsorising of the request."""
        return replace(settings, val=replace(settings.val, winsor_factor=request.winsor_factor))

    def value(self, request: rq.ValueFactor) -> Calculation:
        """Value scores of the last date."""
        return self._answer(request)
