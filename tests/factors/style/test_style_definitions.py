"""Every style of the model against slow, plain numpy of the published definitions (FIELD 2.3: CNE5, USE4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tearing import tear

from factors import FactorModel, ModelSettings, sample_market

MONTH, YEAR = 21, 252
N_DATES = 1090
STYLES = {
    "beta": {"beta": 1.0},
    "momentum": {"momentum": 1.0},
    "size": {"size": 1.0},
    "value": {"book_price": 1.0, "sales_price": 1.0, "cf_price": 1.0},
    "residual_volatility": {"dastd": 0.74, "cmra": 0.16, "hsigma": 0.10},
    "liquidity": {"stom": 0.35, "stoq": 0.35, "stoa": 0.30},
    "earnings_yield": {"epfwd": 0.68, "cetop": 0.21, "etop": 0.11},
    "growth": {"egrlf": 0.18, "egrsf": 0.11, "egro": 0.24, "sgro": 0.47},
    "leverage": {"mlev": 0.38, "dtoa": 0.35, "blev": 0.27},
    "dividend_yield": {"dtop": 1.0},
    "short_term_reversal": {"strev": 1.0},
}
ORTHOGONAL = {"residual_volatility": ("beta", "size"), "nonlinear_size": ("size",), "liquidity": ("size",)}


@pytest.fixture(scope="module")
def panel():
    """Names list, pause, leave and lack items close to the last date, the one that is compared."""
    panel = sample_market(60, N_DATES, seed=11).panel
    tear(panel, compared=(N_DATES - 1,))
    rng = np.random.default_rng(0)
    noise = {name: rng.normal(size=panel.shape) for name in ("growth_forecast_long", "growth_forecast_short")}
    forward = panel.fields["earnings"] * np.exp(0.1 * rng.normal(size=panel.shape))
    forward[:, ::7] = np.nan  # nobody covers these: cash and reported earnings take the weight
    return panel.with_fields(forward_earnings=forward, **noise)


@pytest.fixture(scope="module", params=["default", "use4"])
def case(panel, request):
    settings = ModelSettings() if request.param == "default" else ModelSettings.use4()
    model = FactorModel(settings).set_panel(panel).estimate_style_scores()
    return request.param, model, Slow(model, use4=request.param == "use4")


class Slow:
    """The last date, one asset at a time."""

    def __init__(self, model, *, use4):
        self.use4 = use4
        state = model.state()
        self.f = model.panel_.fields
        self.caps = state.day_asset.get("clean/market_cap", self.f["market_cap"])
        self.mask = model.estimation_universe_
        self.r, self.T = self.f["returns"], N_DATES - 1
        self.market = np.full(N_DATES, np.nan)
        for t in range(1, N_DATES):
            use = self.mask[t - 1] & np.isfinite(self.r[t])
            self.market[t] = np.average(self.r[t, use], weights=self.caps[t - 1, use])

    def each(self, n, least, measure, *series, lag=0):
        """Apply a measure to the days of a window on which all series are there; `age` 0 is the latest."""
        end = self.T + 1 - lag
        rows = slice(end - n, end)
        out = np.full(self.r.shape[1], np.nan)
        for j in range(len(out)):
            columns = [s[rows] if s.ndim == 1 else s[rows, j] for s in series]
            known = np.all([np.isfinite(c) for c in columns], axis=0)
            if known.sum() >= least:
                age = np.arange(n)[::-1][known]
                out[j] = measure(age, *(c[known] for c in columns))
        return out

    def fit(self, age, r, m):
        w = 0.5 ** (age / 63)
        X = np.column_stack([np.ones(len(m)), m])
        a = np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * r))
        e = r - X @ a
        return a[1], np.sqrt(w @ e**2 / w.sum())

    def deviation(self, age, r, _):
        w = 0.5 ** (age / 42)
        return np.sqrt(w @ (r - np.average(r, weights=w)) ** 2 / w.sum())

    def slope(self, item):
        """Slope of the last five yearly values per share over their mean size."""
        per_share = self.f[item] / self.f["shares"]
        out = np.full(self.r.shape[1], np.nan)
        for j in range(len(out)):
            years = np.array([per_share[self.T - YEAR * k, j] for k in range(5)])[::-1]
            known = np.isfinite(years)
            if known.sum() >= 3:
                line = np.polyfit(np.arange(5)[known], years[known], 1)
                out[j] = line[0] / np.abs(years[known]).mean()
        return out

    def range_of_a_year(self):
        logs = np.log1p(self.r)
        out = np.full(self.r.shape[1], np.nan)
        for j in range(len(out)):
            last = logs[self.T - YEAR + 1 : self.T + 1, j]
            if 2 * np.isfinite(last).sum() >= YEAR:
                Z = [np.nansum(last[YEAR - MONTH * k :]) for k in range(1, 13)]
                out[j] = max(Z) - min(Z)
        return out

    def raw(self, name):
        f, T = self.f, self.T
        cap = self.caps[T]
        logs, turnover = np.log1p(self.r), f["volume"] / f["shares"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "beta": lambda: self.each(YEAR, 63, lambda *x: self.fit(*x)[0], self.r, self.market),
                "hsigma": lambda: self.each(YEAR, 63, lambda *x: self.fit(*x)[1], self.r, self.market),
                "dastd": lambda: self.each(YEAR, 63, self.deviation, self.r, self.market),
                "cmra": self.range_of_a_year,
                "momentum": (
                    (lambda: self.each(504, 252, lambda a, x: 0.5 ** (a / 126) @ x, logs, lag=21))
                    if self.use4
                    else (lambda: self.each(252, 126, lambda a, r: np.prod(1 + 0.5 ** (a / 126) * r), self.r, lag=20))
                ),
                "size": lambda: -np.log(cap),
                "book_price": lambda: np.log(f["book_price"][T]),
                "sales_price": lambda: np.log(f["sales_price"][T]),
                "cf_price": f["cf_price"][T].copy,
                "stom": lambda: self.each(21, 10, lambda _, x: np.log(x.mean() * 21), turnover),
                "stoq": lambda: self.each(63, 31, lambda _, x: np.log(x.mean() * 21), turnover),
                "stoa": lambda: self.each(252, 126, lambda _, x: np.log(x.mean() * 21), turnover),
                "epfwd": lambda: f["forward_earnings"][T] / cap,
                "cetop": lambda: f["cash_flow"][T] / cap,
                "etop": lambda: f["earnings"][T] / cap,
                "egrlf": f["growth_forecast_long"][T].copy,
                "egrsf": f["growth_forecast_short"][T].copy,
                "egro": lambda: self.slope("earnings"),
                "sgro": lambda: self.slope("sales"),
                "mlev": lambda: (cap + f["long_term_debt"][T]) / cap,
                "dtoa": lambda: f["debt"][T] / f["assets"][T],
                "blev": lambda: (f["book"][T] + f["long_term_debt"][T]) / f["book"][T],
                "dtop": lambda: f["dividends"][T] / cap,
                "strev": lambda: -self.each(21, 10, lambda a, x: 0.5 ** (a / 5) @ x, logs),
            }[name]()

    def known(self, x):
        return self.mask[self.T] & np.isfinite(x)

    def clip(self, x):
        inside = x[self.known(x)]
        return np.clip(x, inside.mean() - 3 * inside.std(ddof=1), inside.mean() + 3 * inside.std(ddof=1))

    def standardize(self, x):
        inside = self.known(x)
        mean = np.average(x[inside], weights=self.caps[self.T, inside])
        return (x - mean) / x[inside].std(ddof=1)

    def descriptor(self, name):
        x = self.raw(name)
        x[~(self.caps[self.T] > 0)] = np.nan
        if name == "momentum" and not self.use4:
            low, high = np.percentile(x[self.known(x)], [1, 99])
            return self.standardize(np.clip(x, low, high))
        return self.standardize(self.clip(x))

    def residual(self, x, bases):
        inside = self.known(x)
        X = np.column_stack([np.ones(len(x)), *(np.nan_to_num(base) for base in bases)])
        root = self.caps[self.T, inside] ** 0.25
        b = np.linalg.lstsq(root[:, None] * X[inside], root * x[inside], rcond=None)[0]
        return x - X @ b

    def style(self, name):
        if name == "nonlinear_size":
            x = self.style("size") ** 3
        else:
            parts = [(share, self.descriptor(part)) for part, share in STYLES[name].items()]
            total = sum(share * np.nan_to_num(x) for share, x in parts)
            weight = sum(share * np.isfinite(x) for share, x in parts)
            x = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)
        bases = [self.style(base) for base in ORTHOGONAL.get(name, ())]
        if bases:
            x = self.clip(self.residual(x, bases))
        return self.standardize(x)


@pytest.mark.parametrize("name", [*STYLES, "nonlinear_size"])
def test_a_style_is_that_of_its_published_definition(case, name):
    _, model, slow = case
    ours = model.scores_[-1, model.style_names_.index(name)]
    expected = slow.style(name)
    assert np.isfinite(expected).sum() >= 45
    assert np.isnan(expected).sum() >= 5
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-9)


def test_the_panel_switches_on_every_style_that_it_has_the_data_for_and_no_other(panel):
    everything = FactorModel().set_panel(panel)
    assert set(everything.style_names_) == {*STYLES, "nonlinear_size"}
    by_field = {
        ("returns", "market_cap"): {
            "beta", "momentum", "size", "residual_volatility", "nonlinear_size", "short_term_reversal",
        },
        ("volume", "shares"): {"liquidity"},
        ("volume", "close"): {"liquidity"},
        ("book_price",): {"value"},
        ("earnings",): {"earnings_yield"},
        ("earnings", "shares"): {"earnings_yield", "growth"},
        ("sales", "close"): {"growth"},
        ("growth_forecast_long",): {"growth"},
        ("debt", "assets"): {"leverage"},
        ("long_term_debt",): {"leverage"},
        ("dividends",): {"dividend_yield"},
    }  # fmt: skip
    base = by_field[("returns", "market_cap")]
    for fields, styles in by_field.items():
        part = panel.select(dates=slice(0, 40), fields=dict.fromkeys(("returns", "market_cap", *fields)))
        assert set(FactorModel().set_panel(part).style_names_) == base | styles, fields


def test_turnover_without_share_counts_is_over_the_days_own_cap_not_its_mean_of_a_month(panel):
    fields = {name: panel.fields[name] for name in ("returns", "market_cap", "volume", "close")}
    close = panel.select(dates=slice(0, 300), fields=fields)
    given = close.with_fields(shares=close.fields["market_cap"] / close.fields["close"])
    chosen = ModelSettings()
    assert chosen.smooth_features["market_cap"] > 1
    ours, expected = (FactorModel(chosen).set_panel(each).estimate_style_scores() for each in (close, given))
    place = ours.style_names_.index("liquidity")
    found = ours.scores_[:, place]
    assert np.isfinite(found).sum() > 2000
    np.testing.assert_allclose(found, expected.scores_[:, expected.style_names_.index("liquidity")], rtol=1e-9)


def test_the_documentation_has_every_style_with_its_weights():
    text = (Path(__file__).parents[3] / "docs" / "model.md").read_text()
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for name, parts in STYLES.items():
        if len(parts) > 1 and name != "value":
            for part, weight in parts.items():
                assert f"{weight:.2f} {part.upper()}" in rows[name]
        assert name in rows
    assert "nonlinear_size" in rows
