"""Value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actors.runtime.queue import Answer
from actors.workloads.individual import Batch, IndividualFactor
from factors.factor_model.settings import StyleSettings


class ValueFactor(IndividualFactor):
    """Value from book, sales and cash flow to price."""

    style = "value"
    frame = "fundamental_data"
    required = ("book_price", "sales_price", "cf_price")

    def _style_settings(self, settings: StyleSettings, request: dict[str, Any]) -> StyleSettings:
        """Take the winsorising of the request."""
        return replace(settings, val=replace(settings.val, winsor_factor=request["winsor_factor"]))

    def value(self, batch: Batch) -> list[Answer]:
        """Value scores of the last date."""
        return self._answer(batch)
