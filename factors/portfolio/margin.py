"""Margin: value at risk and expected shortfall of factor plus specific profit and loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names
from factors.portfolio.risk import UNLINKED, PortfolioRisk, portfolio_risk
from factors.portfolio.tails import filtered, fitted_degrees_of_freedom, student_tail
from factors.risk.arrays import FloatArray, as_matrix, as_vector
from factors.risk.linked import Linked
from factors.setting import settings_class

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

MarginMethod = Literal["normal", "student_t", "historical", "filtered_historical"]
FITTED = "fitted"
# Halving alone brings eighty standard deviations below rounding in sixty steps; Newton needs about ten.
MOST_STEPS = 80


@settings_class
class MarginSettings:
    """How margin is measured.

    Parameters
    ----------
    method
        `normal`; `student_t`, scaled to the predicted variance; or `historical`: past factor returns at today's
        exposures, each smeared by the portfolio's normal specific return. `filtered_historical` is the same with each
        day over the volatility that the portfolio's factor part had at that time.
    confidence
        Level of value at risk and expected shortfall.
    horizon_days
        Holding period; daily results are scaled by its square root.
    degrees_of_freedom
        Of the Student t, above 2; or "fitted": by maximum likelihood to the filtered days of each portfolio's factor
        part, which are past days only.
    filter_half_life
        Days, of the volatility that past days are filtered by.
    """

    method: MarginMethod = "historical"
    confidence: Annotated[float, Field(strict=True, gt=0.5, lt=1.0)] = 0.99
    horizon_days: Annotated[float, Field(strict=True, gt=0.0, le=10_000.0)] = 1.0
    degrees_of_freedom: Annotated[float, Field(strict=True, gt=2.0, le=1e6)] | Literal["fitted"] = 5.0
    filter_half_life: Annotated[float, Field(strict=True, gt=0.0, le=1e6)] = 42.0


@dataclass(frozen=True, slots=True)
class Margin(Named):
    """Losses as positive shares of portfolio value, `[P]` each: value at risk, expected shortfall, volatility."""

    value_at_risk: FloatArray
    expected_shortfall: FloatArray
    volatility: FloatArray
    names: Names = UNNAMED

    FORMS: ClassVar[Mapping[str, str]] = {"value_at_risk": ".3%", "expected_shortfall": ".3%", "volatility": ".3%"}

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each portfolio."""
        import polars as pl

        return pl.DataFrame(
            {
                "portfolio": self.names.of("portfolios", self.volatility.size),
                "value_at_risk": self.value_at_risk,
                "expected_shortfall": self.expected_shortfall,
                "volatility": self.volatility,
            }
        )

    def _axes(self) -> Mapping[str, int]:
        return {"portfolios": self.volatility.size}

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        bars(
            axes, self.names.of("portfolios", self.volatility.size), self.expected_shortfall, form=".2%",
            title="Expected shortfall over the horizon",
        )  # fmt: skip


def margin(
    weights: FloatArray,
    X: FloatArray,
    F: FloatArray,
    specific_variance: FloatArray,
    factor_returns: FloatArray | None = None,
    settings: MarginSettings | None = None,
    *,
    linked: Linked = UNLINKED,
) -> Margin:
    r"""Return value at risk and expected shortfall of portfolios over the horizon.

    `historical` takes the loss as a mixture of normals, one per past day,
    :math:`N(-e' f_t, \sigma_s^2)` with `e` today's exposures: the factor part keeps the tails and joint moves of the
    past, the specific part is that of today's holdings. Past factor returns are rescaled to today's factor
    volatilities, as in filtered historical simulation (Barone-Adesi, Giannopoulos and Vosper 1999). Quantile and
    shortfall of the mixture are exact, there is no sampling. `filtered_historical` takes the days of the portfolio's
    factor part over their own volatility instead, times today's: days of a shock and of a calm year then say as much of
    the tail.

    Parameters
    ----------
    weights, X, F, specific_variance
        As in `portfolio_risk`, daily units.
    factor_returns
        `[T, K]` past daily factor returns, for the historical methods and fitted degrees of freedom; days with NaN are
        left out.
    settings
        By default `historical` at 99 % over one day.
    linked
        Assets of one issuer, as in `portfolio_risk`.

    Raises
    ------
    FactorError
        For `historical` without any complete day of factor returns; and as in `portfolio_risk`.
    """
    risk = portfolio_risk(weights, X, F, specific_variance, by_asset=False, linked=linked)
    return margin_of(risk, F, factor_returns, settings)


