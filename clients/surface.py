"""The calls of both clients, typed: the same methods over HTTP and over NATS."""

from __future__ import annotations

import abc
import asyncio
from typing import Any, NamedTuple, TypeVar, cast

from clients.calls import CALLS, Call, body_of
from contracts import requests as rq
from contracts import results as rs
from contracts.backoff import backoff_s
from contracts.errors import DeadlineExceeded, EngineError
from contracts.work import new_id

R = TypeVar("R", bound=rs.Result)


class How(NamedTuple):
    """How a request is to be done.

    Parameters
    ----------
    timeout_s : float, optional
        Deadline; default: the operation's own, and the client then waits `WAIT_S`.
    request_id : str, optional
        Repeat it to repeat a write safely.
    priority : str, optional
        low, normal, high, urgent or critical; default: the request's `messagebus_priority`.
    attempts : int
        How often the request is sent at most. It is sent again when the engine says that this helps (a full queue, a
        component that is down, another writer that was first) or cannot be reached, after the pause that it names, and
        under the same id, so that a write is done once. A passed deadline is the caller's, and ends it.
    """

    timeout_s: float | None = None
    request_id: str | None = None
    priority: str | None = None
    attempts: int = 1


ANYHOW = How()
WAIT_S = 600.0
"""Without a deadline of the caller's the engine's own one ends the wait; this is for an engine that says nothing."""
PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Between attempts when the engine names no pause; a pause that it names is kept up to the longest."""
REPLY_GRACE_S = 0.5
"""The engine answers at the deadline, so the client waits this much longer for what it says."""


class Surface(abc.ABC):
    """The engine's operations. Every method raises the `EngineError` that the engine answered with."""

    @abc.abstractmethod
    async def send(self, call: Call, body: dict[str, Any], how: How) -> dict[str, Any]:
        """Do one operation and give the answer as it came."""

    async def _ask(self, name: str, request: rq.Request, kind: type[R], how: How) -> R:
        body = body_of(request)
        if how.attempts > 1 and how.request_id is None and request.request_id is None:
            how = how._replace(request_id=new_id())
        for attempt in range(how.attempts - 1):
            try:
                return kind.model_validate(await self.send(CALLS[name], body, how))
            except DeadlineExceeded:
                raise
            except EngineError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(min(error.retry_after_s or backoff_s(PAUSES_S, attempt), PAUSES_S[-1]))
        return kind.model_validate(await self.send(CALLS[name], body, how))

    async def _calculate(self, name: str, request: rq.Request, how: How) -> rs.CalculationAnswer:
        return await self._ask(name, request, rs.CalculationAnswer, how)

    async def _write(self, name: str, request: rq.Request, how: How) -> rs.ModelAnswer:
        return await self._ask(name, request, rs.ModelAnswer, how)

    # -- models

    async def create_model(self, request: rq.CreateModel, how: How = ANYHOW) -> rs.ModelAnswer:
        """Create a model, or a new version of it, from a table of features."""
        return await self._write("create_model", request, how)

    async def clean_features(self, request: rq.CleanFeatures, how: How = ANYHOW) -> rs.ModelAnswer:
        """Winsorise, fill and smooth features."""
        return await self._write("clean_features", request, how)

    async def reduce_universe(self, request: rq.ReduceUniverse, how: How = ANYHOW) -> rs.ModelAnswer:
        """Keep the largest names by market cap."""
        return await self._write("reduce_universe", request, how)

    async def append_day(self, request: rq.AppendDay, how: How = ANYHOW) -> rs.ModelAnswer:
        """Add one or more new days."""
        return await self._write("append_day", request, how)

    async def estimate_style_scores(self, request: rq.EstimateStyles, how: How = ANYHOW) -> rs.ModelAnswer:
        """Estimate the style scores again."""
        return await self._write("estimate_style_scores", request, how)

    async def estimate_factor_returns(self, request: rq.EstimateReturns, how: How = ANYHOW) -> rs.ModelAnswer:
        """Estimate the factor returns again."""
        return await self._write("estimate_factor_returns", request, how)

    async def delete_model(self, model_id: str, how: How = ANYHOW) -> rs.ModelAnswer:
        """Remove a model."""
        return await self._write("delete_model", rq.ModelRef(model_id=model_id), how)

    async def list_models(self, how: How = ANYHOW) -> rs.ModelList:
        """List all models."""
        return await self._ask("list_models", rq.Empty(), rs.ModelList, how)

    async def model_status(self, model_id: str, how: How = ANYHOW) -> rs.ModelStatus:
        """Describe a model at its newest version."""
        return await self._ask("model_status", rq.ModelRef(model_id=model_id), rs.ModelStatus, how)

    # -- calculations on a model, or on posted frames

    async def style_factors(self, request: rq.StyleFactors, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Style scores."""
        return await self._calculate("style_factors", request, how)

    async def factor_returns(self, request: rq.FactorReturns, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Factor returns."""
        return await self._calculate("factor_returns", request, how)

    async def factor_exposures(self, request: rq.FactorExposures, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Exposures of a portfolio."""
        return await self._calculate("factor_exposures", request, how)

    async def factor_features(self, request: rq.FactorFeatures, how: How = ANYHOW) -> rs.CalculationAnswer:
        """The feature matrix at a date."""
        return await self._calculate("factor_features", request, how)

    async def factor_signals(self, request: rq.FactorSignals, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Signals from factor returns and composite scores."""
        return await self._calculate("factor_signals", request, how)

    async def covariance(self, request: rq.Covariance, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Factor covariance."""
        return await self._calculate("covariance", request, how)

    async def momentum(self, request: rq.MomentumFactor, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Momentum scores."""
        return await self._calculate("momentum", request, how)

    async def value(self, request: rq.ValueFactor, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Value scores."""
        return await self._calculate("value", request, how)

    async def size(self, request: rq.SizeFactor, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Size scores."""
        return await self._calculate("size", request, how)

    async def risk_model(self, request: rq.RiskModel, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Build a risk model for a universe and a period."""
        return await self._calculate("risk_model", request, how)

    async def portfolio_risk(self, request: rq.PortfolioRisk, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Predict risk of a portfolio."""
        return await self._calculate("portfolio_risk", request, how)

    async def portfolio_attribution(self, request: rq.PortfolioAttribution, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Attribute a portfolio's return to factors."""
        return await self._calculate("portfolio_attribution", request, how)

    # -- the factor library

    async def definitions(self, request: rq.Definitions | None = None, how: How = ANYHOW) -> rs.DefinitionList:
        """List all definitions."""
        return await self._ask("definitions", request or rq.Definitions(), rs.DefinitionList, how)

    async def factor_category(self, request: rq.FactorCategory, how: How = ANYHOW) -> rs.DefinitionList:
        """List the definitions of a category."""
        return await self._ask("factor_category", request, rs.DefinitionList, how)

    async def calculate_factors(self, request: rq.CalculateFactors, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Library factors of a symbol."""
        return await self._calculate("calculate_factors", request, how)

    async def factor_results(self, request: rq.FactorResults, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Last computed library factors of a symbol."""
        return await self._calculate("factor_results", request, how)

    async def factor_cross_section(self, request: rq.FactorCrossSection, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Library factors across the names of a date, in every form."""
        return await self._calculate("factor_cross_section", request, how)

    async def update_factors(self, request: rq.UpdateFactors, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Bring the library of a model up to its newest day."""
        return await self._calculate("update_factors", request, how)

    async def factor_correlations(self, request: rq.FactorCorrelations, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Rank correlations between library factors."""
        return await self._calculate("factor_correlations", request, how)

    async def evaluate_formula(self, request: rq.EvaluateFormula, how: How = ANYHOW) -> rs.CalculationAnswer:
        """Evaluate a formula of the caller's own."""
        return await self._calculate("evaluate_formula", request, how)


def wait_s(how: How) -> float:
    """How long a client waits for the reply."""
    return WAIT_S if how.timeout_s is None else how.timeout_s + REPLY_GRACE_S


def as_object(body: Any) -> dict[str, Any]:
    """Take a decoded reply for the object that it is."""
    return cast("dict[str, Any]", body)
