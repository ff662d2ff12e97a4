"""What callers send about the factor library: its language, what was computed of it, and which factors are alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from contracts.requests import CrossSectionForms, FactorId, FactorIds, FormulaId, MinPeriods, ModelId, Request
from contracts.weights import Symbol


class FormulaLanguage(Request):
    """The table of the formula language: operators with their parameters, and the names that a formula may use."""

    model_id: ModelId | None = Field(None, description="Says which of the fields the data of this model have.")


class FactorDefinition(Request):
    """The definition of one factor: formula, source, conventions, and whether a model's data can compute it."""

    factor: FactorId = Field(description="Its id, another name of it, or the id of a registered formula.")
    model_id: ModelId | None = Field(None, description="Says whether the data of this model can compute it.")


class FactorCorrelations(CrossSectionForms):
    """Rank correlations between library factors on a model's data."""

    model_id: ModelId | None = None
    factors: FactorIds = Field(min_length=2, max_length=200)
    window_days: int = Field(60, ge=1, le=1260)
    date_requested: dt.date | None = Field(None, description="The window's last date; default: the model's.")
    min_periods: MinPeriods = "strict"
    form: Literal["raw", "winsorised", "zscore", "neutralised", "rank"] = Field(
        "raw", description="What is ranked; only neutralising, and ties from clipping, change ranks."
    )

    def idle(self) -> Iterable[str]:
        """Raw values and ranks are neither clipped nor neutralised."""
        if self.form in ("raw", "rank"):
            return "winsor_deviations", "neutralise_by"
        return () if self.form == "neutralised" else ("neutralise_by",)


class FactorNeighbours(Request):
    """The factors that rank the names most like one factor does, or most against it, among all of the library."""

    model_id: ModelId | None = None
    factor: FactorId
    window_days: int = Field(
        20, ge=1, le=60, description="Dates that are compared; fewer where names are many, which the answer says."
    )
    date_requested: dt.date | None = Field(None, description="The window's last date; default: the model's.")
    min_periods: MinPeriods = "strict"
    most: int = Field(12, ge=1, le=700, description="How many are given, the most alike first, by absolute value.")


class FactorResults(CrossSectionForms):
    """Library factors of one symbol as they were computed last, without computing anything."""

    symbol: Symbol
    model_id: ModelId | None = None
    factors: FactorIds | None = Field(None, max_length=2000, description="Default: all that were computed.")
    date_requested: dt.date | None = Field(None, description="Default: the date that was computed last.")


class RemoveFormula(Request):
    """Remove a formula that was registered; its id is free again."""

    formula_id: FormulaId
