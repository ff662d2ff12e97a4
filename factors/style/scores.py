"""Style scores: descriptors standardised, combined, made orthogonal, standardised again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.errors import MissingColumnError
from factors.factor_model.settings import StyleSettings
from factors.numeric.kernels import add_part, clip_deviations, mean_of_parts, score_rows, standardize_rows
from factors.numeric.threads import spread
from factors.numeric.window import Window
from factors.panel.memberships import NO_SHARES
from factors.panel.panel import Array
from factors.returns.kernels import cholesky_inverse, normal_equations
from factors.style.custom_styles import CustomStyles
from factors.style.descriptor_kernels import month_sums
from factors.style.descriptors import DESCRIPTORS, MONTHS_OF_ROWS, SUMS, YEAR, Inputs, market_fit, momentum
from factors.style.series import Series, derived
from factors.style.table import STYLE_NAMES, STYLES

Mask = NDArray[np.bool_]


ROWS_A_THREAD = 64
FITTED = ("beta", "hsigma", "dastd")


class StyleScores:
    """Scores of consecutive dates; the rows that descriptors look back on are carried.

    Parameters
    ----------
    settings : StyleSettings
    fields : set of str
        The fields of the panel: they decide which styles there are.
    threads : int

    Attributes
    ----------
    names : tuple of str
        The styles, in the order of the factor axis.

    Raises
    ------
    MissingColumnError
        A style is asked for by name whose data the panel lacks.
    """

    def __init__(
        self, settings: StyleSettings, fields: set[str], *, groups: set[str] | None = None, threads: int = 1
    ) -> None:
        self.settings = settings
        self.threads = threads
        self._series: dict[str, Series] = derived(settings)
        usable = {name for name, series in self._series.items() if series.available(fields)}
        self._parts = {name: self._usable_parts(name, usable) for name in STYLE_NAMES}
        names = []
        for name in settings.names or (*STYLE_NAMES, *settings.custom):
            if name in settings.custom:
                names.append(name)
                continue
            possible = self._possible(name, usable)
            if settings.enabled(name) is True and not possible:
                raise MissingColumnError(f"the panel lacks the fields of the style {name!r}", field=name)
            if possible and settings.enabled(name) is not False:
                names.append(name)
        self.names = tuple(names)
        formulas = {name: formula for name, formula in settings.custom.items() if name in names}
        self.custom = CustomStyles(formulas, fields, groups or set()) if formulas else None
        self._order = tuple(name for name in STYLE_NAMES if name in self._with_bases())
        self._windows = {name: Window(rows) for name, rows in self._lookback().items()}
        # As long as the returns' own window, so that the two run over the same rows.
        self._market = Window(self._windows["returns"].rows if "returns" in self._windows else 1)
        self._days = Window(self.lookback)
        self._months = Window(MONTHS_OF_ROWS)
        wanted = self._descriptors()
        self._sums = {name: make() for name, (make, readers) in SUMS.items() if readers & wanted}

    @property
    def lookback(self) -> int:
        """Rows, the new one included, that the scores of a date depend on."""
        return max([1, *(window.rows for window in self._windows.values())])

    def compute(
        self,
        fields: Mapping[str, Array],
        market: Array,
        caps: Array,
        mask: Mask,
        dates: NDArray[np.datetime64],
        groups: Mapping[str, NDArray[np.int16]],
        *,
        keep: bool = True,
    ) -> Array:
        """Give the scores of the next dates.

        Parameters
        ----------
        fields : mapping to float64 [n_new, n_assets]
        market : float64 [n_new]
            Return of the cap-weighted estimation universe.
        caps : float64 [n_new, n_assets]
        mask : bool [n_new, n_assets]
            The estimation universe.
        dates : datetime64[D] [n_new]
        groups : mapping to int16 [n_new, n_assets]
            Category codes, which custom formulas may read.
        keep : bool
            Whether the dates are taken: else the next call goes on from where this one did. One date, where not.

        Returns
        -------
        float64 [n_new, n_styles, n_assets]
            NaN without data, or outside the coverage universe (no positive cap).
        """
        n_new, n_assets = caps.shape
        inputs = self._push(fields, market, dates, keep=keep)
        found: dict[str, Array] = {}
        fitted = market_fit(inputs) if "fit" in self._sums else {}
        for name in self._order:
            found[name] = self._score(name, inputs, fitted, found, caps, mask)
        if self.custom is not None:
            for name, raw in self.custom.compute(fields, groups, dates, keep=keep).items():
                raw[~np.isfinite(raw)] = np.nan
                self._finish(name, raw, caps, mask, True, True)
                found[name] = raw
        scores = np.empty((n_new, len(self.names), n_assets))
        for column, name in enumerate(self.names):
            scores[:, column] = found[name]
        return scores

    def replay(self, fields: Mapping[str, Array], market: Array, dates: NDArray[np.datetime64]) -> None:
        """Take up earlier rows without scoring them; the last `lookback` rows suffice."""
        self._push(fields, market, dates)
        for sums in self._sums.values():
            sums.reset()

    def _push(
        self, fields: Mapping[str, Array], market: Array, dates: NDArray[np.datetime64], *, keep: bool = True
    ) -> Inputs:
        """Take up the next rows, if they are kept, and give them with those before that descriptors look back on."""
        n_new = len(dates)

        def push(window: Window, block: NDArray[Any], fill: float = np.nan) -> NDArray[Any]:
            return window.push(block, fill) if keep else window.peek(block, fill)

        rows = {name: push(window, self._made(name, fields, n_new)) for name, window in self._windows.items()}
        if "cmra" in self._descriptors():
            logs = rows["log_return"]
            months = np.empty((n_new, 2, logs.shape[1]))
            spread(lambda a, b: month_sums(logs, len(logs) - n_new, a, b, months), logs.shape[1], self.threads, 512)
            rows["month_of_log_returns"] = push(self._months, months, 0.0)
        market_rows = push(self._market, np.ascontiguousarray(market[:, None]))[:, 0]
        days = push(self._days, dates.astype("datetime64[D]").astype(np.int64)[:, None], 0)[:, 0]
        return Inputs(
            rows, np.ascontiguousarray(market_rows), n_new, self.settings, self.threads, np.ascontiguousarray(days),
            self._sums, keep,
        )  # fmt: skip

    def _made(self, name: str, fields: Mapping[str, Array], n_new: int) -> Array:
        """Make a series of the next dates; each row comes from the same row, so that threads may share them."""
        make = self._series[name].make
        if n_new < 2 * ROWS_A_THREAD:
            return make(fields)
        parts = spread(
            lambda a, b: make({field: values[a:b] for field, values in fields.items()}),
            n_new,
            self.threads,
            ROWS_A_THREAD,
        )
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _usable_parts(self, name: str, usable: set[str]) -> tuple[tuple[str, float], ...]:
        return tuple(part for part in STYLES[name].parts if self._usable(part[0], usable))

    @staticmethod
    def _usable(descriptor: str, usable: set[str]) -> bool:
        if descriptor in FITTED:
            return "returns" in usable
        if descriptor == "momentum":
            return "log_return" in usable
        return set(DESCRIPTORS[descriptor].series) <= usable

    def _possible(self, name: str, usable: set[str]) -> bool:
        return any(self._usable(descriptor, usable) for descriptor in STYLES[name].least)

    def _with_bases(self) -> set[str]:
        """The styles of the model and those that they are made orthogonal to."""
        wanted = set(self.names)
        if "nonlinear_size" in wanted:
            wanted.add("size")
        return wanted

    def _descriptors(self) -> set[str]:
        return {descriptor for name in self._order for descriptor, _ in self._parts[name]}

    def _fitted_series(self) -> set[str]:
        return {"returns"} if self._descriptors() & SUMS["fit"][1] else set()

    def _lookback(self) -> dict[str, int]:
        rows = dict.fromkeys(self._fitted_series(), YEAR)
        for descriptor in sorted(self._descriptors() - set(FITTED)):
            if descriptor == "momentum":
                mom = self.settings.mom
                series: tuple[str, ...] = ("log_return" if mom.formula == "log_sum" else "returns",)
                needed = mom.trailing_days + mom.lag
            else:
                series, needed = DESCRIPTORS[descriptor].series, DESCRIPTORS[descriptor].rows
            for name in series:
                rows[name] = max(rows.get(name, 1), needed)
        return rows

    def _score(
        self,
        name: str,
        inputs: Inputs,
        fitted: Mapping[str, Array],
        found: Mapping[str, Array],
        caps: Array,
        mask: Mask,
    ) -> Array:
        parts = self._parts[name]
        if name == "nonlinear_size":
            raw = found["size"] ** 3
        elif len(parts) == 1:
            raw = self._raw(parts[0][0], inputs, fitted)
            self._finish(parts[0][0], raw, caps, mask, *self._flags(name))
        else:
            raw = self._combined(parts, inputs, fitted, caps, mask)
        bases = [found[base] for base in STYLES[name].orthogonal_to if base in found]
        if bases:
            self._each_date(lambda a, b: orthogonalize(raw[a:b], [x[a:b] for x in bases], caps[a:b], mask[a:b]), raw)
            self._each_date(lambda a, b: clip_deviations(raw[a:b], mask[a:b], self.settings.winsor_deviations), raw)
        if len(parts) != 1 or bases:
            self._standardize(raw, caps, mask, *self._flags(name))
        self._cut_deciles(name, raw, mask)
        return raw

    def _combined(
        self, parts: tuple[tuple[str, float], ...], inputs: Inputs, fitted: Mapping[str, Array], caps: Array, mask: Mask
    ) -> Array:
        total = np.zeros(caps.shape)
        weight = np.zeros(caps.shape)
        for descriptor, share in parts:
            raw = self._raw(descriptor, inputs, fitted)
            self._finish(descriptor, raw, caps, mask, True, True)
            self._each_date(lambda a, b: add_part(raw[a:b], share, total[a:b], weight[a:b]), raw)  # noqa: B023
        self._each_date(lambda a, b: mean_of_parts(total[a:b], weight[a:b]), total)
        return total

    def _raw(self, descriptor: str, inputs: Inputs, fitted: Mapping[str, Array]) -> Array:
        if descriptor in FITTED:
            return fitted[descriptor]
        return momentum(inputs) if descriptor == "momentum" else DESCRIPTORS[descriptor].compute(inputs)

    def _finish(self, descriptor: str, raw: Array, caps: Array, mask: Mask, center: bool, scale: bool) -> None:
        """Blank, clip and standardise a descriptor."""
        fraction = self.settings.mom.winsor_factor if descriptor == "momentum" else None
        if descriptor in ("book_price", "sales_price", "cf_price"):
            fraction = self.settings.val.winsor_factor
        clipped = -1.0 if fraction is None else fraction
        limit, by_cap = self.settings.winsor_deviations, self.settings.standardization == "cap_weighted"
        self._each_date(
            lambda a, b: score_rows(raw[a:b], caps[a:b], mask[a:b], clipped, limit, center, scale, by_cap), raw
        )

    def _flags(self, name: str) -> tuple[bool, bool]:
        s = self.settings
        flags = {
            "momentum": (s.mom.center, s.mom.standardize),
            "size": (s.sze.center, s.sze.standardize),
            "value": (s.val.center, s.val.standardize),
        }
        return flags.get(name, (True, True))

    def _standardize(self, raw: Array, caps: Array, mask: Mask, center: bool, scale: bool) -> None:
        by_cap = self.settings.standardization == "cap_weighted"
        self._each_date(lambda a, b: standardize_rows(raw[a:b], caps[a:b], mask[a:b], center, scale, by_cap), raw)

    def _cut_deciles(self, name: str, raw: Array, mask: Mask) -> None:
        """Set size scores strictly between the deciles to 0, as toraniko's factor_sze does."""
        sze = self.settings.sze
        if name != "size" or sze.lower_decile is None or sze.upper_decile is None:
            return
        cut_between(raw, sze.lower_decile, sze.upper_decile, mask)

    def _each_date(self, work: Callable[[int, int], None], raw: Array) -> None:
        spread(work, len(raw), self.threads, 32)


