"""Structural model of specific volatility, for assets with a short history."""

import numpy as np

from factors.numeric.blas import one_blas_thread
from factors.risk.arrays import BoolArray, FloatArray

# Fewer mature assets than this many per coefficient give no model worth having.
MIN_ASSETS_PER_COEFFICIENT = 3


@one_blas_thread
def structural_volatility(
    volatility: FloatArray, exposures: FloatArray, caps: FloatArray, mature: BoolArray
) -> FloatArray:
    r"""Return `[n_assets]` volatilities forecast from exposures, NaN where there is no forecast.

    The log volatilities of mature assets are regressed on exposures with weights `sqrt(cap)`, and
    :math:`\sigma_n = E_0 \exp(\sum_k X_{nk} b_k)`, where `E_0` makes the cap-weighted mean over the mature assets
    equal to that of their own volatilities (the exponential of a mean log is too low).

    Parameters
    ----------
    volatility
        `[n_assets]` time-series volatilities.
    exposures
        `[n_assets, K]`; columns may be collinear (the minimum-norm solution is taken). Rows with NaN get no forecast.
    caps
        `[n_assets]`; unknown ones weigh as the smallest.
    mature
        `[n_assets]` assets that the model is estimated on.

    Notes
    -----
    USE4 Methodology Notes (2011), section 5.2.
    """
    n_assets, n_factors = exposures.shape
    covered = ~np.isnan(exposures @ np.ones(n_factors))
    # Positions, which numpy gathers rows by in a third of the time of a mask.
    used = np.flatnonzero(mature & covered & (volatility > 0.0))
    if used.size < MIN_ASSETS_PER_COEFFICIENT * n_factors or n_factors == 0:
        return np.full(n_assets, np.nan)
    positive = caps > 0.0
    weights = np.where(positive, caps, caps[positive].min() if positive.any() else 1.0)
    root = np.sqrt(np.sqrt(weights[used] / weights[used].mean()))
    weighted, logs = exposures[used], np.log(volatility[used])
    weighted *= root[:, None]
    # The normal equations cost a tenth of a decomposition of the exposures, and a forecast needs no more digits.
    coefficients = np.linalg.pinv(weighted.T @ weighted, rcond=1e-10, hermitian=True) @ (weighted.T @ (logs * root))
    # Outside the range seen, the exponential of a linear fit means nothing.
    # Not BLAS: a row's sum would differ in its last bit with the number of rows around it.
    linear = np.einsum("nk,k->n", exposures, coefficients)
    forecast = np.exp(np.clip(linear, logs.min(), logs.max()))
    level = np.sum(weights[used] * volatility[used]) / np.sum(weights[used] * forecast[used])
    scaled: FloatArray = forecast * level
    return scaled
