"""A posted table of bars of any length, as a part of a request."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, FiniteFloat, model_validator

from contracts.frames import Frame, TableSettings

ColumnName = Annotated[str, Field(min_length=1, max_length=128)]


class BarsTable(BaseModel):
    """A table with a row for each time and symbol, and how it is read."""

    frame_data: Frame | None = Field(
        None,
        description="A row for each time and symbol, and the columns that the formula reads: no model is read then. "
        "Times are dates or timestamps, rows in any order.",
    )
    time_col: ColumnName = Field("date", description="Of `frame_data`.")
    symbol_col: ColumnName = Field("symbol", description="Of `frame_data`.")
    intake: TableSettings = None
    bar_s: FiniteFloat | None = Field(
        None, gt=0.0, le=86_400.0, description="Length of a bar; default: the shortest time between two rows."
    )
    bars: int = Field(1, ge=1, le=1_000_000, description="Show so many of the last bars of `frame_data`.")

    @model_validator(mode="after")
    def _reads_one(self) -> Self:
        if self.frame_data is not None:
            asked = [
                name for name in ("model_id", "date_requested", "symbols") if getattr(self, name, None) is not None
            ]
            if asked:
                raise ValueError(f"{asked[0]} is of a model's data; frame_data is computed as it is")
        return self
