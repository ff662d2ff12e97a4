"""The operations as methods, the same over HTTP and over NATS.

Written by `python -m clients.generate` from the operation table; a test compares.
"""

# fmt: off

from __future__ import annotations

from clients.answers import (
    CalculationAnswer,
    CalibrationPage,
    DefinitionList,
    EstimatorList,
    FactorDefinitionPage,
    JobList,
    JobLog,
    JobPage,
    LanguageTable,
    LivePage,
    ModelAnswer,
    ModelList,
    ModelQuality,
    ModelStatus,
    PortfolioList,
    PortfolioPage,
    RoutingPage,
    VersionList,
    WatchList,
    WatchPage,
)
from clients.surface import ANYHOW, Connection, How
from contracts.device_requests import (
    CalibrateDevices,
    ExplainRouting,
)
from contracts.job_requests import (
    CancelJob,
    JobLogs,
    JobRef,
    ModelVersions,
    Recompute,
    RestoreVersion,
)
from contracts.learning_requests import (
    Dataset,
    DeleteEstimator,
    FactorFeatures,
    ListEstimators,
    Predict,
    PutEstimator,
)
from contracts.library_requests import (
    FactorCorrelations,
    FactorDefinition,
    FactorNeighbours,
    FactorResults,
    FormulaLanguage,
    RemoveFormula,
)
from contracts.live_requests import (
    DeleteWatch,
    FollowMarket,
    ListWatches,
    LiveStatus,
    PutWatch,
    WatchRef,
)
from contracts.operations import OPERATIONS
from contracts.portfolio_requests import (
    AppendPortfolio,
    DeletePortfolio,
    FactorAnalytics,
    FactorPerformance,
    FactorTrend,
    Frontier,
    HedgeBook,
    LibrarySignals,
    ListPortfolios,
    Margin,
    Optimize,
    PortfolioRef,
    PutPortfolio,
    Rebalance,
    RiskBudget,
    RiskHistory,
    Stress,
    WhatIf,
)
from contracts.requests import (
    AppendDay,
    CalculateFactors,
    CleanFeatures,
    CorrectDays,
    Covariance,
    CreateModel,
    Definitions,
    Empty,
    EstimateReturns,
    EstimateStyles,
    EvaluateFormula,
    FactorCategory,
    FactorCrossSection,
    FactorExposures,
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

    async def correct_days(self, request: CorrectDays, how: How = ANYHOW) -> ModelAnswer:
        """Replace rows of past days; what follows from them is estimated again, and the answer says from which date on."""
        return await self.ask(OPERATIONS["correct_days"], request, ModelAnswer, how)

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

    async def model_quality(self, model_id: str, how: How = ANYHOW) -> ModelQuality:
        """Tell what looked wrong in the data of a model: kinds, rows, effects and remedies."""
        return await self.ask(OPERATIONS["model_quality"], ModelRef(model_id=model_id), ModelQuality, how)

    async def explain_routing(self, request: ExplainRouting | None = None, how: How = ANYHOW) -> RoutingPage:
        """Where a workload of some size would be computed, and why."""
        return await self.ask(OPERATIONS["explain_routing"], request or ExplainRouting(), RoutingPage, how)

    async def calibrate_devices(self, request: CalibrateDevices | None = None, how: How = ANYHOW) -> CalibrationPage:
        """Measure every device of the node anew: what each kernel takes and how it errs."""
        return await self.ask(OPERATIONS["calibrate_devices"], request or CalibrateDevices(), CalibrationPage, how)

    async def style_factors(self, request: StyleFactors, how: How = ANYHOW) -> CalculationAnswer:
        """Style scores of a model, or of posted frames."""
        return await self.ask(OPERATIONS["style_factors"], request, CalculationAnswer, how)

    async def factor_returns(self, request: FactorReturns, how: How = ANYHOW) -> CalculationAnswer:
        """Factor returns of a model, or of posted frames."""
        return await self.ask(OPERATIONS["factor_returns"], request, CalculationAnswer, how)

    async def factor_exposures(self, request: FactorExposures, how: How = ANYHOW) -> CalculationAnswer:
        """The factor exposures of a portfolio."""
        return await self.ask(OPERATIONS["factor_exposures"], request, CalculationAnswer, how)

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

    async def put_portfolio(self, request: PutPortfolio, how: How = ANYHOW) -> CalculationAnswer:
        """Store a portfolio, or a new version of it, with its holdings by date."""
        return await self.ask(OPERATIONS["put_portfolio"], request, CalculationAnswer, how)

    async def append_portfolio(self, request: AppendPortfolio, how: How = ANYHOW) -> CalculationAnswer:
        """Add holdings of later dates to a portfolio, as a new version."""
        return await self.ask(OPERATIONS["append_portfolio"], request, CalculationAnswer, how)

    async def get_portfolio(self, request: PortfolioRef, how: How = ANYHOW) -> PortfolioPage:
        """Show a portfolio."""
        return await self.ask(OPERATIONS["get_portfolio"], request, PortfolioPage, how)

    async def list_portfolios(self, request: ListPortfolios | None = None, how: How = ANYHOW) -> PortfolioList:
        """List the stored portfolios."""
        return await self.ask(OPERATIONS["list_portfolios"], request or ListPortfolios(), PortfolioList, how)

    async def delete_portfolio(self, request: DeletePortfolio, how: How = ANYHOW) -> CalculationAnswer:
        """Delete a portfolio."""
        return await self.ask(OPERATIONS["delete_portfolio"], request, CalculationAnswer, how)

    async def risk_history(self, request: RiskHistory, how: How = ANYHOW) -> CalculationAnswer:
        """A book's predicted risk day by day beside what it then made, with its bias statistic."""
        return await self.ask(OPERATIONS["risk_history"], request, CalculationAnswer, how)

    async def margin(self, request: Margin, how: How = ANYHOW) -> CalculationAnswer:
        """Value at risk and expected shortfall by method and horizon; beside a benchmark, of the difference from it."""
        return await self.ask(OPERATIONS["margin"], request, CalculationAnswer, how)

    async def stress(self, request: Stress, how: How = ANYHOW) -> CalculationAnswer:
        """What a book makes under factor shocks, past episodes and shocks to single names."""
        return await self.ask(OPERATIONS["stress"], request, CalculationAnswer, how)

    async def what_if(self, request: WhatIf, how: How = ANYHOW) -> CalculationAnswer:
        """A book's risk before and after a list of trades, and what each trade does to it at the margin."""
        return await self.ask(OPERATIONS["what_if"], request, CalculationAnswer, how)

    async def hedge(self, request: HedgeBook, how: How = ANYHOW) -> CalculationAnswer:
        """The weights of instruments that hedge a book: least (active) risk, with chosen exposures at zero."""
        return await self.ask(OPERATIONS["hedge"], request, CalculationAnswer, how)

    async def optimize(self, request: Optimize | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """Weights of least risk, or of most alpha for the risk, under limits."""
        return await self.ask(OPERATIONS["optimize"], request or Optimize(), CalculationAnswer, how)

    async def frontier(self, request: Frontier, how: How = ANYHOW) -> CalculationAnswer:
        """The books of most alpha at each level of risk."""
        return await self.ask(OPERATIONS["frontier"], request, CalculationAnswer, how)

    async def risk_budget(self, request: RiskBudget | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """Long-only weights whose risk contributions are equal, or in given shares."""
        return await self.ask(OPERATIONS["risk_budget"], request or RiskBudget(), CalculationAnswer, how)

    async def rebalance(self, request: Rebalance, how: How = ANYHOW) -> CalculationAnswer:
        """The least trades, in weights and in shares, that bring a book to exposures or within limits."""
        return await self.ask(OPERATIONS["rebalance"], request, CalculationAnswer, how)

    async def factor_performance(self, request: FactorPerformance | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """How the factors did over a period: mean, volatility, t, information ratio, drawdown."""
        return await self.ask(OPERATIONS["factor_performance"], request or FactorPerformance(), CalculationAnswer, how)

    async def factor_trend(self, request: FactorTrend | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """Momentum and trend of each factor's returns, and how crowded the names of each style are."""
        return await self.ask(OPERATIONS["factor_trend"], request or FactorTrend(), CalculationAnswer, how)

    async def library_signals(self, request: LibrarySignals, how: How = ANYHOW) -> CalculationAnswer:
        """Signals of library factors and formulas: what they foretold lately, and what they say of each name now."""
        return await self.ask(OPERATIONS["library_signals"], request, CalculationAnswer, how)

    async def factor_analytics(self, request: FactorAnalytics, how: How = ANYHOW) -> CalculationAnswer:
        """Judge a style, a library factor, a formula or posted scores by the returns that followed: a tear sheet."""
        return await self.ask(OPERATIONS["factor_analytics"], request, CalculationAnswer, how)

    async def definitions(self, request: Definitions | None = None, how: How = ANYHOW) -> DefinitionList:
        """The factor library's definitions."""
        return await self.ask(OPERATIONS["definitions"], request or Definitions(), DefinitionList, how)

    async def factor_definition(self, request: FactorDefinition, how: How = ANYHOW) -> FactorDefinitionPage:
        """The definition of one factor: formula, source, conventions, and whether a model's data can compute it."""
        return await self.ask(OPERATIONS["factor_definition"], request, FactorDefinitionPage, how)

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

    async def factor_neighbours(self, request: FactorNeighbours, how: How = ANYHOW) -> CalculationAnswer:
        """The factors that rank the names most like one factor does, or most against it, among all of the library."""
        return await self.ask(OPERATIONS["factor_neighbours"], request, CalculationAnswer, how)

    async def formula_language(self, request: FormulaLanguage | None = None, how: How = ANYHOW) -> LanguageTable:
        """The table of the formula language: operators with their parameters, and the names that a formula may use."""
        return await self.ask(OPERATIONS["formula_language"], request or FormulaLanguage(), LanguageTable, how)

    async def evaluate_formula(self, request: EvaluateFormula, how: How = ANYHOW) -> CalculationAnswer:
        """Evaluate a formula of the caller's own on a model's data, or on a posted table of bars of any length."""
        return await self.ask(OPERATIONS["evaluate_formula"], request, CalculationAnswer, how)

    async def remove_formula(self, request: RemoveFormula, how: How = ANYHOW) -> CalculationAnswer:
        """Remove a formula that was registered; its id is free again."""
        return await self.ask(OPERATIONS["remove_formula"], request, CalculationAnswer, how)

    async def factor_features(self, request: FactorFeatures | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """The feature matrix of a model at a date, or over a period: symbols by factors."""
        return await self.ask(OPERATIONS["factor_features"], request or FactorFeatures(), CalculationAnswer, how)

    async def dataset(self, request: Dataset | None = None, how: How = ANYHOW) -> CalculationAnswer:
        """A data set to train on: features with forward returns, purged and embargoed folds, and a manifest with hashes."""
        return await self.ask(OPERATIONS["dataset"], request or Dataset(), CalculationAnswer, how)

    async def put_estimator(self, request: PutEstimator, how: How = ANYHOW) -> CalculationAnswer:
        """Register an estimator of scikit-learn, or a network of dense layers as ONNX, so that it can be asked."""
        return await self.ask(OPERATIONS["put_estimator"], request, CalculationAnswer, how)

    async def list_estimators(self, request: ListEstimators | None = None, how: How = ANYHOW) -> EstimatorList:
        """List the registered estimators."""
        return await self.ask(OPERATIONS["list_estimators"], request or ListEstimators(), EstimatorList, how)

    async def predict(self, request: Predict, how: How = ANYHOW) -> CalculationAnswer:
        """What a registered estimator predicts, for symbols of a model or for given features."""
        return await self.ask(OPERATIONS["predict"], request, CalculationAnswer, how)

    async def delete_estimator(self, request: DeleteEstimator, how: How = ANYHOW) -> CalculationAnswer:
        """Remove a registered estimator."""
        return await self.ask(OPERATIONS["delete_estimator"], request, CalculationAnswer, how)

    async def put_watch(self, request: PutWatch, how: How = ANYHOW) -> CalculationAnswer:
        """Watch values of the running day: they are published as the market moves, newest first, until the watch ends."""
        return await self.ask(OPERATIONS["put_watch"], request, CalculationAnswer, how)

    async def list_watches(self, request: ListWatches | None = None, how: How = ANYHOW) -> WatchList:
        """List the watches with their cost."""
        return await self.ask(OPERATIONS["list_watches"], request or ListWatches(), WatchList, how)

    async def get_watch(self, request: WatchRef, how: How = ANYHOW) -> WatchPage:
        """Show a watch: what it watches, what it costs, and how far it is."""
        return await self.ask(OPERATIONS["get_watch"], request, WatchPage, how)

    async def delete_watch(self, request: DeleteWatch, how: How = ANYHOW) -> CalculationAnswer:
        """End a watch."""
        return await self.ask(OPERATIONS["delete_watch"], request, CalculationAnswer, how)

    async def follow_market(self, request: FollowMarket, how: How = ANYHOW) -> CalculationAnswer:
        """Say how a model's days run: which market's ticks it follows, and when their values are told."""
        return await self.ask(OPERATIONS["follow_market"], request, CalculationAnswer, how)

    async def live_status(self, request: LiveStatus | None = None, how: How = ANYHOW) -> LivePage:
        """Show a model's running day: its date, rows seen and rejected by kind, watches and lag."""
        return await self.ask(OPERATIONS["live_status"], request or LiveStatus(), LivePage, how)

    async def recompute(self, request: Recompute, how: How = ANYHOW) -> CalculationAnswer:
        """Make the results of a period again, as a job; the same work is the same job, and goes on where it was ended."""
        return await self.ask(OPERATIONS["recompute"], request, CalculationAnswer, how)

    async def list_jobs(self, how: How = ANYHOW) -> JobList:
        """List all jobs with how far they are, the newest first."""
        return await self.ask(OPERATIONS["list_jobs"], Empty(), JobList, how)

    async def job_status(self, request: JobRef, how: How = ANYHOW) -> JobPage:
        """A job: how far it is, and what came of it."""
        return await self.ask(OPERATIONS["job_status"], request, JobPage, how)

    async def job_logs(self, request: JobLogs, how: How = ANYHOW) -> JobLog:
        """The last lines that a job printed."""
        return await self.ask(OPERATIONS["job_logs"], request, JobLog, how)

    async def cancel_job(self, request: CancelJob, how: How = ANYHOW) -> CalculationAnswer:
        """End a job; submitted again, it goes on behind what it had made."""
        return await self.ask(OPERATIONS["cancel_job"], request, CalculationAnswer, how)

    async def model_versions(self, request: ModelVersions, how: How = ANYHOW) -> VersionList:
        """The kept versions of a model, the newest first, with what each changed."""
        return await self.ask(OPERATIONS["model_versions"], request, VersionList, how)

    async def restore_version(self, request: RestoreVersion, how: How = ANYHOW) -> ModelAnswer:
        """Make a new version of a model that is what an older, kept one was."""
        return await self.ask(OPERATIONS["restore_version"], request, ModelAnswer, how)
