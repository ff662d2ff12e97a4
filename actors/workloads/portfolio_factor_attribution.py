"""Realised attribution: where a portfolio's return over a period came from."""

from __future__ import annotations

import numpy as np

from actors.reading.slices import Day, Slices, by_name, rows_between
from actors.runtime.base import WorkloadActor
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from factors.portfolio.attribution import attribute

LONGEST_DAYS = 1260


class PortfolioFactorAttribution(WorkloadActor):
    """Holds fixed weights through the period, with each day's exposures as they were known the day before."""

    def prepare(self) -> None:
        """Open the store."""
        self.slices = Slices()

    def portfolio_attribution(self, request: rq.PortfolioAttribution) -> Calculation:
        """Contributions of factors and specific returns, with standard errors; they sum to the portfolio's return."""
        found = self.slices.at(request.model_id)
        version = found.version
        days = rows_between(version, request.start_date, request.end_date, found.model_id)
        if request.start_date is None and days.stop - days.start > LONGEST_DAYS:
            days = slice(days.stop - LONGEST_DAYS, days.stop)
        lag = int(version.manifest.meta["settings"]["regression"]["exposure_lag"])
        days = slice(max(days.start, lag), days.stop)
        n_days = days.stop - days.start
        if not 1 <= n_days <= LONGEST_DAYS:
            raise InvalidInput(f"the period must hold 1 to {LONGEST_DAYS} dates, holds {n_days}", field="start_date")
        weights = found.weights(request.portfolio_weights)
        held = np.flatnonzero(weights)
        factor_returns = np.asarray(version.day("factor_returns", days))
        exposures = [Day(version, row - lag).exposures_of(held) for row in range(days.start, days.stop)]
        returns = np.asarray(version.day_asset("fields/returns", days))[:, held]
        errors = np.asarray(version.day("standard_errors", days))
        result = attribute(
            weights[held],
            exposures,
            factor_returns,
            asset_returns=returns,
            factor_return_covariance=np.nan_to_num(errors),
        )
        total = result.total()
        names = found.factor_names
        assert total.factor_errors is not None
        gross = np.abs(weights).sum() * n_days
        coverage = 1.0 - float(result.missing_weight.sum()) / gross if gross else 0.0
        return Calculation(
            values={
                "portfolio_return": total.portfolio_return,
                "factor_contributions": by_name(names, total.factor),
                "factor_errors": by_name(names, total.factor_errors),
                "specific_contribution": total.specific,
                "unexplained": total.unexplained,
                "sum_of_parts": float(total.factor.sum() + total.specific + total.unexplained),
            },
            message=f"attribution of {len(held)} names over {n_days} days",
            confidence_score=found.confidence(coverage),
            model_version=found.number,
            details={
                "start_date": str(version.date(days.start)),
                "end_date": str(version.date(days.stop - 1)),
                "n_days": n_days,
                "linking": "carino",
                "coverage": round(coverage, 6),
            },
        )
