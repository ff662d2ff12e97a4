"""Predicted risk of books: decomposition, margin, stress, what a trade list does, hedges."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from actors.portfolio.infeasible import field_of, infeasible
from actors.portfolio.reader import BookReader, Held
from actors.reading.books import Book
from actors.reading.slices import by_name, factor_returns_of, rows_between
from actors.reading.unknown import no_factor
from actors.runtime.base import batched
from actors.runtime.device_user import DeviceUser
from actors.runtime.queue import Outcome
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import DateOutsideModel, EngineError, InvalidInput
from contracts.operations import OPERATIONS
from contracts.work import Device
from factors.errors import FactorError
from factors.panel.frequency import rows_of_days
from factors.portfolio.hedge import hedge
from factors.portfolio.hedge_limits import HedgeLimits
from factors.portfolio.limits import InfeasibleError
from factors.portfolio.margin import MarginSettings, margin_of, mixture_tail, simulated_factor_returns
from factors.portfolio.risk import PortfolioRisk, portfolio_exposures, portfolio_risk
from factors.portfolio.scenarios import factor_shock, historical_shock, issuer_shock

TOLERANCE = OPERATIONS["stress"].tolerance
RISK_TOLERANCE = OPERATIONS["portfolio_risk"].tolerance
DRAWN_TOLERANCE = OPERATIONS["margin"].tolerance
UNITS = "daily volatility, as a fraction of portfolio value"


class BookRisk(DeviceUser):
    """The methods of an actor that has a `BookReader` as `books`, and lets `devices` compute."""

    books: BookReader

    @batched
    def portfolio_risk(self, batch: Sequence[rq.PortfolioRisk]) -> list[Outcome]:
        """Predicted total, factor and specific risk of books, contributions, value at risk."""
        answers: dict[int, Outcome] = {}
        groups: dict[tuple[int, int], list[tuple[int, Held]]] = {}
        for i, request in enumerate(batch):
            try:
                held = self.books.held(request)
            except EngineError as error:
                answers[i] = error
                continue
            # What stands in for a name that is not covered is each book's own.
            groups.setdefault((id(held.found), i if held.covered.uncovered else -1), []).append((i, held))
        for members in groups.values():
            risks, device = self._risks([held for _, held in members])
            for (i, held), risk in zip(members, risks, strict=True):
                try:
                    answers[i] = replace(self._told(batch[i], held, risk), device=device)
                except EngineError as error:
                    answers[i] = error
        return [answers[i] for i in range(len(batch))]

    def _risks(self, books: list[Held]) -> tuple[list[PortfolioRisk], Device]:
        """Give the risk of books of one slice: of each on its names on the CPU, as one product on another device."""
        columns = [held.covered.columns for held in books]
        covariance = books[0].estimates.covariance
        every: list[np.ndarray] = []

        def one_by_one() -> tuple[np.ndarray, ...]:
            return tuple(itertools.chain.from_iterable(_products(held) for held in books))

        def as_matrices() -> tuple[np.ndarray, ...]:
            every[:] = [np.unique(np.concatenate(columns))]
            weights = np.zeros((len(books), len(every[0])))
            exposures = np.empty((len(every[0]), len(covariance)))
            for row, held, own in zip(weights, books, columns, strict=True):
                at = np.searchsorted(every[0], own)
                row[at], exposures[at] = held.weights, np.nan_to_num(held.covered.exposures)
            return weights, exposures, covariance

        def of_each(made: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
            exposed, gradients = made
            each = (
                (exposed[i : i + 1], gradients[i : i + 1, np.searchsorted(every[0], own)])
                for i, own in enumerate(columns)
            )
            return tuple(itertools.chain.from_iterable(each))

        sizes = (len(books), max(sum(map(len, columns)) // len(books), 1), len(covariance))
        made, device = self.devices.run("book_risk", sizes, RISK_TOLERANCE, as_matrices, one_by_one, taken=of_each)
        pairs = zip(made[::2], made[1::2], strict=True)
        return [_risk(held, pair) for held, pair in zip(books, pairs, strict=True)], device

    def _told(self, request: rq.PortfolioRisk, held: Held, risk: PortfolioRisk) -> Calculation:
        chosen = MarginSettings(confidence=request.confidence, horizon_days=request.horizon_days)
        tail = self._margin(held, risk, chosen)
        names = held.found.factor_names
        assert risk.percent is not None
        values: dict[str, Any] = {
            **_volatilities(risk, held.root),
            "exposures": by_name(names, risk.exposures[0]),
            "percent_factor": by_name(names, risk.percent_factor[0]),
            "percent_specific": float(risk.percent_specific[0]),
            "percent_by_symbol": _by_symbol(held, risk.percent[0], held.weights),
            "value_at_risk": tail[0],
            "expected_shortfall": tail[1],
        }
        if risk.active is not None:
            active = risk.active.risk
            assert active.percent is not None
            active_tail = self._margin(held, active, chosen)
            values["active"] = {
                "active_risk": float(active.total[0]),
                "active_risk_annual": float(active.total[0] * held.root),
                "factor_risk": float(active.factor[0]),
                "specific_risk": float(active.specific[0]),
                "beta": float(risk.active.beta[0]),
                "benchmark_risk": float(risk.active.benchmark_risk),
                "exposures": by_name(names, active.exposures[0]),
                "percent_factor": by_name(names, active.percent_factor[0]),
                "percent_specific": float(active.percent_specific[0]),
                "value_at_risk": active_tail[0],
                "expected_shortfall": active_tail[1],
            }
        details = {"units": UNITS, "margin_method": MarginSettings().method}
        return _answer(held, values, f"predicted risk of {_count(held)} names on {held.found.date_text}", details)

    def margin(self, request: pq.Margin) -> Calculation:
        """Value at risk and expected shortfall by method and horizon, with the factors' contributions."""
        held = self.books.held(request)
        risk = _risk(held)
        of = risk.active.risk if risk.active is not None else risk
        tails: dict[str, Any] = {}
        device = Device.CPU
        for method in request.methods:
            tails[method] = {}
            # One day's, which each horizon scales by the root of its days.
            if method == "monte_carlo":
                (daily,), device = self._simulated(held, [of], request.n_scenarios, request.confidence)
            else:
                daily = self._margin(held, of, _margin_settings(method, request.confidence, 1), scaled=False)
            for days in request.horizons:
                root = self._root(held, days)
                value, shortfall = daily[0] * root + 0.0, daily[1] * root + 0.0  # not -0
                row = {"value_at_risk": value, "expected_shortfall": shortfall}
                if request.book_value is not None:
                    row |= {f"{name}_money": x * request.book_value for name, x in list(row.items())}
                tails[method][str(days)] = row
        values = {
            "margin": tails,
            "volatility": float(of.total[0]),
            "volatility_annual": float(of.total[0] * held.root),
            # Of the normal quantile, which is a multiple of volatility: Euler's shares are those of risk.
            "percent_factor": by_name(held.found.factor_names, of.percent_factor[0]),
            "percent_specific": float(of.percent_specific[0]),
        }
        details = {
            "units": "loss as a fraction of portfolio value; horizons in days",
            "confidence": request.confidence,
            **_warned(held, _thin(held, request)),
        }
        made = _answer(held, values, f"margin of {_count(held)} names on {held.found.date_text}", details)
        made.device = device
        return made

    def _simulated(
        self, held: Held, risks: Sequence[PortfolioRisk], n_scenarios: int, confidence: float
    ) -> tuple[list[tuple[float, float]], Device]:
        """Give one day's value at risk and shortfall of books over the same draws, and what revalued the books.

        Each scenario is smeared by the normal specific return of the holdings, as a past day is; none is drawn.
        """
        shocks = simulated_factor_returns(held.estimates.covariance, n_scenarios)
        exposed = np.concatenate([risk.exposures for risk in risks])
        sizes = (len(risks), *shocks.shape)
        returns, device = self.devices.run("revalue", sizes, DRAWN_TOLERANCE, lambda: (exposed, shocks))
        specific = np.concatenate([risk.specific for risk in risks])
        return list(zip(*(x.tolist() for x in mixture_tail(-returns, specific, confidence)), strict=True)), device

    def stress(self, request: pq.Stress) -> Calculation:
        """Profit and loss by scenario, with what each factor and each shocked name contributes."""
        held = self.books.held(request)
        names = held.found.factor_names
        weights = held.weights if held.against is None else held.weights - held.against
        scenarios, periods = self._scenarios(held, request)
        at = {int(i): j for j, i in enumerate(held.covered.columns)}
        exposed, given = portfolio_exposures(weights, np.nan_to_num(held.covered.exposures)), held.given
        shocks = np.array(list(scenarios.values()))
        # All scenarios are one product: on a device, where there are thousands of them and one is faster.
        sizes = (1, *shocks.shape)
        returns, device = self.devices.run("revalue", sizes, TOLERANCE, lambda: (exposed, shocks))
        out: dict[str, Any] = {}
        for label, shock, by_factors in zip(scenarios, shocks, returns[0].tolist(), strict=True):
            singles = self._singles(held, request, label)
            # A name's own shock needs no model of it: the book counts as it was given.
            by_names = float(sum(given[at[column]] * size for column, size in singles.items() if column in at))
            out[label] = {
                "return": by_factors + by_names,
                "by_factor": by_name(names, exposed[0] * shock),
                "by_name": by_names,
                "factor_returns": by_name(names, shock)
                | dict.fromkeys(periods.get(label, {}).get("not_estimated", ())),
            }
        details: dict[str, Any] = {"units": "return as a fraction of portfolio value", "propagate": request.propagate}
        if periods:
            details["episodes"] = periods
            details |= _warned(held, [*_cut(held, request, periods), *_silent(held, periods, exposed[0])])
        made = _answer(held, out, f"{len(out)} scenarios of {_count(held)} names on {held.found.date_text}", details)
        made.device = device
        return made

    def what_if(self, request: pq.WhatIf) -> Calculation:
        """Risk before and after a list of trades, and the marginal risk of each name that is traded."""
        before = self.books.held(request)
        position = {
            before.found.symbols[i]: float(w) for i, w in zip(before.book.columns, before.book.weights, strict=True)
        }
        position |= before.book.cash
        others = [symbol for symbol in request.trades if symbol not in before.found.column]
        if others:  # money and books inside; of what is neither the names are told
            self.books.books.of(before.found, dict.fromkeys(others, 1.0), None, "trades")
        for symbol, change in request.trades.items():
            position[symbol] = position.get(symbol, 0.0) + change
        after = self.books.held(request.model_copy(update={"portfolio_weights": position}))
        first, second = _risk(before), _risk(after)
        one, two = (r.active.risk if r.active is not None else r for r in (first, second))
        at = {after.found.symbols[i]: j for j, i in enumerate(after.covered.columns)}

        left_out = set(after.covered.uncovered) if request.uncovered == "warn" else set()

        def marginal(symbol: str) -> float | None:
            assert two.marginal is not None
            inside = {symbol: 1.0}
            if symbol not in at:
                book = self.books.books.of(after.found, inside, None, "trades")
                inside = {after.found.symbols[i]: w for i, w in zip(book.columns, book.weights, strict=True)}
            if left_out & inside.keys():
                return None
            return float(sum(weight * two.marginal[0, at[name]] for name, weight in inside.items()))

        values: dict[str, Any] = {
            "before": _volatilities(one, before.root),
            "after": _volatilities(two, after.root),
            "change": float(two.total[0] - one.total[0]),
            "exposures_before": by_name(after.found.factor_names, one.exposures[0]),
            "exposures_after": by_name(after.found.factor_names, two.exposures[0]),
            "marginal": {symbol: marginal(symbol) for symbol in request.trades},
            "turnover": float(sum(abs(x) for x in request.trades.values())),
        }
        device = Device.CPU
        if request.n_scenarios is not None:
            tails, device = self._simulated(after, (one, two), request.n_scenarios, request.confidence)
            for name, (value, shortfall) in zip(("before", "after"), tails, strict=True):
                values[name] |= {"value_at_risk": value, "expected_shortfall": shortfall}
        details = {"units": UNITS, "active": after.benchmark is not None, **_named(before.book)}
        made = _answer(after, values, f"risk before and after {len(request.trades)} trades", details)
        made.device = device
        return made

    def hedge(self, request: pq.HedgeBook) -> Calculation:
        """The weights of instruments that minimise (active) risk, with chosen exposures at zero."""
        twice = [symbol for symbol, n in Counter(request.instruments).items() if n > 1]
        if twice:
            raise InvalidInput(f"instruments has {twice[0]!r} more than once", field="instruments", rows=twice)
        held = self.books.held(request)
        found = held.found
        instruments = [self.books.books.of(found, {symbol: 1.0}, None, "instruments") for symbol in request.instruments]
        wrong = [name for name in request.neutral_factors if name not in found.factor_names]
        if wrong:
            raise no_factor(wrong, found.factor_names, "neutral_factors")
        fields = [("instruments", book) for book in instruments]
        own = ("portfolio_weights", held.book)
        against = [("benchmark", held.benchmark)] if held.benchmark is not None else []
        everything = self.books.risk.cover(found, [own, *against, *fields], request.uncovered)
        first = 1 + len(against)
        try:
            made = hedge(
                everything.weights[0],
                everything.weights[first:],
                np.nan_to_num(everything.exposures),
                held.estimates.covariance,
                np.nan_to_num(everything.specific),
                neutral=[found.factor_names.index(name) for name in request.neutral_factors],
                benchmark=everything.weights[1] if against else None,
                linked=everything.linked,
                limits=_limits_of(request, found.factor_names),
            )
        except InfeasibleError as error:
            raise infeasible(error) from None
        except FactorError as error:
            raise InvalidInput(str(error), field=field_of(error) or "instruments") from None
        values = {
            "weights": dict(zip(request.instruments, made.weights.tolist(), strict=True)),
            "risk_before": made.before,
            "risk_after": made.after,
            "exposures": by_name(found.factor_names, made.exposures),
            "binding": dict(made.binding),
        }
        details: dict[str, Any] = {"units": UNITS, "active": held.benchmark is not None}
        if everything.uncovered:  # of the instruments too
            details["uncovered_symbols"] = everything.uncovered
        return _answer(held, values, f"hedge with {len(request.instruments)} instruments", details)

    @staticmethod
    def _root(held: Held, days: float) -> float:
        """Scale of a horizon; it is in trading days, the estimates are of the model's rows."""
        return float(np.sqrt(rows_of_days(days, held.found.periods_per_year)))

    def _margin(
        self, held: Held, risk: PortfolioRisk, chosen: MarginSettings, *, scaled: bool = True
    ) -> tuple[float, float]:
        root = self._root(held, chosen.horizon_days) if scaled else 1.0
        history = None
        if chosen.method != "normal":
            history = np.asarray(held.found.version.day("factor_returns", slice(0, held.found.row + 1)))
        try:
            tail = margin_of(risk, held.estimates.covariance, history, replace(chosen, horizon_days=1))
        except FactorError as error:  # of the days up to the date
            raise InvalidInput(f"{held.found.date_text}: {error}", field="date_requested") from None
        # A book without risk loses 0, not -0.
        return float(tail.value_at_risk[0] * root) + 0.0, float(tail.expected_shortfall[0] * root) + 0.0

    @staticmethod
    def _scenarios(held: Held, request: pq.Stress) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Give each scenario's factor returns [K], of a name shock alone none; and what each episode was made of."""
        names = held.found.factor_names
        covariance = held.estimates.covariance if request.propagate else None
        out: dict[str, np.ndarray] = {}
        periods: dict[str, dict[str, Any]] = {}
        for label, shocks in request.shocks.items():
            wrong = [name for name in shocks if name not in names]
            if wrong:
                raise no_factor(wrong, names, f"shocks.{label}")
            if not shocks:
                raise InvalidInput(f"scenario {label!r} has no shock", field=f"shocks.{label}")
            out[label] = factor_shock(
                {names.index(name): size for name, size in shocks.items()}, len(names), covariance
            )
        for label, (start, end) in request.episodes.items():
            if label in out:
                raise InvalidInput(f"two scenarios are called {label!r}", field=f"episodes.{label}")
            days = rows_between(held.found.version, start, end, held.found.model_id)
            returns = factor_returns_of(held.found.version, days)
            first, last = (str(held.found.version.date(row)) for row in (days.start, days.stop - 1))
            n_days = int(np.isfinite(returns).any(axis=1).sum())
            if n_days == 0:
                raise DateOutsideModel(
                    f"model {held.found.model_id!r} has no factor returns from {first} to {last}",
                    field=f"episodes.{label}",
                )
            out[label] = historical_shock(returns)
            periods[label] = {"start_date": first, "end_date": last, "n_days": n_days}
            silent = np.isnan(returns).all(axis=0)
            if silent.any():
                periods[label]["not_estimated"] = [name for name, none in zip(names, silent, strict=True) if none]
        for label, singles in request.name_shocks.items():
            if not singles:
                raise InvalidInput(f"scenario {label!r} has no shock", field=f"name_shocks.{label}")
            held.found.holdings(singles, f"name_shocks.{label}")  # raises for names that the model does not know
            out.setdefault(label, np.zeros(len(names)))
        return out, periods

    def _singles(self, held: Held, request: pq.Stress, label: str) -> dict[int, float]:
        """Give the return of each name that a scenario shocks, by its column; of its issuer's other names too."""
        found = held.found
        shocks = {found.column[symbol]: size for symbol, size in request.name_shocks.get(label, {}).items()}
        if not shocks or not request.propagate:
            return shocks
        return issuer_shock(shocks, np.nan_to_num(held.estimates.specific), self.books.risk.linked(found))


