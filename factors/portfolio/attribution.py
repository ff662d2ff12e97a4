"""Realised attribution: what each factor and the specific returns contributed, by day and linked over periods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from factors.errors import FactorError, NonFiniteError
from factors.notebook.named import UNNAMED, Named, Names
from factors.portfolio.linking import carino_scale
from factors.risk.arrays import BoolArray, FloatArray, as_matrix, as_vector

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

Linking = Literal["carino", "arithmetic"]
MOST_LINES = 4
"""Factors with a line of their own in a picture."""
BLOCK_CELLS = 2**20
"""Exposures that are worked on at once: days times names times factors."""


@dataclass(frozen=True, slots=True)
class DayAttribution(Named):
    """One day's contributions of `P` portfolios: `factor [P, K]`, `specific [P]` and `total [P]`, their sum."""

    exposures: FloatArray
    factor: FloatArray
    specific: FloatArray
    total: FloatArray
    names: Names = UNNAMED

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each portfolio and part: the factors, and `specific`."""
        import polars as pl

        made = self.frame({"contribution": self.factor}, "portfolios", "factors").rename({"factor": "part"})
        books = self.names.of("portfolios", self.total.size)
        rest = pl.DataFrame({"portfolio": books, "part": "specific", "contribution": self.specific}, nan_to_null=True)
        return pl.concat([made, rest])

    def _axes(self) -> Mapping[str, int]:
        return {"portfolios": self.factor.shape[0], "factors": self.factor.shape[1]}

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        name = self.names.of("portfolios", self.total.size)[0]
        parts = [*self.names.of("factors", self.factor.shape[1]), "specific"]
        values = [*self.factor[0], self.specific[0]]
        bars(axes, parts, values, title=f"What made the return of {name}", form=".3%")


@dataclass(frozen=True, slots=True)
class PeriodAttribution(Named):
    """Contributions to the return of one period; they sum to `active_return`.

    Attributes
    ----------
    label
        The period's label.
    n_days
        Days in it.
    portfolio_return, benchmark_return, active_return
        Compounded (`carino`) or summed (`arithmetic`); the benchmark's is 0 without one.
    factor
        `[K]` contributions of factors.
    specific
        Contribution of specific returns.
    unexplained
        Contribution of assets without exposures, and of costs and cash where portfolio returns were given.
    factor_errors, specific_error
        `[K]` and scalar: standard errors from the estimation of factor returns, independent across days; None where
        no errors of the factor returns were given. What a factor gains by an estimation error, specific return loses.
    factor_sampling_errors, specific_sampling_error
        `[K]` and scalar: standard deviation of daily contributions times the root of the days.
    names
        Of the factors; see `named`.
    """

    label: object
    n_days: int
    portfolio_return: float
    benchmark_return: float
    active_return: float
    factor: FloatArray
    specific: float
    unexplained: float
    factor_errors: FloatArray | None
    specific_error: float | None
    factor_sampling_errors: FloatArray
    specific_sampling_error: float
    names: Names = UNNAMED

    FORMS: ClassVar[Mapping[str, str]] = {"contribution": ".3%", "sampling_error": ".3%", "estimation_error": ".3%"}

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each factor, for what is specific, and what is unexplained; they sum to `active_return`."""
        import polars as pl

        nan = float("nan")
        errors = np.full(self.factor.size, nan) if self.factor_errors is None else self.factor_errors
        specific_error = nan if self.specific_error is None else self.specific_error
        return pl.DataFrame(
            {
                "part": [*self.names.of("factors", self.factor.size), "specific", "unexplained"],
                "contribution": [*self.factor.tolist(), self.specific, self.unexplained],
                "sampling_error": [*self.factor_sampling_errors.tolist(), self.specific_sampling_error, nan],
                "estimation_error": [*errors.tolist(), specific_error, nan],
            }
        ).fill_nan(None)

    def _axes(self) -> Mapping[str, int]:
        return {"factors": self.factor.size}

    def _caption(self) -> str:
        return (
            f"{self.label}, {self.n_days} days: {self.active_return:.2%} = {self.portfolio_return:.2%} "
            f"less {self.benchmark_return:.2%} of the benchmark"
        )

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        found = self.to_polars()
        errors = found["sampling_error"].to_numpy()
        bars(
            axes, found["part"].to_list(), found["contribution"].to_numpy(), form=".2%", errors=errors,
            title=f"{self.label}: what made {self.active_return:.2%}, with sampling errors",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attribution(Named):
    """Contributions by day, `T` days and `K` factors; with a benchmark they are of the active weights.

    Attributes
    ----------
    exposures, factor
        `[T, K]` exposures and contributions `exposure * factor return`.
    specific, unexplained
        `[T]`. With `factor` summed over factors they give `portfolio_returns - benchmark_returns`.
    portfolio_returns, benchmark_returns
        `[T]`; the benchmark's are 0 without one.
    missing_weight
        `[T]` sum of absolute weights of assets without a return that day, which are left out.
    factor_errors, specific_errors
        `[T, K]` and `[T]` standard errors from the estimation of factor returns, or None.
    names
        Of factors and dates; see `named`.
    """

    exposures: FloatArray
    factor: FloatArray
    specific: FloatArray
    unexplained: FloatArray
    portfolio_returns: FloatArray
    benchmark_returns: FloatArray
    missing_weight: FloatArray
    factor_errors: FloatArray | None
    specific_errors: FloatArray | None
    names: Names = UNNAMED

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each day: the contribution of each factor, specific, unexplained, and the returns."""
        import polars as pl

        factors = self.names.of("factors", self.factor.shape[1])
        return pl.DataFrame(
            [
                pl.Series("date", self._dates()),
                *(pl.Series(name, self.factor[:, k]) for k, name in enumerate(factors)),
                pl.Series("specific", self.specific),
                pl.Series("unexplained", self.unexplained),
                pl.Series("portfolio_return", self.portfolio_returns),
                pl.Series("benchmark_return", self.benchmark_returns),
            ]
        )

    def _dates(self) -> np.ndarray:
        return np.asarray(self.names.dates) if self.names.dates else np.arange(1, self.specific.size + 1)

    def _axes(self) -> Mapping[str, int]:
        return {"dates": self.specific.size, "factors": self.factor.shape[1]}

    def _caption(self) -> str:
        return self.total()._caption()  # noqa: SLF001 - the same class of things

    def _repr_html_(self) -> str:
        return self.total()._repr_html_()

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import lines

        sizes = np.abs(self.factor.sum(axis=0))
        names = self.names.of("factors", sizes.size)
        largest = np.argsort(-sizes, kind="stable")[:MOST_LINES]
        series = {names[k]: self.factor[:, k].cumsum() for k in largest}
        series["specific"] = self.specific.cumsum()
        series["in all"] = (self.portfolio_returns - self.benchmark_returns).cumsum()
        lines(
            axes, self._dates(), series, percent=True,
            title=f"Contributions added up: the {largest.size} largest factors, specific, and all",
        )  # fmt: skip

    def total(self, linking: Linking = "carino", label: object = "total") -> PeriodAttribution:
        """Return the attribution of all days; see `by_period`."""
        return self._period(np.arange(self.specific.size), linking, label)

    def by_period(self, labels: Sequence[object], linking: Linking = "carino") -> list[PeriodAttribution]:
        """Return one attribution per distinct label, in order of first appearance.

        Parameters
        ----------
        labels
            One per day, such as the month.
        linking
            `carino` scales each day's contributions so that they sum to the compounded return of the period (Carino
            1999); `arithmetic` sums them.

        Raises
        ------
        FactorError
            For a wrong number of labels.
        """
        if len(labels) != self.specific.size:
            raise FactorError(f"labels must be {self.specific.size}, got {len(labels)}", field="labels")
        days: dict[object, list[int]] = {}
        for day, label in enumerate(labels):
            days.setdefault(label, []).append(day)
        return [self._period(np.array(chosen), linking, label) for label, chosen in days.items()]

    def _period(self, days: np.ndarray, linking: Linking, label: object) -> PeriodAttribution:
        portfolio, benchmark = self.portfolio_returns[days], self.benchmark_returns[days]
        if linking == "carino":
            scale, portfolio_return, benchmark_return = carino_scale(portfolio, benchmark)
        elif linking == "arithmetic":
            scale, portfolio_return, benchmark_return = np.ones(days.size), portfolio.sum(), benchmark.sum()
        else:
            raise FactorError(f"linking must be carino or arithmetic, got {linking!r}", field="linking")
        factor = self.factor[days] * scale[:, None]
        specific = self.specific[days] * scale
        factor_errors = specific_error = None
        if self.factor_errors is not None and self.specific_errors is not None:
            factor_errors = np.sqrt(((self.factor_errors[days] * scale[:, None]) ** 2).sum(axis=0))
            specific_error = float(np.sqrt(((self.specific_errors[days] * scale) ** 2).sum()))
        root = np.sqrt(days.size)
        spread = factor.std(axis=0, ddof=1) if days.size > 1 else np.full(factor.shape[1], np.nan)
        return PeriodAttribution(
            names=Names(factors=self.names.factors),
            label=label,
            n_days=int(days.size),
            portfolio_return=float(portfolio_return),
            benchmark_return=float(benchmark_return),
            active_return=float(portfolio_return - benchmark_return),
            factor=factor.sum(axis=0),
            specific=float(specific.sum()),
            unexplained=float((self.unexplained[days] * scale).sum()),
            factor_errors=factor_errors,
            specific_error=specific_error,
            factor_sampling_errors=spread * root,
            specific_sampling_error=float(specific.std(ddof=1) * root) if days.size > 1 else float("nan"),
        )


def estimation_covariance(mimicking_weights: FloatArray, specific_variance: FloatArray) -> FloatArray:
    """Return the `[K, K]` covariance of estimated factor returns, `P diag(v) P'`.

    A factor return is the return of its factor-mimicking portfolio, `f = P r`, so its estimation error is the specific
    return of that portfolio. For a weighted least squares fit this is the sandwich covariance, constraints included.

    Parameters
    ----------
    mimicking_weights
        `[K, N]` weights of the factor-mimicking portfolios.
    specific_variance
        `[N]`; assets outside the regression have weight 0 and may be NaN.
    """
    P = as_matrix("mimicking_weights", mimicking_weights, finite=True)
    variance = as_vector("specific_variance", specific_variance, length=P.shape[1])
    weighted = P * np.where((P != 0.0).any(axis=0), variance, 0.0)
    covariance: FloatArray = weighted @ P.T
    return covariance


def attribute_day(
    weights: FloatArray, X: FloatArray, factor_returns: FloatArray, residuals: FloatArray
) -> DayAttribution:
    """Attribute one day's return of many portfolios.

    Parameters
    ----------
    weights
        `[P, N]` or `[N]`, held through the day.
    X
        `[N, K]` exposures known before the day.
    factor_returns
        `[K]`.
    residuals
        `[N]` specific returns. Assets with NaN here or in `X` are left out.
    """
    matrix = as_matrix("exposures", X)
    W = as_matrix("weights", weights, columns=matrix.shape[0], finite=True)
    f = as_vector("factor_returns", factor_returns, length=matrix.shape[1], finite=True)
    u = as_vector("residuals", residuals, length=matrix.shape[0])
    known = ~(np.isnan(matrix).any(axis=1) | np.isnan(u))
    if not known.all():
        matrix, u = np.where(known[:, None], matrix, 0.0), np.where(known, u, 0.0)
    exposures = W @ matrix
    factor = exposures * f
    specific = W @ u
    return DayAttribution(exposures, factor, specific, factor.sum(axis=1) + specific)


def attribute(
    weights: FloatArray,
    exposures: FloatArray | Sequence[FloatArray],
    factor_returns: FloatArray,
    residuals: FloatArray | None = None,
    *,
    asset_returns: FloatArray | None = None,
    portfolio_returns: FloatArray | None = None,
    benchmark: FloatArray | None = None,
    factor_return_covariance: FloatArray | None = None,
) -> Attribution:
    r"""Attribute the realised return of a portfolio to factors and specific returns, day by day.

    Row `t` of weights and exposures is what held through day `t`: set by the close of `t - 1`. Then
    :math:`R_t = \sum_k (w_t' X_t)_k f_{kt} + w_t' u_t + \eta_t`, and the parts sum to the portfolio return exactly.

    Parameters
    ----------
    weights
        `[T, N]`, or `[N]` for all days.
    exposures
        `[T, N, K]`, or one `[N, K]` per day, or `[N, K]` for all days. A row with NaN is an asset outside coverage:
        its return is unexplained.
    factor_returns
        `[T, K]`; a factor that was not estimated (NaN) contributes nothing, its effect lies in the specific returns.
    residuals
        `[T, N]` specific returns, read where no `asset_returns` are given: the return is then factor part plus
        residual.
    asset_returns
        `[T, N]`. The specific return is then the return less the factor part, so that the parts tie out even where
        the regression clipped returns or left assets out.
    portfolio_returns
        `[T]` realised, costs and cash included; what the assets do not explain is in `unexplained`.
    benchmark
        `[T, N]` or `[N]`; the attribution is then of active weights.
    factor_return_covariance
        `[T, K, K]` covariance of the estimated factor returns (see `estimation_covariance`), or `[T, K]` standard
        errors, taken as uncorrelated.

    Raises
    ------
    FactorError
        For shapes that do not match, or neither residuals nor asset returns.
    NonFiniteError
        For infinities, and NaN in weights.
    """
    f = as_matrix("factor_returns", factor_returns)
    n_days, n_factors = f.shape
    if residuals is None and asset_returns is None:
        raise FactorError("residuals or asset_returns must be given", field="residuals")
    W = _by_day("weights", weights, n_days)
    B = np.zeros_like(W) if benchmark is None else _by_day("benchmark", benchmark, n_days)
    if B.shape != W.shape:
        raise FactorError(f"benchmark must have shape {W.shape}, got {B.shape}", field="benchmark")
    returns = None if asset_returns is None else _panel("asset_returns", asset_returns, W.shape)
    u = None if residuals is None else _panel("residuals", residuals, W.shape)
    by_day = _exposures_by_day(exposures, n_days, W.shape[1], n_factors)
    known_f = np.where(np.isnan(f), 0.0, f)

    exposure = np.empty((n_days, n_factors))
    parts = np.empty((n_days, 5))  # specific, unexplained, missing weight, portfolio, benchmark
    step = max(BLOCK_CELLS // max(W.shape[1] * n_factors, 1), 1)
    for first in range(0, n_days, step):
        block = slice(first, first + step)
        exposure[block], parts[block] = _some_days(
            W[block], B[block], by_day(block), known_f[block],
            None if returns is None else returns[block], None if u is None else u[block],
        )  # fmt: skip
    specific, unexplained, missing, portfolio, benchmark_returns = parts.T
    if portfolio_returns is not None:
        realised = as_vector("portfolio_returns", portfolio_returns, length=n_days, finite=True)
        unexplained = unexplained + (realised - portfolio)
        portfolio = realised
    factor_errors, specific_errors = _errors(exposure, factor_return_covariance)
    return Attribution(
        exposures=exposure,
        factor=exposure * known_f,
        specific=specific.copy(),
        unexplained=unexplained.copy(),
        portfolio_returns=portfolio.copy(),
        benchmark_returns=benchmark_returns.copy(),
        missing_weight=missing.copy(),
        factor_errors=factor_errors,
        specific_errors=specific_errors,
    )


def _some_days(
    W: FloatArray, B: FloatArray, X: FloatArray, f: FloatArray, returns: FloatArray | None, u: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Return exposures `[T, K]` and `[T, 5]`: specific, unexplained, missing weight, portfolio, benchmark return."""
    covered: BoolArray = np.asarray(~np.isnan(X).any(axis=2))
    if not covered.all():
        X = np.where(covered[..., None], X, 0.0)
    factor_part = (X @ f[..., None])[..., 0]
    if returns is None:
        assert u is not None
        returns = np.where(covered, factor_part + u, np.nan)
    present = ~np.isnan(returns)
    returns = np.where(present, returns, 0.0)
    active = np.where(present, W - B, 0.0)
    explained = active * covered
    exposure = (explained[:, None, :] @ X)[:, 0]
    sums = (
        explained * (returns - factor_part), (active - explained) * returns, np.abs(W - B) * ~present,
        W * returns, B * returns,
    )  # fmt: skip
    return exposure, np.stack([each.sum(axis=1) for each in sums], axis=1)


