"""A small market, the same torn, the catalogue's values on it, and a slow view of it for closed forms in plain numpy.

The whole suite loads this module, so what it needs is imported where it is used.
"""

import math
import tomllib
from importlib import resources

import numpy as np
import pytest


class Slow:
    """One name and one window at a time, and the market-wide series that characteristics are regressed on."""

    def __init__(self, panel):
        self.f = {name: np.asarray(values, dtype=float) for name, values in panel.fields.items()}
        self.groups = {name: categories.codes for name, categories in panel.categories.items()}
        self.r, self.close, self.cap = self.f["returns"], self.f["close"], self.f["market_cap"]
        self.n_dates, self.n_assets = self.shape = self.r.shape
        self.lr = np.log1p(self.r)
        self.turnover = self.f["volume"] / self.f["shares"]
        self.dollars = self.close * self.f["volume"]
        self.market = np.array([self.weighted(t, np.isfinite(self.r[t])) for t in range(self.n_dates)])
        self._sorted_series()

    def weighted(self, t, chosen):
        """Cap-weighted mean return of the chosen names with yesterday's market values."""
        if t == 0:
            return math.nan
        use = chosen & np.isfinite(self.r[t]) & np.isfinite(self.cap[t - 1])
        weight = self.cap[t - 1, use]
        return float(weight @ self.r[t, use] / weight.sum()) if use.any() else math.nan

    def _sorted_series(self):
        self.smb, self.hml, self.size, self.roe, self.inv = (np.full(self.n_dates, np.nan) for _ in range(5))
        for t in range(1, self.n_dates):
            halves = self.share(self.cap[t - 1]) <= 0.5, self.share(self.cap[t - 1]) > 0.5
            small, big = (half & self.spoken(t, 1, "book") for half in halves)
            bm = self.share(self.f["book"][t - 1] / self.cap[t - 1])
            low, middle, high = bm <= 0.3, (bm > 0.3) & (bm <= 0.7), bm > 0.7
            self.smb[t] = sum(self.weighted(t, small & b) - self.weighted(t, big & b) for b in (low, middle, high)) / 3
            self.hml[t] = self._spread(t, small, big, high, low)
            small, big = (half & self.spoken(t, 1) for half in halves)
            self.size[t] = self.weighted(t, small) - self.weighted(t, big)
            q = self.share(self.f["earnings_q"][t - 1] / self.f["book"][t - 64]) if t > 63 else np.full(len(bm), np.nan)
            small, big = (half & self.spoken(t, 64, "book", "earnings_q") for half in halves)
            self.roe[t] = self._spread(t, small, big, q > 0.7, q <= 0.3)
            assets = self.f["assets"]
            g = self.share(assets[t - 1] / assets[t - 253] - 1) if t > 252 else np.full(len(bm), np.nan)
            small, big = (half & self.spoken(t, 253, "assets") for half in halves)
            self.inv[t] = self._spread(t, small, big, g <= 0.3, g > 0.7)

    def spoken(self, t, rows, *names):
        """Names whose inputs first came so many rows before or more; a condition is silent until then."""
        present = np.all([np.isfinite(self.f[name]) for name in ("returns", "market_cap", *names)], axis=0)
        return present.any(axis=0) & (t - present.argmax(axis=0) >= rows)

    def _spread(self, t, small, big, top, bottom):
        return sum(self.weighted(t, s & top) - self.weighted(t, s & bottom) for s in (small, big)) / 2

    def here(self, t, *names):
        """Names with a row on the date: any of the fields is there."""
        return np.any([np.isfinite(self.f[name][t]) for name in names], axis=0)

    def wide(self, series):
        return np.repeat(np.asarray(series, dtype=float)[:, None], self.n_assets, axis=1)

    def nothing(self):
        return np.full(self.n_assets, np.nan)

    def at(self, x, t):
        return x[t] if t >= 0 else self.nothing()

    def ages(self, t):
        return self.wide(t - np.arange(self.n_dates))

    def each(self, t, d, least, statistic, *panels):
        """Statistic of the rows of the window in which all panels are present, NaN below the least number."""
        out = self.nothing()
        if t < 0:
            return out
        for i in range(self.n_assets):
            rows = np.array([x[max(0, t - d + 1) : t + 1, i] for x in panels])
            rows = rows[:, np.isfinite(rows).all(axis=0)]
            if rows.shape[1] >= least:
                out[i] = statistic(*rows)
        return out

    def month(self, t):
        """Log return of the month that ends on t."""
        return self.each(t, 21, 15, np.sum, self.lr)

    def every(self, compute, first=0):
        """A quantity of every date, as a panel."""
        return np.array([compute(t) if t >= first else self.nothing() for t in range(self.n_dates)])

    @staticmethod
    def share(x):
        """Rank over count among the known values, ties averaged."""
        from scipy.stats import rankdata

        out = np.full(len(x), np.nan)
        known = np.isfinite(x)
        out[known] = rankdata(x[known]) / known.sum()
        return out

    @staticmethod
    def fit(y, *xs):
        """Coefficients, intercept first, and residuals of least squares."""
        X = np.column_stack([np.ones(len(y)), *xs])
        coefficients = np.linalg.lstsq(X, y, rcond=None)[0]
        return coefficients, y - X @ coefficients