def orthogonalize(raw: Array, bases: list[Array], caps: Array, mask: Mask) -> None:
    """Replace raw [n_dates, n_assets] by the residual of its sqrt-cap-weighted regression on the bases and a constant.

    The regression is over the mask; assets outside it get their residual too. A missing base counts as 0.
    """
    _orthogonalize(raw, np.stack([np.nan_to_num(base) for base in bases]), caps, mask)


@njit(cache=True, nogil=True)
def _orthogonalize(raw: Array, bases: Array, caps: Array, mask: Mask) -> None:
    n_bases, n_dates, n_assets = bases.shape
    K = 1 + n_bases
    A = np.empty((K, K))
    b = np.empty(K)
    inverse = np.empty((K, K))
    f = np.empty(K)
    for t in range(n_dates):
        n = 0
        y = np.empty(n_assets)
        w = np.empty(n_assets)
        x = np.empty((n_bases, n_assets))
        for j in range(n_assets):
            if mask[t, j] and raw[t, j] == raw[t, j]:
                y[n] = raw[t, j]
                w[n] = np.sqrt(caps[t, j])
                for k in range(n_bases):
                    x[k, n] = bases[k, t, j]
                n += 1
        if n == 0:
            continue
        normal_equations(y[:n], w[:n], np.full(n, -1, dtype=np.int16), x[:, :n].copy(), 0, NO_SHARES, A, b)
        if not cholesky_inverse(A, inverse):
            continue
        for k in range(K):
            f[k] = 0.0
            for m in range(K):
                f[k] += inverse[k, m] * b[m]
        for j in range(n_assets):
            total = f[0]
            for k in range(n_bases):
                total += f[1 + k] * bases[k, t, j]
            raw[t, j] -= total


def cut_between(scores: Array, lower: float, upper: float, mask: NDArray[np.bool_] | None = None) -> None:
    """Set scores strictly between two (nearest) quantiles of their date to 0, in place, as toraniko does."""
    for t, row in enumerate(scores):
        inside = np.sort(row[~np.isnan(row) if mask is None else ~np.isnan(row) & mask[t]])
        if len(inside):
            low, high = (inside[int(np.floor(q * (len(inside) - 1) + 0.5))] for q in (lower, upper))
            row[(row > low) & (row < high)] = 0.0