def _by_day(name: str, values: FloatArray, n_days: int) -> FloatArray:
    matrix = as_matrix(name, values, finite=True)
    if np.ndim(values) == 1:
        return np.broadcast_to(matrix, (n_days, matrix.shape[1]))
    if matrix.shape[0] != n_days:
        raise FactorError(f"{name} must have {n_days} rows, got {matrix.shape[0]}", field=name)
    return matrix


def _panel(name: str, values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    matrix = as_matrix(name, values)
    if matrix.shape != shape:
        raise FactorError(f"{name} must have shape {shape}, got {matrix.shape}", field=name)
    return matrix


def _exposures_by_day(
    exposures: FloatArray | Sequence[FloatArray], n_days: int, n_assets: int, n_factors: int
) -> Callable[[slice], FloatArray]:
    """Check the exposures; gives how to have those of some days, `[T, N, K]`."""
    if isinstance(exposures, np.ndarray) and exposures.ndim == 2:
        _check_exposures(exposures, (n_assets, n_factors))
        whole = np.broadcast_to(exposures, (n_days, n_assets, n_factors))
        return lambda days: whole[days]
    if len(exposures) != n_days:
        raise FactorError(f"exposures must be of {n_days} days, got {len(exposures)}", field="exposures")
    if isinstance(exposures, np.ndarray):
        _check_exposures(exposures, (n_days, n_assets, n_factors))
        given = exposures
        return lambda days: given[days]
    for day in exposures:
        _check_exposures(np.asarray(day), (n_assets, n_factors))
    return lambda days: np.stack(exposures[days]) if exposures[days] else np.empty((0, n_assets, n_factors))


def _check_exposures(given: FloatArray, shape: tuple[int, ...]) -> None:
    if given.shape[-2:] != shape[-2:] or given.ndim != len(shape):
        raise FactorError(f"exposures must be {list(shape[-2:])} each day, got {given.shape[-2:]}", field="exposures")
    if np.isinf(given).any():
        raise NonFiniteError("exposures must not be infinite", field="exposures")


def _errors(
    exposure: FloatArray, factor_return_covariance: FloatArray | None
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return the standard errors of contributions `[T, K]` and of the factor (so of the specific) total `[T]`."""
    if factor_return_covariance is None:
        return None, None
    n_days, n_factors = exposure.shape
    given = np.asarray(factor_return_covariance, dtype=np.float64)
    if given.shape == (n_days, n_factors):
        errors = np.abs(exposure) * np.where(np.isnan(given), 0.0, given)
        return errors, np.sqrt((errors * errors).sum(axis=1))
    if given.shape == (n_days, n_factors, n_factors):
        known = np.where(np.isnan(given), 0.0, given)
        variances = np.einsum("tkk->tk", known)
        total = np.einsum("tk,tkj,tj->t", exposure, known, exposure)
        return np.abs(exposure) * np.sqrt(variances), np.sqrt(np.maximum(total, 0.0))
    raise FactorError(
        f"factor_return_covariance must be {(n_days, n_factors, n_factors)} or {(n_days, n_factors)}, "
        f"got {given.shape}",
        field="factor_return_covariance",
    )
