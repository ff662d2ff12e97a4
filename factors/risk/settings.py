"""Settings of the factor covariance and of specific risk, with the published USE4S values as defaults."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from factors.errors import SettingsError

CovarianceMethod = Literal["sample", "ewma", "ledoit_wolf", "oas"]
SpecificMethod = Literal["sample", "ewma"]
ADAPTIVE = "adaptive"
HalfLife = float | Literal["adaptive"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message, field=message.split(maxsplit=1)[0])


def _require_half_life(name: str, value: HalfLife) -> None:
    if isinstance(value, str):
        _require(value == ADAPTIVE, f"{name} must be a number of days or 'adaptive', got {value!r}")
    else:
        _require(value > 0.0, f"{name} must be positive (infinity weighs all days alike), got {value}")


def _require_experts(
    method: str, half_life: HalfLife, experts: "FactorCovarianceSettings | SpecificRiskSettings"
) -> None:
    _require(method == "ewma" or half_life != ADAPTIVE, f"method must be ewma with adaptive half-lives, got {method!r}")
    _require(experts.horizon_days >= 1, f"horizon_days must be at least 1, got {experts.horizon_days}")
    known = experts.expert_half_lives
    _require(
        len(known) > 0 and all(value > 0.0 for value in known) and len(set(known)) == len(known),
        f"expert_half_lives must be different positive numbers of days, got {known}",
    )
    _require(
        experts.expert_discount_half_life > 0.0 and isfinite(experts.expert_discount_half_life),
        f"expert_discount_half_life must be positive and finite, got {experts.expert_discount_half_life}",
    )
    _require(
        experts.expert_learning_rate >= 0.0 and isfinite(experts.expert_learning_rate),
        f"expert_learning_rate must not be negative, got {experts.expert_learning_rate}",
    )


def _require_clip(name: str, clip: tuple[float, float]) -> None:
    _require(
        len(clip) == 2 and 0.0 < clip[0] <= 1.0 <= clip[1] and isfinite(clip[1]),
        f"{name} must be (low, high) with 0 < low <= 1 <= high, got {clip}",
    )


@dataclass(frozen=True, slots=True)
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

    Notes
    -----
    Defaults: Menchero, Orr and Wang, "The Barra US Equity Model (USE4)", Methodology Notes (2011), short horizon.
    """

    method: CovarianceMethod = "ewma"
    window: int = 252
    volatility_half_life: HalfLife = 84.0
    correlation_half_life: float = 504.0
    volatility_lags: int = 5
    correlation_lags: int = 2
    eigenfactor_simulations: int = 200
    eigenfactor_scale: float = 1.4
    eigenfactor_spread_days: int = 40
    eigenfactor_seed: int = 20110815
    regime_half_life: float = 42.0
    regime_clip: tuple[float, float] = (0.5, 2.0)
    regime_min_observations: int = 21
    horizon_days: int = 1
    expert_half_lives: tuple[float, ...] = (21.0, 42.0, 84.0, 168.0)
    expert_discount_half_life: float = 126.0
    expert_learning_rate: float = 0.5

    def __post_init__(self) -> None:
        _require(
            self.method in {"sample", "ewma", "ledoit_wolf", "oas"},
            f"method must be one of sample, ewma, ledoit_wolf, oas, got {self.method!r}",
        )
        _require(self.window >= 2, f"window must be at least 2 days, got {self.window}")
        _require_half_life("volatility_half_life", self.volatility_half_life)
        _require_half_life("correlation_half_life", self.correlation_half_life)
        for name in ("volatility_lags", "correlation_lags", "eigenfactor_simulations", "regime_min_observations"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}")
        _require(self.eigenfactor_scale >= 0.0, f"eigenfactor_scale must not be negative, got {self.eigenfactor_scale}")
        _require(
            self.eigenfactor_spread_days >= 1,
            f"eigenfactor_spread_days must be at least 1, got {self.eigenfactor_spread_days}",
        )
        _require(self.eigenfactor_seed >= 0, f"eigenfactor_seed must not be negative, got {self.eigenfactor_seed}")
        _require(self.regime_half_life >= 0.0, f"regime_half_life must not be negative, got {self.regime_half_life}")
        _require_clip("regime_clip", self.regime_clip)
        _require_experts(self.method, self.volatility_half_life, self)


@dataclass(frozen=True, slots=True)
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
    horizon_days, expert_half_lives, expert_discount_half_life, expert_learning_rate
        As for the factor covariance.
    """

    method: SpecificMethod = "ewma"
    window: int = 252
    half_life: HalfLife = 84.0
    newey_west_lags: int = 5
    newey_west_half_life: float = 252.0
    newey_west_clip: tuple[float, float] = (0.5, 2.0)
    blend_history: tuple[int, int] = (60, 180)
    structural: bool = True
    bayes_shrinkage: float = 0.1
    bayes_groups: int = 10
    regime_half_life: float = 42.0
    regime_clip: tuple[float, float] = (0.5, 2.0)
    regime_min_observations: int = 21
    horizon_days: int = 1
    expert_half_lives: tuple[float, ...] = (21.0, 42.0, 84.0, 168.0)
    expert_discount_half_life: float = 126.0
    expert_learning_rate: float = 0.5

    def __post_init__(self) -> None:
        _require(self.method in {"sample", "ewma"}, f"method must be sample or ewma, got {self.method!r}")
        _require(self.window >= 2, f"window must be at least 2 days, got {self.window}")
        _require_half_life("half_life", self.half_life)
        _require_half_life("newey_west_half_life", self.newey_west_half_life)
        _require(self.newey_west_lags >= 0, f"newey_west_lags must not be negative, got {self.newey_west_lags}")
        _require_clip("newey_west_clip", self.newey_west_clip)
        low, high = self.blend_history
        _require(0 <= low <= high, f"blend_history must be (h0, h1) with 0 <= h0 <= h1, got {self.blend_history}")
        _require(self.bayes_shrinkage >= 0.0, f"bayes_shrinkage must not be negative, got {self.bayes_shrinkage}")
        _require(self.bayes_groups >= 1, f"bayes_groups must be at least 1, got {self.bayes_groups}")
        _require(self.regime_half_life >= 0.0, f"regime_half_life must not be negative, got {self.regime_half_life}")
        _require(self.regime_min_observations >= 0, "regime_min_observations must not be negative")
        _require(
            self.method == "ewma" or self.regime_half_life == 0.0,
            "regime_half_life must be 0 with method sample: the adjustment needs exponentially weighted variances",
        )
        _require_clip("regime_clip", self.regime_clip)
        _require_experts(self.method, self.half_life, self)
