"""Portfolios: exposures, predicted risk, margin, scenarios, attribution."""

from factors.portfolio.risk import ActiveRisk, PortfolioRisk, portfolio_exposures, portfolio_risk

__all__ = [
    "ActiveRisk",
    "PortfolioRisk",
    "portfolio_exposures",
    "portfolio_risk",
]