def _warned(held: Held, said: Sequence[str]) -> dict[str, Any]:
    """Give an answer's warnings beside those of its book; nothing where there is nothing to say."""
    return {"warnings": [*held.book.warnings, *said]} if said else {}


def _thin(held: Held, request: pq.Margin) -> list[str]:
    """Say where the past is so short that no day of it lies beyond the confidence."""
    n_days = held.found.row  # the first row has no returns
    methods = [name for name in request.methods if name in ("historical", "filtered_historical")]
    if not methods or n_days * (1.0 - request.confidence) >= 1.0:
        return []
    said = f"{' and '.join(methods)}: of {n_days} past days fewer than one lies beyond a confidence of"
    return [f"{said} {request.confidence:g}, so the factors' tail is hardly seen"]


def _cut(held: Held, request: pq.Stress, periods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say which episodes reach beyond the model's history: what lies outside is not in their return."""
    version = held.found.version
    first, last = version.date(0), version.date(version.manifest.n_dates - 1)
    return [
        f"episode {label!r} is asked for from {start} to {end} and the model's history is {first} to {last}: only "
        f"{periods[label]['start_date']} to {periods[label]['end_date']} is counted"
        for label, (start, end) in request.episodes.items()
        if np.datetime64(start, "D") < first or np.datetime64(end, "D") > last
    ]


def _silent(held: Held, periods: Mapping[str, Mapping[str, Any]], exposed: np.ndarray) -> list[str]:
    """Say to which factors a book is exposed of whose returns an episode knows nothing."""
    has = {name for name, exposure in zip(held.found.factor_names, exposed, strict=True) if exposure}
    touched = {label: has.intersection(of.get("not_estimated", ())) for label, of in periods.items()}
    return [
        f"episode {label!r}: without an estimate on all of its days, and so with no part in the return: "
        f"{', '.join(sorted(names))}"
        for label, names in touched.items()
        if names
    ]


def _named(book: Book) -> dict[str, Any]:
    """Give what says which stored book it was."""
    return {name: x for name, x in book.told().items() if name in ("portfolio_version", "holdings_date")}


def _limits_of(request: pq.HedgeBook, factor_names: Sequence[str]) -> HedgeLimits | None:
    """Give the limits on the instruments; None where the request has none."""
    strange = [name for name in request.positions if name not in request.instruments]
    if strange:
        raise InvalidInput(f"positions names {strange[0]!r}, which is no instrument", field="positions", rows=strange)
    pairs = [request.positions.get(name, request.position) for name in request.instruments]
    if request.gross is None and all(pair == (None, None) for pair in pairs):
        return None
    least, most = (
        np.array([open_end if pair[side] is None else pair[side] for pair in pairs], np.float64)
        for side, open_end in ((0, -np.inf), (1, np.inf))
    )
    return HedgeLimits(least, most, request.gross, request.instruments, factor_names)


def _margin_settings(method: str, confidence: float, days: int) -> MarginSettings:
    if method == "student_t_fitted":
        return MarginSettings(method="student_t", degrees_of_freedom="fitted", confidence=confidence, horizon_days=days)
    return MarginSettings(method=method, confidence=confidence, horizon_days=days)  # type: ignore[arg-type]


def _risk(held: Held, products: tuple[np.ndarray, np.ndarray] | None = None) -> PortfolioRisk:
    covered = held.covered
    return portfolio_risk(
        held.weights[None, :], covered.exposures, held.estimates.covariance, covered.specific, held.against,
        linked=covered.linked, products=products,
    )  # fmt: skip


def _products(held: Held) -> tuple[np.ndarray, np.ndarray]:
    """Give a book's exposures [1, K], and half the gradient of its factor variance on the covered names, [1, n]."""
    exposures = np.nan_to_num(held.covered.exposures)
    exposed = held.weights[None, :] @ exposures
    return exposed, (exposed @ held.estimates.covariance) @ exposures.T


def _volatilities(risk: PortfolioRisk, root: float) -> dict[str, float]:
    return {
        "total_risk": float(risk.total[0]),
        "factor_risk": float(risk.factor[0]),
        "specific_risk": float(risk.specific[0]),
        "total_risk_annual": float(risk.total[0] * root),
    }


def _by_symbol(held: Held, values: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    rows = np.flatnonzero(weights)
    return {held.found.symbols[held.covered.columns[i]]: float(values[i]) for i in rows}


def _count(held: Held) -> int:
    return int(np.count_nonzero(held.book.weights))


def _answer(held: Held, values: dict[str, Any], message: str, details: dict[str, Any]) -> Calculation:
    return Calculation(
        values=values,
        message=message,
        confidence_score=held.found.confidence(held.coverage),
        model_version=held.found.number,
        details={**held.details(), **details},
    )