def margin_of(
    risk: PortfolioRisk,
    F: FloatArray,
    factor_returns: FloatArray | None = None,
    settings: MarginSettings | None = None,
) -> Margin:
    """Return the margin of portfolios whose risk is known; arguments, result and errors as in `margin`."""
    chosen = settings or MarginSettings()
    if chosen.method == "historical":
        history = _rescaled(_complete(factor_returns, chosen, F), F)
        daily_var, daily_shortfall = mixture_tail(-(risk.exposures @ history.T), risk.specific, chosen.confidence)
    elif chosen.method == "filtered_historical":
        past = -(risk.exposures @ _complete(factor_returns, chosen, F).T)
        losses = filtered(past, chosen.filter_half_life)
        level = np.sqrt((losses * losses).mean(axis=1, keepdims=True))
        losses = np.divide(losses, level, out=np.zeros_like(losses), where=level > 0.0) * risk.factor[:, None]
        daily_var, daily_shortfall = mixture_tail(losses, risk.specific, chosen.confidence)
    else:
        nu = np.full(risk.total.shape, np.inf)
        if chosen.method == "student_t" and chosen.degrees_of_freedom == FITTED:
            past = risk.exposures @ _complete(factor_returns, chosen, F).T
            nu = fitted_degrees_of_freedom(filtered(past, chosen.filter_half_life))
        elif chosen.method == "student_t":
            nu = np.full(risk.total.shape, float(chosen.degrees_of_freedom))
        quantile, shortfall = student_tail(nu, chosen.confidence) if np.isfinite(nu).all() else normal_tail(chosen)
        daily_var, daily_shortfall = quantile * risk.total, shortfall * risk.total
    root = np.sqrt(chosen.horizon_days)
    return Margin(daily_var * root, daily_shortfall * root, risk.total * root)


def simulated_factor_returns(
    F: FloatArray, n_scenarios: int, degrees_of_freedom: float = 5.0, seed: int = 0
) -> FloatArray:
    """Return `[S, K]` draws of a multivariate Student t with covariance `F`; the same for the same arguments.

    Parameters
    ----------
    F
        `[K, K]`, positive semidefinite.
    n_scenarios
        `S`.
    degrees_of_freedom
        Above 2. All factors of a draw share one mixing variable, so that they are extreme together.
    seed
        Of numpy's default generator.
    """
    covariance = as_matrix("factor_covariance", F, finite=True)
    if degrees_of_freedom <= 2.0:
        raise FactorError(f"degrees_of_freedom must be above 2, got {degrees_of_freedom}", field="degrees_of_freedom")
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    mixing = (degrees_of_freedom - 2.0) / rng.chisquare(degrees_of_freedom, n_scenarios)
    drawn: FloatArray = (rng.standard_normal((n_scenarios, len(values))) * np.sqrt(mixing)[:, None]) @ root.T
    return drawn


def normal_tail(settings: MarginSettings) -> tuple[float, float]:
    """Return quantile and expected shortfall of the standard normal loss."""
    quantile = NormalDist().inv_cdf(settings.confidence)
    return quantile, NormalDist().pdf(quantile) / (1.0 - settings.confidence)


