"""The weights of a portfolio as callers send them."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, FiniteFloat

GROSS_LIMIT = 1e12
"""Sum of absolute weights. Amounts of money pass where shares of a whole are meant; what is larger squares, in a
variance, to numbers without a digit that means anything, and then to infinity."""

Given = TypeVar("Given", list[str], tuple[str, ...])
Symbol = Annotated[str, Field(min_length=1, max_length=64)]


def once(names: Given) -> Given:
    """Give names in their order, each once: one that is repeated is not two."""
    return type(names)(dict.fromkeys(names))


Symbols = Annotated[list[Symbol], AfterValidator(once)]
Names = Annotated[list[str], AfterValidator(once)]


def sane(weights: dict[str, float]) -> dict[str, float]:
    """Refuse weights whose absolute values add up to more than `GROSS_LIMIT`."""
    # The root of the sum of squares bounds the sum, and is had at once.
    if math.hypot(*weights.values()) * math.sqrt(len(weights)) <= GROSS_LIMIT:
        return weights
    gross = sum(map(abs, weights.values()))
    if not gross <= GROSS_LIMIT:
        raise ValueError(f"the absolute weights add up to {gross:.3g}, above {GROSS_LIMIT:g}")
    return weights


Weights = Annotated[dict[Symbol, FiniteFloat], Field(max_length=100_000), AfterValidator(sane)]
SomeWeights = Annotated[dict[Symbol, FiniteFloat], Field(min_length=1, max_length=100_000)]
"""At least one, and not yet `sane`. The bound stands here: beside ``| None`` pydantic would look at it in Python."""
HeldWeights = Annotated[SomeWeights, AfterValidator(sane)]
