"""What callers send to explore the factor library: the table of its language, and which factors are alike."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from contracts.requests import FactorId, MinPeriods, ModelId, Request


class FormulaLanguage(Request):
    """The table of the formula language: operators with their parameters, and the names that a formula may use."""

    model_id: ModelId | None = Field(None, description="Says which of the fields the data of this model have.")


class FactorDefinition(Request):
    """The definition of one factor: formula, source, conventions, and whether a model's data can compute it."""

    factor: FactorId = Field(description="Its id, another name of it, or the id of a registered formula.")
    model_id: ModelId | None = Field(None, description="Says whether the data of this model can compute it.")


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
