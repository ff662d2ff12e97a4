"""What events on the bus carry, as AsyncAPI and the tests use it; `contracts.events` has their subjects and headers."""

from __future__ import annotations

from pydantic import Field

from contracts.results import CalculationResult, Problem, Result


class ResultEvent(CalculationResult):
    """The data of a result's event: the `calculation_result` of the answer, and what it is about."""

    calculation_time_ms: float | None = Field(  # type: ignore[assignment]
        None, ge=0, description="Not in the events of a bar, which are the same each time that they are made."
    )
    model_id: str | None = Field(description="Null where no model was asked, but posted tables.")
    portfolio_id: str | None = Field(None, description="Of results about a book; `default` for weights without a name.")
    values_omitted: bool | None = Field(None, description="The values would not fit a message; ask for them.")


class RejectedEvent(Result):
    """The data of the event that tells that a durable message cannot be computed."""

    subject: str = Field(description="Where the message came, whole.")
    request_id: str = Field(description="The place of the message in its stream.")
    problem: Problem


class TestEvent(Result):
    """The data of a test broadcast."""

    __test__ = False  # not a pytest class

    message: str
    time: float = Field(description="Seconds since 1970.")
