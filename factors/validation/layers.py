"""The layers of the risk model, each the one before plus one step, with the published parameters."""

from dataclasses import dataclass, replace

from factors.risk.settings import ADAPTIVE, FactorCovarianceSettings, SpecificRiskSettings


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the report.

    Attributes
    ----------
    name
        What the layer adds.
    covariance, specific
        Settings of its estimators.
    """

    name: str
    covariance: FactorCovarianceSettings
    specific: SpecificRiskSettings


def layers(full_covariance: FactorCovarianceSettings, full_specific: SpecificRiskSettings, window: int) -> list[Layer]:
    """Return the layers that lead to the full model.

    Parameters
    ----------
    full_covariance, full_specific
        Settings of the full model; their method must be `ewma`. Where half-lives are adaptive, the layers before have
        USE4's half-lives and lags (short horizon), and the last layer makes both adaptive.
    window
        Days behind the sample covariance.
    """
    given = full_covariance, full_specific
    short_covariance, short_specific = FactorCovarianceSettings.use4("S"), SpecificRiskSettings.use4("S")
    if full_covariance.volatility_half_life == ADAPTIVE:
        full_covariance = replace(
            full_covariance,
            volatility_half_life=short_covariance.volatility_half_life,
            volatility_lags=short_covariance.volatility_lags,
            correlation_lags=short_covariance.correlation_lags,
            eigenfactor_simulations=short_covariance.eigenfactor_simulations,
            correlation_shrinkage=short_covariance.correlation_shrinkage,
            market_asymmetry=short_covariance.market_asymmetry,
        )
    if full_specific.half_life == ADAPTIVE:
        full_specific = replace(
            full_specific,
            half_life=short_specific.half_life,
            newey_west_lags=short_specific.newey_west_lags,
            blend_history=short_specific.blend_history,
        )
    ewma_covariance = replace(
        full_covariance, volatility_lags=0, correlation_lags=0, eigenfactor_simulations=0, regime_half_life=0.0
    )
    ewma_specific = replace(
        full_specific,
        newey_west_lags=0,
        bayes_shrinkage=0.0,
        blend_history=(0, 0),
        structural=False,
        regime_half_life=0.0,
    )
    lagged_covariance = replace(
        ewma_covariance,
        volatility_lags=full_covariance.volatility_lags,
        correlation_lags=full_covariance.correlation_lags,
    )
    lagged_specific = replace(ewma_specific, newey_west_lags=full_specific.newey_west_lags)
    eigen = replace(lagged_covariance, eigenfactor_simulations=full_covariance.eigenfactor_simulations)
    regime_specific = replace(lagged_specific, regime_half_life=full_specific.regime_half_life)
    found = [
        Layer(
            "sample",
            replace(ewma_covariance, method="sample", window=window),
            replace(ewma_specific, method="sample", window=window),
        ),
        Layer("EWMA", ewma_covariance, ewma_specific),
        Layer("+ Newey-West", lagged_covariance, lagged_specific),
        Layer("+ eigenfactor", eigen, lagged_specific),
        Layer("+ regime", full_covariance, regime_specific),
        Layer("+ Bayes", full_covariance, full_specific),
    ]
    if given == (full_covariance, full_specific):
        return [*found[:-1], replace(found[-1], name="+ Bayes (full model)")]
    return [*found, Layer("+ adaptive (full model)", *given)]
