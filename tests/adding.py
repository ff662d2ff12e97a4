"""All that one adds for an operation, as docs/adding.md says: one request model, one row, one method."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from actors.runtime.base import WorkloadActor
from contracts import examples as ex
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.operations.row import Operation, post
from contracts.operations.workloads import Workload
from contracts.requests import Request, Symbol
from contracts.results import CalculationAnswer


class NetWeight(Request):
    """The sum of a portfolio's weights."""

    portfolio_weights: dict[Symbol, FiniteFloat] = Field(min_length=1)
    portfolio_id: str | None = None


ROW = Operation(
    "net_weight",
    Workload.VALUE_FACTOR,
    NetWeight,
    CalculationAnswer,
    "net_weight",
    routes=post("/net-weight/{portfolio_id}"),
    subjects=("risk.factor_request.net_weight",),
    events=("factor.portfolio_exposures.{portfolio_id}",),
    example={"portfolio_id": "example", "portfolio_weights": ex.WEIGHTS},
)


class Weighing(WorkloadActor):
    """An actor with the method."""

    def net_weight(self, request: NetWeight) -> Calculation:
        """Add the weights up."""
        if max(map(abs, request.portfolio_weights.values())) > 10:
            raise InvalidInput("a weight above 10 is a typing error", field="portfolio_weights")
        return Calculation({"net": sum(request.portfolio_weights.values())}, "added up", 1.0)
