"""The running day of a factor model: what a provisional row gives, the model as at the last close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError, StageError
from factors.factor_model.latest import Latest
from factors.factor_model.model import FactorModel
from factors.factor_model.peeked import PeekedDay
from factors.notebook.named import UNNAMED, Named, Names
from factors.notebook.shown import Shown
from factors.panel.actions import ACTIONS, RAW
from factors.panel.axis import positions
from factors.panel.meaning import RELEASE
from factors.panel.panel import Array, Categories, Panel
from factors.panel.statements import items_of, twin
from factors.portfolio.risk import portfolio_risk
from factors.returns.date_tally import returns_told
from factors.risk.arrays import as_matrix

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

MARKET = frozenset(
    ("returns", "market_cap", "open", "high", "low", "close", "vwap", "volume", "amount", "rf", *ACTIONS)
)
"""Fields that a day makes itself, beside those of a benchmark; all others (fundamentals, universes) stand as they did
the day before."""


def of_the_market(name: str) -> bool:
    """Say whether a day makes the field itself: nothing of it stands from the day before."""
    return name in MARKET or name.startswith("benchmark_")


@dataclass(frozen=True)
class DayValues(Shown):
    """What the row gives as it is now; N names, K factors. Provisional: no version of a model has it.

    Attributes
    ----------
    date : datetime64[D]
    symbols, factor_names, style_names : tuple of str
    seen : bool [N]
        Names that have a return today.
    awaited : bool [N]
        Names that had a cap at the last close: those from which a return is awaited.
    scores : float64 [n_styles, N]
    exposures : float64 [N, K]
        Of the row now; NaN for a name without a cap today.
    exposures_before : float64 [N, K]
        What the regression and the portfolios' returns go by: those of the last close, or, where the model's
        `exposure_lag` is 0, of the row now.
    estimation : bool [N]
        The estimation universe of the row.
    market_return : float
        Of the names that were in the estimation universe at the last close, weighted by their caps then.
    factor_returns, standard_errors : float64 [K]
        A factor that was not estimated has return 0 and a NaN error, as in `FactorModel`.
    r2 : float
    n_obs, status : int
        Names in the regression; 0 no names, 1 solved, 2 rank deficient.
    specific_returns : float64 [N]
        NaN for names that were not seen, or that the model did not cover at the last close.
    """

    date: np.datetime64
    symbols: tuple[str, ...]
    factor_names: tuple[str, ...]
    style_names: tuple[str, ...]
    seen: NDArray[np.bool_]
    awaited: NDArray[np.bool_]
    scores: Array
    exposures: Array
    exposures_before: Array
    estimation: NDArray[np.bool_]
    market_return: float
    factor_returns: Array
    standard_errors: Array
    r2: float
    n_obs: int
    status: int
    specific_returns: Array

    @property
    def share_seen(self) -> float:
        """Share of the awaited names that have a return; NaN where none is awaited."""
        return float(self.seen[self.awaited].mean()) if self.awaited.any() else float("nan")

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each factor: its return so far, and the standard error."""
        import polars as pl

        columns = {"factor": self.factor_names, "return": self._told(), "standard_error": self.standard_errors}
        return pl.DataFrame(columns, nan_to_null=True)

    def _caption(self) -> str:
        return f"Factor returns of {self.date} so far, {self.share_seen:.0%} of the names seen"

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        bars(axes, self.factor_names, self._told(), title=self._caption(), form=".3%")

    def _told(self) -> Array:
        return returns_told(self.factor_returns, self.standard_errors)


