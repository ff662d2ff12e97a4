"""What callers send about learning: features, data sets to train on, registered estimators and their predictions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from contracts.frames import Frame, TableSettings
from contracts.requests import FactorIds, MinPeriods, ModelId, Request
from contracts.weights import Symbols

EstimatorId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Letters, digits, . _ -")]
FeatureNames = Annotated[FactorIds, Field(min_length=1, max_length=500)]
Horizon = Annotated[int, Field(ge=1, le=252)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ESTIMATOR_BYTES = 16 * 2**20
"""A file of an estimator has at most so many bytes."""
_BASE64 = -(-ESTIMATOR_BYTES // 3) * 4
Form = Annotated[
    Literal["raw", "zscored"],
    Field(
        description="z-scores of styles and library factors, across all names that have the value on a date; the "
        "market and sectors stay as they are."
    ),
]
Clip = Annotated[FiniteFloat | None, Field(gt=0, le=1000, description="Z-scores beyond are set to it; default: none.")]
WHICH = "Factors of the model (`market`, sectors, styles) and ids of the factor library."


class FactorFeatures(Request):
    """The feature matrix of a model at a date, or over a period: symbols by factors."""

    model_id: ModelId | None = None
    symbols: Symbols | None = Field(None, description="Default: all that the model covers.")
    factors: FeatureNames | None = Field(None, description=f"{WHICH} Default: all of the model.")
    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")
    start_date: dt.date | None = Field(None, description="With end_date: a table of all dates from here on.")
    end_date: dt.date | None = None
    form: Form = "raw"
    clip: Clip = None
    min_periods: MinPeriods = "strict"

    def idle(self) -> Iterable[str]:
        """Raw values are not clipped."""
        return ("clip",) if self.form == "raw" else ()

    @model_validator(mode="after")
    def _a_date_or_a_period(self) -> Self:
        if self.date_requested is not None and self.of_period:
            raise ValueError("date_requested, or start_date and end_date: not both")
        return self

    @property
    def of_period(self) -> bool:
        """Whether it asks for a period."""
        return self.start_date is not None or self.end_date is not None


class Dataset(Request):
    """A data set to train on: features with forward returns, purged and embargoed folds, and a manifest with hashes."""

    model_id: ModelId | None = None
    symbols: Symbols | None = Field(None, description="Default: all that the model covers.")
    factors: FeatureNames | None = Field(None, description=f"{WHICH} Default: the model's styles.")
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    horizons: list[Horizon] = Field(
        [1, 5, 21], min_length=1, max_length=10, description="Days of the forward returns: a column for each."
    )
    delay_days: int = Field(0, ge=0, le=21, description="Days between a date and the first return of its label.")
    n_folds: int = Field(5, ge=2, le=50, description="Stretches of dates.")
    n_test_folds: int = Field(1, ge=1, le=49, description="Folds that a split tests on; a split for each choice.")
    embargo_days: int = Field(5, ge=0, le=252, description="Dates dropped behind test dates, beyond those purged.")
    form: Form = "raw"
    clip: Clip = None
    min_periods: MinPeriods = "strict"
    sha256: Digest | None = Field(
        None, description="Of a manifest: refused unless the data are the same, so that a training run is repeated."
    )

    def idle(self) -> Iterable[str]:
        """Raw values are not clipped."""
        return ("clip",) if self.form == "raw" else ()

    @field_validator("horizons")
    @classmethod
    def _each_once(cls, horizons: list[int]) -> list[int]:
        if len(set(horizons)) < len(horizons):
            raise ValueError("a horizon is named twice")
        return horizons


class PutEstimator(Request):
    """Register an estimator of scikit-learn, or a network of dense layers as ONNX, so that it can be asked."""

    estimator_id: EstimatorId
    estimator: str = Field(
        min_length=1,
        max_length=_BASE64,
        description="The file that skops.io.dump writes, or one of ONNX, in base64.",
        repr=False,
    )
    format: Literal["skops", "onnx"] = Field("skops", description="What the file is.")
    features: FeatureNames = Field(description=f"What its columns are, in their order. {WHICH}")
    features_form: Form = "raw"
    features_clip: Clip = None
    trusted: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list,
        max_length=200,
        description="Types in the file that skops does not trust by itself; of scikit-learn, numpy and scipy only.",
    )
    description: str = Field("", max_length=1000)

    def idle(self) -> Iterable[str]:
        """Raw values are not clipped."""
        return ("features_clip",) if self.features_form == "raw" else ()


class ListEstimators(Request):
    """List the registered estimators."""


class DeleteEstimator(Request):
    """Remove a registered estimator."""

    estimator_id: EstimatorId


class Predict(Request):
    """What a registered estimator predicts, for symbols of a model or for given features."""

    estimator_id: EstimatorId
    model_id: ModelId | None = None
    symbols: Symbols | None = Field(None, description="Default: all that the model covers.")
    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")
    features: Frame | None = Field(
        None, description="Instead of a model's: a table with a column for each feature, and `symbol` if it has names."
    )
    intake: TableSettings = None
    min_periods: MinPeriods = "strict"

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("features") is not None:
            both = [name for name in ("symbols", "date_requested", "min_periods") if given.get(name) is not None]
            if both:
                raise ValueError(f"features, or {both[0]} of a model: not both")
        return given