def _complete(factor_returns: FloatArray | None, settings: MarginSettings, F: FloatArray) -> FloatArray:
    """Return the days of `[T, K]` without missing values."""
    if factor_returns is None:
        named = settings.method.replace("_", " ")
        raise FactorError(f"{named} margin needs factor_returns", field="factor_returns")
    history = as_matrix("factor_returns", factor_returns, columns=F.shape[0])
    complete: FloatArray = history[~np.isnan(history).any(axis=1)]
    if complete.shape[0] == 0:
        raise FactorError("factor_returns must have a day without missing values", field="factor_returns")
    return complete


def _rescaled(complete: FloatArray, F: FloatArray) -> FloatArray:
    """Return days `[T, K]`, each factor scaled to its volatility in `F`."""
    past = np.sqrt((complete * complete).mean(axis=0))
    now = np.sqrt(np.diag(F))
    scaled: FloatArray = complete * np.divide(now, past, out=np.zeros_like(past), where=past > 0.0)
    return scaled


def mixture_tail(losses: FloatArray, spread: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    r"""Return value at risk and expected shortfall `[P]` of equal mixtures of normals.

    Parameters
    ----------
    losses
        `[P, T]` means of the components.
    spread
        `[P]` their standard deviation. With 0 the mixture is the sample itself: value at risk is its smallest value
        with at least `confidence` of the sample at or below it.
    confidence
        Level.

    Notes
    -----
    With :math:`z_t = (q - l_t) / s`, the quantile solves :math:`\frac1T \sum \Phi(z_t) = \alpha`, and the shortfall is
    :math:`\frac{1}{(1 - \alpha) T} \sum l_t \Phi(-z_t) + s \varphi(z_t)`.
    """
    from scipy.special import ndtr

    means = as_matrix("losses", losses, finite=True)
    s = as_vector("spread", spread, length=means.shape[0], finite=True)
    tail = 1.0 - confidence
    ordered = np.sort(means, axis=1)
    n_days = ordered.shape[1]
    at = min(max(int(np.ceil(confidence * n_days - 1e-9)) - 1, 0), n_days - 1)
    quantile = ordered[:, at].copy()
    shortfall = np.empty_like(quantile)
    smeared = s > 0.0
    if not smeared.all():
        plain = ~smeared
        excess = np.maximum(ordered[plain] - quantile[plain, None], 0.0).mean(axis=1)
        # Acerbi and Tasche (2002): the part of the atom at the quantile that belongs to the tail is counted with it.
        shortfall[plain] = quantile[plain] + excess / tail
    if smeared.any():
        centre, width = ordered[smeared], s[smeared][:, None]
        root = _mixture_quantile(centre, width, confidence, quantile[smeared])
        z = (root[:, None] - centre) / width
        quantile[smeared] = root
        shortfall[smeared] = (centre * ndtr(-z) + width * _density(z)).mean(axis=1) / tail
    return quantile, shortfall


def _density(z: FloatArray) -> FloatArray:
    """Return the standard normal density."""
    density: FloatArray = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return density


def _mixture_quantile(centre: FloatArray, width: FloatArray, confidence: float, root: FloatArray) -> FloatArray:
    """Return the quantile `[P]` of mixtures with means `[P, T]`, in order, and deviations `[P, 1]`.

    Newton's steps from `root`, each halving the bracket instead where it would leave it.
    """
    from scipy.special import ndtr

    low = centre[:, 0] - 40.0 * width[:, 0]
    high = centre[:, -1] + 40.0 * width[:, 0]
    for _ in range(MOST_STEPS):
        z = (root[:, None] - centre) / width
        gap = ndtr(z).mean(axis=1) - confidence
        low, high = np.where(gap < 0.0, root, low), np.where(gap < 0.0, high, root)
        slope = (_density(z) / width).mean(axis=1)
        step = np.divide(gap, slope, out=np.full_like(gap, np.inf), where=slope > 0.0)
        following = root - step
        outside = ~((following >= low) & (following <= high))
        following = np.where(outside, 0.5 * (low + high), following)
        if (np.abs(following - root) <= 1e-14 * (high - low + np.abs(root))).all():
            return following
        root = following
    return root
