"""How fat the tails of a series are once its changing volatility is taken out."""

import numpy as np

from factors.errors import FactorError
from factors.risk.arrays import FloatArray
from factors.risk.ewma import decay

# Days that only start the volatility of the filter.
WARM_UP = 21
# What a fit chooses from: between two neighbours the 99 % quantile moves by less than 3 %.
DEGREES_OF_FREEDOM = (2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 30.0, 100.0)


def filtered(series: FloatArray, half_life: float) -> FloatArray:
    """Return `[P, T - 21]` the days of `[P, T]` over their volatility as known the day before.

    The volatility is an exponentially weighted one without demeaning, started by the mean square of the first 21 days.
    A day whose volatility was 0 gives 0.

    Raises
    ------
    FactorError
        With 21 days or fewer.
    """
    if series.shape[1] <= WARM_UP:
        raise FactorError(
            f"a filter needs more than {WARM_UP} complete days, got {series.shape[1]}", field="factor_returns"
        )
    kept = decay(half_life)
    variance = (series[:, :WARM_UP] ** 2).mean(axis=1)
    out = np.zeros((series.shape[0], series.shape[1] - WARM_UP))
    for t in range(out.shape[1]):
        today = series[:, WARM_UP + t]
        np.divide(today, np.sqrt(variance), out=out[:, t], where=variance > 0.0)
        variance = kept * variance + (1.0 - kept) * today * today
    return out


def fitted_degrees_of_freedom(standardized: FloatArray) -> FloatArray:
    """Return `[P]` degrees of freedom of a Student t of unit variance, by maximum likelihood over `DEGREES_OF_FREEDOM`.

    Each row of `[P, T]` is scaled to unit variance first: what is fitted is the shape, not the level. NaN is left out.
    """
    from scipy.special import gammaln

    seen = ~np.isnan(standardized)
    count = np.maximum(seen.sum(axis=1), 1)
    squares = np.where(seen, standardized * standardized, 0.0)
    mean = squares.sum(axis=1) / count
    scaled = np.divide(squares, mean[:, None], out=np.zeros_like(squares), where=mean[:, None] > 0.0)
    likelihoods = []
    for nu in DEGREES_OF_FREEDOM:
        constant = gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(nu - 2.0)
        days = np.where(seen, np.log1p(scaled / (nu - 2.0)), 0.0)
        likelihoods.append(count * constant - 0.5 * (nu + 1.0) * days.sum(axis=1))
    chosen: FloatArray = np.array(DEGREES_OF_FREEDOM)[np.argmax(likelihoods, axis=0)]
    return chosen


def student_tail(degrees_of_freedom: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return quantile and mean beyond it of Student t distributions of unit variance, `[P]` each."""
    # Imported here: scipy.stats is slow to import and most users of this package do not need it.
    from scipy import stats

    nu = degrees_of_freedom
    raw = stats.t.ppf(confidence, nu)
    shortfall = stats.t.pdf(raw, nu) / (1.0 - confidence) * (nu + raw * raw) / (nu - 1.0)
    unit = np.sqrt((nu - 2.0) / nu)
    return raw * unit, shortfall * unit