@dataclass(frozen=True)
class PortfolioValues(Named):
    """Portfolios on the running day; P portfolios, K factors. Weights are as at the last close.

    Attributes
    ----------
    total : float64 [P]
        Return so far: of the names seen, NaN where none was. It is `factor` summed over the factors, plus `specific`,
        plus `unexplained`.
    factor : float64 [P, K]
        Exposure as at the last close, of the names seen, times the factor's return.
    specific, unexplained : float64 [P]
        The rest of covered names; the returns of names that the model did not cover at the last close.
    unseen_weight : float64 [P]
        Sum of absolute weights of names without a return today, which are left out of all of the above.
    exposures, exposures_before : float64 [P, K]
        Of the row now, over the names that have exposures now; and as at the last close.
    unknown_weight, unknown_weight_before : float64 [P]
        Sum of absolute weights of names without exposures or specific variance, which are left out of exposures and
        risk.
    risk, risk_before : float64 [P]
        Predicted daily volatility with the exposures of the row now, and with those of the last close; NaN, as the
        exposures are, where no name has any. Covariance and
        specific variances are those of the last close in both; NaN where the model has none.
    """

    total: Array
    factor: Array
    specific: Array
    unexplained: Array
    unseen_weight: Array
    exposures: Array
    exposures_before: Array
    unknown_weight: Array
    unknown_weight_before: Array
    risk: Array
    risk_before: Array
    names: Names = UNNAMED

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each portfolio: its return so far, what made it, and its risk."""
        more = ("specific", "unexplained", "unseen_weight", "risk", "risk_before")
        made = {"return": self.total, "factors": self.factor.sum(axis=1)}
        return self.frame({**made, **{name: getattr(self, name) for name in more}}, "portfolios")

    def _axes(self) -> Mapping[str, int]:
        return {"portfolios": self.factor.shape[0], "factors": self.factor.shape[1]}

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        bars(axes, self.names.of("portfolios", self.total.size), self.total, title="Return so far", form=".3%")


class LiveDay:
    """A provisional row after a model's last date, and what it gives. The model is read, never written to.

    A name that was not seen has NaN in every field of the market: it takes no part in the regression, in means,
    deviations and ranks, and has no cap, so that the row gives it no score. Nothing of the market is carried over from
    the day before. What a day does not make (fundamentals, universes, categories; see `carried`) stands as it did.
    `close` gives the row as a panel of one day: `model.update` of it gives the values of the last `peek`, bit for bit.

    Not for several threads at once.

    Parameters
    ----------
    model : FactorModel
        With style scores and factor returns; covariance and specific risk, where it has them, give risk. Not to be
        updated while the day lives: after the close a new day is begun.
    date : datetime64[D]
        After the model's last.
    carried : sequence of str, optional
        Fields whose values of the model's last date stand until they are ticked; by default all that are not
        `of_the_market`. Categories always stand.

    Attributes
    ----------
    symbols : tuple of str
        The model's, then those that joined.
    fields : dict of str to float64 [n_assets]
        The row as it is now, as given.
    categories : dict of str to int16 [n_assets]
    carried : tuple of str

    Raises
    ------
    StageError
        The model has no scores or no factor returns.
    FactorError
        The date is not after the model's last.
    """

    def __init__(self, model: FactorModel, date: Any, carried: Sequence[str] | None = None) -> None:
        self._model = model
        model.factor_returns_  # noqa: B018  (StageError where it is missing)
        exposures = model.exposures()
        self.date = np.datetime64(date, "D")
        last = model.dates_[-1]
        if self.date <= last:
            raise FactorError(f"the day {self.date} does not come after the model's last, {last}", field="date")
        before = model.door_.unsplit(model.panel_.last(1))
        self.symbols = model.symbols_
        # What counts from its release stands by the model's door, which also knows what is released today.
        items = items_of(before)
        doors = {*RAW.values(), RELEASE, *map(twin, items)}
        own = [name for name in before.fields if name not in doors]
        # What the model's door makes of raw prices where a day does not have it, and what a split would make wrong.
        made = {name for name in ("amount", "shares") if RAW["close"] in before.fields}
        if model.settings.read_as.adjust == "from_returns":
            made.discard("shares")
        stands = [name for name in own if not of_the_market(name) and name not in items]
        self.carried = tuple(stands) if carried is None else tuple(carried)
        self.fields = {
            name: np.array(before.fields[RAW[name] if RAW.get(name) in before.fields else name][0])
            if name in self.carried
            else np.full(len(self.symbols), np.nan)
            for name in own
            if name not in made
        }
        self._taken = {*own}
        self.categories = {name: np.array(category.codes[0]) for name, category in before.categories.items()}
        self._words = {name: category.names for name, category in before.categories.items()}
        self._position = positions(self.symbols)
        self._awaited = _whole(exposures)
        self._weights = model.next_weights()
        self._exposures_before = exposures if model.settings.regression.exposure_lag else None
        self._risk_model = self._latest()
        self._as_given = model.door_.passes(before.fields)
        self._values: DayValues | None = None
        self._peeked: PeekedDay | None = None
        self._adjusted: dict[str, Array] | None = None

    @property
    def share_of_weight(self) -> float:
        """Share of the regression's weight, as at the last close, of the names that have a return; NaN without any."""
        total = self._weights.sum()
        seen = np.isfinite(self.fields["returns"][: len(self._weights)])
        return float(self._weights[seen].sum() / total) if total > 0.0 else float("nan")

    def columns(self, symbols: Sequence[str]) -> NDArray[np.intp]:
        """Give the columns of names. Raises `FactorError` naming those that the row does not have."""
        unknown = [name for name in symbols if name not in self._position]
        if unknown:
            raise FactorError(f"the row has no {', '.join(unknown[:10])}", field="symbols", n_rows=len(unknown))
        return np.array([self._position[name] for name in symbols], dtype=np.intp)

    def join(self, symbols: Sequence[str]) -> None:
        """Add names that list today at the end of the row, without values and outside every category."""
        new = [name for name in dict.fromkeys(symbols) if name not in self._position]
        for name in new:
            self._position[name] = len(self._position)
        self.symbols = (*self.symbols, *new)
        self.fields = {name: np.pad(v, (0, len(new)), constant_values=np.nan) for name, v in self.fields.items()}
        self.categories = {name: np.pad(v, (0, len(new)), constant_values=-1) for name, v in self.categories.items()}
        self._forget()

    def tick(self, columns: Any, values: Mapping[str, Any]) -> None:
        """Take new values of some names.

        Parameters
        ----------
        columns : int array [n]
        values : mapping of field to float [n], or of category to int [n]
            `returns` is the total return since the last close. NaN takes a value back. Fields that the model does not
            have are passed over.

        Raises
        ------
        FactorError
            A column that is none, a wrong length, an infinity, a return below -1 or a negative cap; nothing is taken.
        """
        at = np.asarray(columns, dtype=np.intp)
        if at.ndim != 1 or (len(at) and (at.min() < 0 or at.max() >= len(self.symbols))):
            raise FactorError(f"columns must lie in 0 to {len(self.symbols) - 1}", field="columns")
        taken = {}
        for name, given in values.items():
            if name in self._taken or name in self.categories:
                row = np.asarray(given, dtype=np.float64)
                if row.shape != at.shape:
                    raise FactorError(f"{name!r} has shape {row.shape}; expected {at.shape}", field=name)
                least = {"returns": -1.0, "market_cap": 0.0}.get(name, -np.inf)
                bad = np.isinf(row) | (row < least)
                if bad.any():
                    rows = [(self.date, self.symbols[column]) for column in at[bad][:10]]
                    raise FactorError(f"{name!r} cannot be so", field=name, rows=rows, n_rows=int(bad.sum()))
                taken[name] = row
        for name, row in taken.items():
            if name in self._taken:
                self.fields.setdefault(name, np.full(len(self.symbols), np.nan))[at] = row
            else:
                self.categories[name][at] = row.astype(np.int16)
        # A split may be told by shares alone.
        self._as_given &= "shares" not in taken
        self._forget()

    def _forget(self) -> None:
        self._values = self._peeked = self._adjusted = None

    def tick_all(self, values: Mapping[str, float]) -> None:
        """Take values that are the same for all names: a benchmark's level or return, a rate. Errors as in `tick`."""
        every = np.arange(len(self.symbols))
        self.tick(every, {name: np.full(len(every), value) for name, value in values.items()})

    def close(self) -> Panel:
        """Give the row as a panel of one day, as the model's `update` takes it."""
        return Panel(
            np.array([self.date]),
            self.symbols,
            {name: values[None, :].copy() for name, values in self.fields.items()},
            {name: Categories(codes[None, :].copy(), self._words[name]) for name, codes in self.categories.items()},
        )

    def adjusted(self) -> dict[str, Array]:
        """Give the row's fields, each [n_assets], adjusted for actions as `model.update` does: what a library reads.

        Where nothing is adjusted they are those of the row, at no cost.
        """
        if self._as_given:
            return self.fields
        if self._adjusted is None:
            panel = self._model.admitted(self.close()) if self._peeked is None else self._peeked.panel
            self._adjusted = {name: values[0] for name, values in panel.fields.items()}
        return self._adjusted

    def peek(self) -> DayValues:
        """Give what the row gives as it is now; what `model.update(self.close())` would give, to the bit.

        Raises
        ------
        QualityError
            The model's intake is strict, and the row has an error.
        """
        if self._values is None:
            self._peeked = self._model.peek(self.close())
            self._values = self._of(self._peeked)
        return self._values

    def _of(self, peeked: PeekedDay) -> DayValues:
        fits, before = peeked.fits, self._exposures_before
        if before is None:
            before = peeked.exposures
        elif len(before) < len(self.symbols):
            before = np.pad(before, ((0, len(self.symbols) - len(before)), (0, 0)), constant_values=np.nan)
        return DayValues(
            date=self.date,
            symbols=self.symbols,
            factor_names=self._model.factor_names_,
            style_names=self._model.style_names_,
            seen=np.isfinite(self.fields["returns"]),
            awaited=np.pad(self._awaited, (0, len(self.symbols) - len(self._awaited))),
            scores=peeked.scores,
            exposures=peeked.exposures,
            exposures_before=before,
            estimation=peeked.estimation,
            market_return=peeked.market_return,
            factor_returns=fits.factor_returns[0],
            standard_errors=fits.standard_errors[0],
            r2=float(fits.r2[0]),
            n_obs=int(fits.n_obs[0]),
            status=int(fits.status[0]),
            specific_returns=fits.residuals[0],
        )

    def portfolios(self, weights: Any) -> PortfolioValues:
        """Give portfolios' return so far by factor, exposures and predicted risk.

        Parameters
        ----------
        weights : float64 [P, N] or [N]
            As at the last close.

        Raises
        ------
        FactorError
            A wrong shape, or a weight that is not finite.
        """
        values = self.peek()
        every = as_matrix("weights", np.asarray(weights, dtype=np.float64), columns=len(self.symbols), finite=True)
        at = np.flatnonzero((every != 0.0).any(axis=0))
        W, X = np.ascontiguousarray(every[:, at]), values.exposures_before[at]
        returns, f = self.fields["returns"][at], values.factor_returns
        covered, present = _whole(X), values.seen[at]
        r = np.where(present, returns, 0.0)
        held = np.where(present, W, 0.0)
        explained = np.where(covered, held, 0.0)
        known = np.where(covered[:, None], X, 0.0)
        # Of a book of which no name was seen nothing is known: it did not return 0.
        unseen = _nothing_of(W, present)
        factor = np.where(unseen[:, None], np.nan, (explained @ known) * f)
        specific = np.where(unseen, np.nan, explained @ (r - known @ f))
        unexplained = np.where(unseen, np.nan, (held - explained) @ r)
        now, left, risk = self._risk(W, values.exposures[at], at)
        then, left_then, risk_then = self._risk(W, X, at)
        return PortfolioValues(
            total=np.where(unseen, np.nan, held @ r),
            factor=factor,
            specific=specific,
            unexplained=unexplained,
            unseen_weight=np.abs(W[:, ~present]).sum(axis=1),
            exposures=now,
            exposures_before=then,
            unknown_weight=left,
            unknown_weight_before=left_then,
            risk=risk,
            risk_before=risk_then,
        )

    def _risk(self, W: Array, X: Array, at: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Exposures, weight left out, and predicted volatility of weights on some columns."""
        latest, known = self._risk_model, _whole(X)
        if latest is None:
            held = np.where(known, W, 0.0)
            exposures = held @ np.where(known[:, None], X, 0.0)
            exposures[_nothing_of(W, known)] = np.nan
            return exposures, np.abs(W[:, ~known]).sum(axis=1), np.full(len(W), np.nan)
        new = len(self.symbols) - len(latest.specific_variance)
        variance = np.pad(latest.specific_variance, (0, new), constant_values=np.nan)[at]
        known &= np.isfinite(variance)
        held, linked = np.where(known, W, 0.0), latest.linked.among(at)
        found = portfolio_risk(held, X, latest.factor_covariance, variance, by_asset=False, linked=linked)
        nothing = _nothing_of(W, known)
        exposures = np.where(nothing[:, None], np.nan, found.exposures)
        return exposures, np.abs(W[:, ~known]).sum(axis=1), np.where(nothing, np.nan, found.total)

    def _latest(self) -> Latest | None:
        try:
            return self._model.latest()
        except StageError:
            return None


def _nothing_of(W: Array, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which portfolios hold names and none that is known."""
    held = W != 0.0
    return np.asarray(held.any(axis=1) & ~(held & known).any(axis=1))


def _whole(X: Array) -> NDArray[np.bool_]:
    """Names with exposures."""
    return np.asarray(np.isfinite(X).all(axis=1))
