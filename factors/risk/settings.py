"""Settings of the factor covariance and of specific risk, with the published USE4S values as defaults."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from factors.errors import SettingsError
from factors.setting import Clip, Days, DaysOrNone, Decay, DecayOrNone, Draws, Flag, Lags, Seed, settings_class

CovarianceMethod = Literal["sample", "ewma", "ledoit_wolf", "oas"]
CorrelationShrinkage = Literal["none", "quadratic_inverse"]
SpecificMethod = Literal["sample", "ewma"]
Use4Horizon = Literal["D", "S", "L"]
ADAPTIVE = "adaptive"
HalfLife = float | Literal["adaptive"]


def _half_life(value: Any) -> HalfLife:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != ADAPTIVE and not (number and value > 0.0):
        raise ValueError(f"must be a positive number of days or 'adaptive', got {value!r}")
    return value if value == ADAPTIVE else float(value)


AdaptiveDecay = Annotated[HalfLife, PlainValidator(_half_life, json_schema_input_type=Decay | Literal["adaptive"])]
Experts = Annotated[tuple[Decay, ...], Field(min_length=1, max_length=100)]
Finite = Annotated[float, Field(strict=True, gt=0.0, le=1e6)]
Rate = Annotated[float, Field(strict=True, ge=0.0, le=1e6)]
Share = Annotated[float, Field(strict=True, ge=0.0, lt=1.0)]


def _check_experts(own: "FactorCovarianceSettings | SpecificRiskSettings", half_life: HalfLife) -> None:
    if own.method != "ewma" and half_life == ADAPTIVE:
        raise SettingsError(f"method must be ewma with adaptive half-lives, got {own.method!r}", field="method")
    if len(set(own.expert_half_lives)) < len(own.expert_half_lives):
        raise SettingsError(
            f"expert_half_lives must be different from each other, got {own.expert_half_lives}",
            field="expert_half_lives",
        )


@dataclass(frozen=True, slots=True)
class Horizon:
    """The experts of a horizon.

    Attributes
    ----------
    factor_half_lives, specific_half_lives
        Of the experts on factors and on specific risk: one name's variance is too noisy for the shortest ones.
    lags
        Of the variances.
    factor_rate
        How fast the weights of the factors' experts follow their losses.
    shrinkage
        Of specific risk towards its size group. Over a month an optimised portfolio gains most from names whose
        variance came out too low.
    observations
        Where positive, correlations are shrunk nonlinearly instead of by the eigenfactor adjustment, and this is the
        share of the effective days that counts as independent.
    even_share, asymmetry
        `expert_even_share` and `market_asymmetry` of the factors.
    blend, event_days
        `blend_history` and `event_days` of specific risk.
    """

    factor_half_lives: tuple[float, ...]
    specific_half_lives: tuple[float, ...]
    lags: int
    factor_rate: float
    shrinkage: float = 0.1
    observations: float = 0.0
    even_share: float = 0.0
    asymmetry: float = 0.0
    blend: tuple[int, int] = (60, 180)
    event_days: int = 0


# By days ahead. Over one day serial correlation has no time to work, and the last weeks say most; over a month, days of
# a month ago say as much as those of last week.
HORIZONS: dict[int, Horizon] = {
    1: Horizon(
        (8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
        (21.0, 42.0, 84.0, 168.0),
        lags=0,
        factor_rate=3.0,
        even_share=0.4,
        asymmetry=0.5,
        blend=(0, 60),
        event_days=10,
    ),
    5: Horizon((21.0, 42.0, 84.0, 168.0), (21.0, 42.0, 84.0, 168.0), 2, 0.5),
    21: Horizon((42.0, 84.0, 168.0, 336.0), (42.0, 84.0, 168.0, 336.0), 5, 0.5, 0.3, 0.5),
    63: Horizon((84.0, 168.0, 336.0, 504.0), (84.0, 168.0, 336.0, 504.0), 5, 0.5, 0.1, 1.0),
}


def _horizon(days: int) -> Horizon:
    if days not in HORIZONS:
        raise SettingsError(f"horizon_days must be one of {list(HORIZONS)}, got {days}", field="horizon_days")
    return HORIZONS[days]


@settings_class
class FactorCovarianceSettings:
    """How the factor covariance is estimated.

    Parameters
    ----------
    method
        `ewma` keeps exponentially weighted sums; `sample`, `ledoit_wolf` and `oas` use the last `window` days.
    window
        Days in the window of the three windowed methods; ignored by `ewma`.
    volatility_half_life, correlation_half_life
        Half-lives in days for variances and for correlations (`ewma` only). Infinity weighs all days alike. A
        `volatility_half_life` of `"adaptive"` mixes experts, see `factors.risk.factor_experts`.
    volatility_lags, correlation_lags
        Newey-West lags for variances and for correlations (`ewma` only); 0 switches the correction off.
    correlation_shrinkage, correlation_observations
        `quadratic_inverse` shrinks the correlations nonlinearly (`factors.risk.nonlinear`; `ewma` only, others ignore
        it), before any eigenfactor adjustment. The other number is the share of the effective days that counts as
        independent.
    eigenfactor_simulations
        Monte Carlo draws behind the eigenfactor adjustment; 0 switches it off. The draws are spread over
        `eigenfactor_spread_days` days, so that one day costs `simulations / spread_days` draws.
    eigenfactor_scale
        The scale `a` of the adjustment (USE4: 1.4).
    eigenfactor_spread_days
        Days over which one full set of draws is made.
    eigenfactor_seed
        Seed of the draws; the draws of a day depend on the seed and on the count of days only.
    regime_half_life
        Half-life in days of the volatility regime adjustment; 0 switches it off.
    regime_clip
        Bounds of the volatility multiplier.
    regime_min_observations
        Days a factor must have been observed before it counts in the regime statistic, and days the statistic
        must have been observed before it is used.
    horizon_days, expert_half_lives
        For adaptive half-lives: the days ahead that experts are judged on, and the half-life of each. Where there is a
        regime adjustment, each half-life is an expert with it and one without.
    expert_discount_half_life, expert_learning_rate
        Half-life in days of the experts' past losses, and how fast weights follow them: `factors.risk.hedge`.
    expert_even_share
        Share of the weight that all experts have alike, whatever they lost.
    market_asymmetry
        A loss of the first factor, the market, counts `1 + market_asymmetry` times in its variance, a gain
        `1 - market_asymmetry` times (`ewma` only): `factors.risk.ewma.add_volatilities`.

    Notes
    -----
    Defaults: Menchero, Orr and Wang, "The Barra US Equity Model (USE4)", Methodology Notes (2011), short horizon.
    """

    method: CovarianceMethod = "ewma"
    window: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 252
    volatility_half_life: AdaptiveDecay = 84.0
    correlation_half_life: Decay = 504.0
    volatility_lags: Lags = 5
    correlation_lags: Lags = 2
    eigenfactor_simulations: Draws = 200
    eigenfactor_scale: Annotated[float, Field(strict=True, ge=0.0, le=100.0)] = 1.4
    eigenfactor_spread_days: Days = 40
    eigenfactor_seed: Seed = 20110815
    regime_half_life: DecayOrNone = 42.0
    regime_clip: Clip = (0.5, 2.0)
    regime_min_observations: DaysOrNone = 21
    horizon_days: Days = 1
    expert_half_lives: Experts = (21.0, 42.0, 84.0, 168.0)
    expert_discount_half_life: Finite = 126.0
    expert_learning_rate: Rate = 0.5
    expert_even_share: Share = 0.0
    market_asymmetry: Share = 0.0
    correlation_shrinkage: CorrelationShrinkage = "none"
    correlation_observations: Finite = 1.0

    def __post_init__(self) -> None:
        _check_experts(self, self.volatility_half_life)

    @classmethod
    def adaptive(cls, horizon_days: int = 1) -> "FactorCovarianceSettings":
        """Give experts and lags for forecasts over 1, 5, 21 or 63 days.

        Raises
        ------
        SettingsError
            For another horizon.
        """
        ahead = _horizon(horizon_days)
        nonlinear = ahead.observations > 0.0
        return cls(
            volatility_half_life="adaptive",
            horizon_days=horizon_days,
            expert_half_lives=ahead.factor_half_lives,
            volatility_lags=ahead.lags,
            expert_learning_rate=ahead.factor_rate,
            expert_even_share=ahead.even_share,
            market_asymmetry=ahead.asymmetry,
            eigenfactor_simulations=0 if nonlinear else cls().eigenfactor_simulations,
            correlation_shrinkage="quadratic_inverse" if nonlinear else "none",
            correlation_observations=ahead.observations if nonlinear else 1.0,
        )

    @classmethod
    def use4(cls, horizon: Use4Horizon = "S") -> "FactorCovarianceSettings":
        """Give the values of the daily, short or long horizon (USE4 Methodology Notes, USE4D Empirical Notes).

        No text of them could be read here: those of "S" and "L" are as remembered, and those of "D" less surely so.
        """
        if horizon == "D":
            return cls(
                volatility_half_life=42.0,
                correlation_half_life=200.0,
                volatility_lags=0,
                correlation_lags=0,
                regime_half_life=4.0,
            )
        return cls() if horizon == "S" else cls(volatility_half_life=252.0, regime_half_life=168.0)


@settings_class
class SpecificRiskSettings:
    """How specific variances are estimated.

    Parameters
    ----------
    method
        `ewma` keeps exponentially weighted sums; `sample` uses the last `window` days.
    window
        Days in the window of `sample`; ignored by `ewma`.
    half_life
        Half-life in days of the variances; `"adaptive"` mixes experts, see `factors.risk.specific_experts`.
    newey_west_lags, newey_west_half_life
        Lags of the serial-correlation correction (0 switches it off) and the half-life of the autocovariances
        behind it. It multiplies the variance by a ratio held within `newey_west_clip`.
    blend_history
        `(h0, h1)`: an asset with `h0` days of history or fewer takes the forecast of the structural model (of its size
        group where there are no exposures), one with `h1` or more takes its own, linear between. `(0, 0)` switches the
        blend off.
    structural
        Whether the structural model is fitted when exposures are given.
    bayes_shrinkage
        `q` of the Bayesian shrinkage towards the mean of the size group; 0 switches it off.
    bayes_groups
        Number of size groups (deciles).
    regime_half_life, regime_clip, regime_min_observations
        Volatility regime adjustment, as for the factor covariance, cap-weighted across assets (`ewma` only).
    horizon_days, expert_half_lives, expert_discount_half_life, expert_learning_rate, expert_even_share
        As for the factor covariance.
    event_days, event_deviations
        With adaptive half-lives: for so many days after a specific return beyond so many of its forecast deviations a
        name's variance is multiplied by what followed such events before; 0 days switch it off.
    """

    method: SpecificMethod = "ewma"
    window: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 252
    half_life: AdaptiveDecay = 84.0
    newey_west_lags: Lags = 5
    newey_west_half_life: Decay = 252.0
    newey_west_clip: Clip = (0.5, 2.0)
    blend_history: tuple[DaysOrNone, DaysOrNone] = (60, 180)
    structural: Flag = True
    bayes_shrinkage: Rate = 0.1
    bayes_groups: Annotated[int, Field(strict=True, ge=1, le=1000)] = 10
    regime_half_life: DecayOrNone = 42.0
    regime_clip: Clip = (0.5, 2.0)
    regime_min_observations: DaysOrNone = 21
    horizon_days: Days = 1
    expert_half_lives: Experts = (21.0, 42.0, 84.0, 168.0)
    expert_discount_half_life: Finite = 126.0
    expert_learning_rate: Rate = 0.5
    expert_even_share: Share = 0.0
    event_days: DaysOrNone = 0
    event_deviations: Finite = 3.0

    def __post_init__(self) -> None:
        low, high = self.blend_history
        if low > high:
            raise SettingsError(
                f"blend_history must be (h0, h1) with h0 <= h1, got {self.blend_history}", field="blend_history"
            )
        if self.method != "ewma" and self.regime_half_life != 0.0:
            raise SettingsError(
                "regime_half_life must be 0 with method sample: the adjustment needs exponentially weighted variances",
                field="regime_half_life",
            )
        _check_experts(self, self.half_life)

    @classmethod
    def adaptive(cls, horizon_days: int = 1) -> "SpecificRiskSettings":
        """Give experts and lags for forecasts over 1, 5, 21 or 63 days.

        Raises
        ------
        SettingsError
            For another horizon.
        """
        ahead = _horizon(horizon_days)
        return cls(
            half_life="adaptive",
            horizon_days=horizon_days,
            expert_half_lives=ahead.specific_half_lives,
            newey_west_lags=ahead.lags,
            bayes_shrinkage=ahead.shrinkage,
            blend_history=ahead.blend,
            event_days=ahead.event_days,
        )

    @classmethod
    def use4(cls, horizon: Use4Horizon = "S") -> "SpecificRiskSettings":
        """Give the values of the daily, short or long horizon; see `FactorCovarianceSettings.use4` on their source."""
        if horizon == "D":
            return cls(half_life=42.0, newey_west_lags=0, regime_half_life=4.0)
        return cls() if horizon == "S" else cls(half_life=252.0, regime_half_life=168.0)
