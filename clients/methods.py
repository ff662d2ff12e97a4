"""The operations as methods, the same over HTTP and over NATS.

Written by `python -m clients.generate` from the operation table; a test compares.
"""

# fmt: off

from __future__ import annotations

from clients.surface import ANYHOW, Connection, How
from contracts.operations import OPERATIONS
from contracts.requests import (
    AppendDay,
    CalculateFactors,
    CleanFeatures,
    Covariance,
    CreateModel,
    Definitions,
    Empty,
    EstimateReturns,
    EstimateStyles,
    EvaluateFormula,
    FactorCategory,
    FactorCorrelations,
    FactorCrossSection,
    FactorExposures,
    FactorFeatures,
    FactorResults,
    FactorReturns,
    FactorSignals,
    ModelRef,
    MomentumFactor,
    PortfolioAttribution,
    PortfolioRisk,
    ReduceUniverse,
    RiskModel,
    SizeFactor,
    StyleFactors,
    UpdateFactors,
    ValueFactor,
)
from contracts.results import (
    CalculationAnswer,
    DefinitionList,
    ModelAnswer,
    ModelList,
    ModelStatus,
)


class Surface(Connection):
    """The engine's operations. Every method raises the `EngineError` that the engine answered with."""

    async def create_model(self, request: CreateModel, how: How = ANYHOW) -> ModelAnswer:
        """Create a factor model, or a new version of it, from a table of features."""
        return await self.ask(OPERATIONS["create_model"], request, ModelAnswer, how)

    async def clean_features(self, request: CleanFeatures, how: How = ANYHOW) -> ModelAnswer:
        """Winsorise, fill and smooth features; makes a new version and a recipe that append re-applies."""
        return await self.ask(OPERATIONS["clean_features"], request, ModelAnswer, how)

    async def reduce_universe(self, request: ReduceUniverse, how: How = ANYHOW) -> ModelAnswer:
        """Keep the largest names by market cap; makes a new version and a recipe."""
        return await self.ask(OPERATIONS["reduce_universe"], request, ModelAnswer, how)

    async def append_day(self, request: AppendDay, how: How = ANYHOW) -> ModelAnswer:
        """Add one or more new days to a model."""
        return await self.ask(OPERATIONS["append_day"], request, ModelAnswer, how)

    async def estimate_style_scores(self, request: EstimateStyles, how: How = ANYHOW) -> ModelAnswer:
        """Estimate the model's style scores again with these settings and commit them as a new version."""
        return await self.ask(OPERATIONS["estimate_style_scores"], request, ModelAnswer, how)

    async def estimate_factor_returns(self, request: EstimateReturns, how: How = ANYHOW) -> ModelAnswer:
        """Estimate the model's factor returns again with these settings and commit them as a new version."""
        return await self.ask(OPERATIONS["estimate_factor_returns"], request, ModelAnswer, how)

    async def delete_model(self, model_id: str, how: How = ANYHOW) -> ModelAnswer:
        """Remove a model; its version numbers go on."""
        return await self.ask(OPERATIONS["delete_model"], ModelRef(model_id=model_id), ModelAnswer, how)

    async def list_models(self, how: How = ANYHOW) -> ModelList:
        """List all models at their newest versions."""
        return await self.ask(OPERATIONS["list_models"], Empty(), ModelList, how)

    async def model_status(self, model_id: str, how: How = ANYHOW) -> ModelStatus:
        """Describe a model at its newest version, with its largest names."""
        return await self.ask(OPERATIONS["model_status"], ModelRef(model_id=model_id), ModelStatus, how)

    async def style_factors(self, request: StyleFactors, how: How = ANYHOW) -> CalculationAnswer:
        """Style scores of a model, or of posted frames."""
        return await self.ask(OPERATIONS["style_factors"], request, CalculationAnswer, how)

    async def factor_returns(self, request: FactorReturns, how: How = ANYHOW) -> CalculationAnswer:
        """Factor returns of a model, or of posted frames."""
        return await self.ask(OPERATIONS["factor_returns"], request, CalculationAnswer, how)

    async def factor_exposures(self, request: FactorExposures, how: How = ANYHOW) -> CalculationAnswer:
        """The factor exposures of a portfolio."""
        return await self.ask(OPERATIONS["factor_exposures"], request, CalculationAnswer, how)

    async def factor_features(self, request: FactorFeatures | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """The feature matrix of a model at a date: symbols by factors."""
        return await self.ask(OPERATIONS["factor_features"], request or FactorFeatures(), CalculationAnswer, how)

    async def factor_signals(self, request: FactorSignals | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """Per style: recent factor returns, momentum and trend; per symbol: the composite score."""
        return await self.ask(OPERATIONS["factor_signals"], request or FactorSignals(), CalculationAnswer, how)

    async def covariance(self, request: Covariance | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """The factor covariance of a model, as stored or estimated again by another method."""
        return await self.ask(OPERATIONS["covariance"], request or Covariance(), CalculationAnswer, how)

    async def momentum(self, request: MomentumFactor, how: How = ANYHOW) -> CalculationAnswer:
        """Momentum from returns."""
        return await self.ask(OPERATIONS["momentum"], request, CalculationAnswer, how)

    async def value(self, request: ValueFactor, how: How = ANYHOW) -> CalculationAnswer:
        """Value from book, sales and cash flow to price."""
        return await self.ask(OPERATIONS["value"], request, CalculationAnswer, how)

    async def size(self, request: SizeFactor, how: How = ANYHOW) -> CalculationAnswer:
        """Size from market cap."""
        return await self.ask(OPERATIONS["size"], request, CalculationAnswer, how)

    async def risk_model(self, request: RiskModel | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """A risk model for a universe and a period: factor covariance, exposures and specific risk."""
        return await self.ask(OPERATIONS["risk_model"], request or RiskModel(), CalculationAnswer, how)

    async def portfolio_risk(self, request: PortfolioRisk, how: How = ANYHOW) -> CalculationAnswer:
        """Predicted risk of a portfolio, its contributions, VaR and expected shortfall."""
        return await self.ask(OPERATIONS["portfolio_risk"], request, CalculationAnswer, how)

    async def portfolio_attribution(self, request: PortfolioAttribution, how: How = ANYHOW) -> CalculationAnswer:
        """Attribute a portfolio's return over a period to factors."""
        return await self.ask(OPERATIONS["portfolio_attribution"], request, CalculationAnswer, how)

    async def definitions(self, request: Definitions | None = None, how: How = ANYHOW) -> DefinitionList:
        """The factor library's definitions."""
        return await self.ask(OPERATIONS["definitions"], request or Definitions(), DefinitionList, how)

    async def factor_category(self, request: FactorCategory, how: How = ANYHOW) -> DefinitionList:
        """The definitions of one category; with a symbol also their values of a date, in every form."""
        return await self.ask(OPERATIONS["factor_category"], request, DefinitionList, how)

    async def calculate_factors(self, request: CalculateFactors, how: How = ANYHOW) -> CalculationAnswer:
        """Library factors of one symbol on a model's data: the value and its place in the cross-section of the date."""
        return await self.ask(OPERATIONS["calculate_factors"], request, CalculationAnswer, how)

    async def factor_results(self, request: FactorResults, how: How = ANYHOW) -> CalculationAnswer:
        """Library factors of one symbol as they were computed last, without computing anything."""
        return await self.ask(OPERATIONS["factor_results"], request, CalculationAnswer, how)

    async def factor_cross_section(self, request: FactorCrossSection, how: How = ANYHOW) -> CalculationAnswer:
        """Library factors across all names of a date: raw, winsorised, z-scored, neutralised and ranked."""
        return await self.ask(OPERATIONS["factor_cross_section"], request, CalculationAnswer, how)

    async def update_factors(self, request: UpdateFactors | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """Bring the library of a model up to its newest day: one step for each appended day, or a first warm-up."""
        return await self.ask(OPERATIONS["update_factors"], request or UpdateFactors(), CalculationAnswer, how)

    async def factor_correlations(self, request: FactorCorrelations, how: How = ANYHOW) -> CalculationAnswer:
        """Rank correlations between library factors on a model's data."""
        return await self.ask(OPERATIONS["factor_correlations"], request, CalculationAnswer, how)

    async def evaluate_formula(self, request: EvaluateFormula, how: How = ANYHOW) -> CalculationAnswer:
        """Evaluate a formula of the caller's own on a model's data."""
        return await self.ask(OPERATIONS["evaluate_formula"], request, CalculationAnswer, how)