@pytest.fixture(scope="session")
def small_market():
    """60 names over 1,600 days: late listings that bring a return, delistings, suspensions, gaps."""
    return _small_market(torn=False)


@pytest.fixture(scope="session")
def torn_sample():
    """The same, torn around the dates on which closed forms are compared."""
    return _small_market(torn=True)


def _small_market(*, torn):
    from tearing import tear

    from factors.sample.market import sample_market

    panel = sample_market(n_assets=60, n_days=1600, seed=11).panel
    if torn:
        tear(panel)
    returns = panel.fields["returns"]
    for name, first in enumerate(np.isfinite(panel.fields["close"]).argmax(axis=0)):
        if first > 0:
            returns[first, name] = 0.01 * (-1.0) ** name  # it traded elsewhere the day before
    return panel


@pytest.fixture(scope="session")
def slow(torn_sample):
    return Slow(torn_sample)


@pytest.fixture(scope="session")
def catalogue():
    from whole_catalogue import whole_catalogue

    return whole_catalogue()


@pytest.fixture(scope="session")
def ids_of():
    """Ids of the factors that a file of the catalogue defines."""
    folder = resources.files("factors.library.definitions").joinpath("catalogue")

    def read(*files):
        tables = [tomllib.loads(folder.joinpath(file).read_text(encoding="utf-8")) for file in files]
        return [entry["id"] for table in tables for entry in table["factor"]]

    return read


@pytest.fixture(scope="session")
def calculate(catalogue, request):
    """Give values by id of a factor, or of an alias by its own formula, on the torn sample or what the caller has."""
    from factors.library.compile.compiler import compile_library

    def run(ids, fields=None, panel=None):
        texts = {name: alias.formula for name, alias in catalogue.aliases.items()}
        library = compile_library({name: catalogue.entries.get(name) or texts[name] for name in ids}, listed=True)
        if fields is not None:
            n_dates = len(next(iter(fields.values())))
            return library.run(fields, dates=np.datetime64("2020-01-01") + np.arange(n_dates))
        panel = panel or request.getfixturevalue("torn_sample")  # made only where it is asked for: it takes seconds
        groups = {name: panel.categories[name].codes for name in library.groups}
        return library.run(panel.fields, dates=panel.dates, groups=groups)

    return run


@pytest.fixture(scope="session")
def of_today(catalogue, request):
    """Leave out of a closed form the names that have no row: none of the factor's own fields is there on the date."""
    from factors.library.compile.graph import Graph
    from factors.library.compile.lowering import lower
    from factors.library.language.names import SHARED
    from factors.library.language.syntax import parse

    inputs = {}

    def run(name, date, expected, view=None):
        view = view or request.getfixturevalue("slow")
        if name not in inputs:
            entry = catalogue.entries.get(name)
            graph = Graph()
            ref = lower(graph, entry.expression if entry else parse(catalogue.aliases[name].formula))
            own = {graph.nodes[node].name for node in graph.reach((ref,), "own").of}
            inputs[name] = sorted(own - SHARED)
        return np.where(view.here(date, *inputs[name]), expected, np.nan)

    return run


@pytest.fixture(scope="session")
def sample_market_panel():
    """The sample market as it comes."""
    from factors.sample.market import sample_market

    return sample_market().panel


@pytest.fixture(scope="session")
def sample_census(catalogue, sample_market_panel):
    """What counts on the sample market, and how alike it is; taken once for all tests."""
    from factors.library.definitions.census import census

    return census(catalogue, sample_market_panel, n_names=150, threads=2)
