"""Covariances, attributions and factor analytics by statsmodels, skfolio and alphalens, in the oracle environment.

    python risk_reference.py IN.npz OUT.npz

``IN.npz`` holds ``factor_returns`` [n_dates, K]; ``weights`` [n_assets], ``exposures`` [n_assets, K], ``residuals``,
``regression_weights`` and ``specific_variance`` [n_dates, n_assets]; ``scores`` and ``following`` [n_dates, n_assets].
"""

import sys
import warnings

import numpy as np

HALF_LIFE, REGIME_HALF_LIFE, LAGS, QUANTILES = 30.0, 20.0, 4, 5


def newey_west(returns):
    """Long-run covariance: the HAC covariance of the means of a regression on a constant, times the days."""
    from statsmodels.stats.sandwich_covariance import S_hac_simple

    return S_hac_simple(returns - returns.mean(axis=0), nlags=LAGS) / len(returns)


def exponential(returns):
    from skfolio.moments import RegimeAdjustedEWCovariance
    from skfolio.moments.covariance._regime_adjusted_ew_covariance import RegimeAdjustmentMethod, RegimeAdjustmentTarget

    estimator = RegimeAdjustedEWCovariance(
        half_life=HALF_LIFE,
        regime_half_life=REGIME_HALF_LIFE,
        regime_target=RegimeAdjustmentTarget.DIAGONAL,
        regime_method=RegimeAdjustmentMethod.RMS,
        regime_multiplier_clip=(0.5, 2.0),
        regime_min_observations=1,
        min_observations=21,
    ).fit(returns)
    return estimator.covariance_, estimator.regime_multiplier_


def attribution(data):
    from skfolio.attribution import realized_factor_attribution

    n_assets, n_factors = data["exposures"].shape
    returns = data["factor_returns"] @ data["exposures"].T + data["residuals"]
    result = realized_factor_attribution(
        factor_returns=data["factor_returns"],
        portfolio_returns=returns @ data["weights"],
        exposures=data["exposures"],
        weights=data["weights"],
        idio_returns=data["residuals"],
        asset_names=[f"a{i}" for i in range(n_assets)],
        factor_names=[f"f{i}" for i in range(n_factors)],
        regression_weights=data["regression_weights"],
        idio_variances=data["specific_variance"],
        compute_uncertainty=True,
        annualization_factor=1.0,
    )
    return {
        "attribution_means": result.factors.mu_contrib,
        "attribution_errors": result.factors.mu_contrib_uncertainty,
        "attribution_specific": result.idio.mu_contrib,
        "attribution_specific_error": result.idio.mu_uncertainty,
    }


def predicted(data, covariance):
    from skfolio.attribution import predicted_factor_attribution

    n_assets, n_factors = data["exposures"].shape
    variance = data["specific_variance"][-1]
    result = predicted_factor_attribution(
        weights=data["weights"],
        loading_matrix=data["exposures"],
        factor_covariance=covariance,
        factor_mu=np.zeros(n_factors),
        idio_covariance=variance,
        idio_mu=np.zeros(n_assets),
        asset_names=[f"a{i}" for i in range(n_assets)],
        factor_names=[f"f{i}" for i in range(n_factors)],
        annualization_factor=1.0,
    )
    return {
        "predicted_total": result.total.vol,
        "predicted_factor": result.factors.vol_contrib,
        "predicted_specific": result.idio.vol_contrib,
    }


def analytics(scores, following):
    import pandas as pd

    n_dates, n_assets = scores.shape
    dates = pd.bdate_range("2020-01-01", periods=n_dates, name="date")
    index = pd.MultiIndex.from_product([dates, [f"a{i:03d}" for i in range(n_assets)]], names=["date", "asset"])
    frame = pd.DataFrame({"1D": following.ravel(), "factor": scores.ravel()}, index=index).dropna()
    from alphalens import performance, utils

    frame["factor_quantile"] = utils.quantize_factor(frame, quantiles=QUANTILES)
    means, _ = performance.mean_return_by_quantile(frame, by_date=True, demeaned=True)
    quantiles = frame["factor_quantile"]

    def turnover(period):
        each = [performance.quantile_turnover(quantiles, q, period).reindex(dates) for q in range(1, QUANTILES + 1)]
        return np.column_stack([column.to_numpy() for column in each])

    spread, _ = performance.compute_mean_returns_spread(means, QUANTILES, 1)
    names = [f"a{i:03d}" for i in range(n_assets)]
    prices = pd.DataFrame(np.cumprod(1.0 + 0.1 * np.nan_to_num(following), axis=0), dates, names)
    forward = utils.compute_forward_returns(frame["factor"], prices, periods=(1, 5)).reindex(index)
    return {
        "spread": spread["1D"].reindex(dates).to_numpy(),
        "forward_1": forward["1D"].to_numpy().reshape(n_dates, n_assets),
        "forward_5": forward["5D"].to_numpy().reshape(n_dates, n_assets),
        "turnover_5": turnover(5),
        "autocorrelation_5": performance.factor_rank_autocorrelation(frame, 5).reindex(dates).to_numpy(),
        "rank_ic": performance.factor_information_coefficient(frame)["1D"].reindex(dates).to_numpy(),
        "quantile_returns": means["1D"].unstack("factor_quantile").reindex(dates).to_numpy(),
        "turnover": turnover(1),
        "autocorrelation": performance.factor_rank_autocorrelation(frame, 1).reindex(dates).to_numpy(),
    }


def main(source, target):
    warnings.simplefilter("ignore")
    data = dict(np.load(source))
    returns = data["factor_returns"]
    covariance, multiplier = exponential(returns)
    results = {"newey_west": newey_west(returns), "exponential": covariance, "multiplier": multiplier}
    results |= attribution(data) | predicted(data, covariance) | analytics(data["scores"], data["following"])
    np.savez(target, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
