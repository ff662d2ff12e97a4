"""JKP fundamental characteristics against their closed forms in plain numpy, a year 252 rows and a quarter 63."""

import numpy as np
import pytest
import tearing

from factors.library.definitions.agreement import oracles

# The slow side meets empty slices and divides by what is missing.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DATES = tearing.DATES["jkp_fundamental"]
QUARTER, YEAR = 63, 252


class Books:
    """Items on a date, `years` or `quarters` before it."""

    def __init__(self, s, t):
        self.s, self.t = s, t
        for name, values in s.f.items():
            setattr(self, name, values[t])

    def then(self, name, rows):
        values = getattr(self.s, name) if name == "cap" else self.s.f[name]
        return self.s.at(values, self.t - rows)

    def before(self, rows):
        return Books(self.s, self.t - rows) if self.t >= rows else None

    def growth(self, name, rows):
        return getattr(self, name) / self.then(name, rows) - 1


def chronic(rows, ratio):
    """Change of a ratio over some rows."""

    def compute(b):
        was = b.before(rows)
        return ratio(b) - ratio(was) if was else b.s.nothing()

    return compute


def surprise(name):
    def compute(b):
        s, t = b.s, b.t
        x = s.f[name]
        change = s.every(lambda u: x[u] - x[u - YEAR], first=YEAR)
        mean = s.each(t - QUARTER, 504, 504, np.mean, change)
        return (change[t] - mean) / s.each(t - QUARTER, 504, 504, lambda c: np.std(c, ddof=1), change)

    return compute


def increases(b):
    """Consecutive quarters, at most eight, in which earnings exceed those of the year before."""
    s, t = b.s, b.t
    out = s.nothing()
    for i in range(s.n_assets):
        rises = [s.f["earnings_q"][t - k * QUARTER, i] - s.f["earnings_q"][t - k * QUARTER - YEAR, i] for k in range(8)]
        if np.isfinite(rises).all():
            out[i] = next((k for k, rise in enumerate(rises) if rise <= 0), 8)
    return out


def duration(b):
    """Ten years of forecast distributions; 12 % cost of equity, persistence 0.57 and 0.24, growth 6 %."""
    roe, growth, book = b.earnings / b.then("book", YEAR), b.growth("sales", YEAR), b.book
    value = weighted = 0.0
    for year in range(1, 11):
        roe, growth = 0.12 * 0.43 + 0.57 * roe, 0.06 * 0.76 + 0.24 * growth
        paid = book * (roe - growth)
        book = book * (1 + growth)
        value = value + paid / 1.12**year
        weighted = weighted + year * paid / 1.12**year
    return (weighted + (10 + 1.12 / 0.12) * (b.market_cap - value)) / b.market_cap


def deviation(rows, least, ratio):
    return lambda b: b.s.each(b.t, rows, least, lambda x: np.std(x, ddof=1), ratio(b.s.f))


def on_last_year(statistic):
    """Statistic of return on assets and its value a year before, over five years."""

    def compute(b):
        a = b.s.f["earnings"] / b.s.f["assets"]
        was = np.vstack([np.full((YEAR, b.s.n_assets), np.nan), a[:-YEAR]])
        return b.s.each(b.t, 1260, 504, statistic, a, was)

    return compute


def persistence(y, x):
    return np.polyfit(x, y, 1)[0]


def residual_deviation(y, x):
    e = y - np.polyval(np.polyfit(x, y, 1), x)
    return np.sqrt(e @ e / (len(e) - 1))


def variability(b):
    s = b.s
    lagged = np.vstack([np.full((YEAR, s.n_assets), np.nan), s.f["assets"][:-YEAR]])
    spread = [
        s.each(b.t, 1260, 504, lambda x: np.std(x, ddof=1), s.f[name] / lagged) for name in ("earnings", "cash_flow")
    ]
    return spread[0] / spread[1]


def net_debt(b):
    return b.debt - b.cash


def book_value(b):
    return b.book + net_debt(b)


def market_value(b):
    return b.market_cap + net_debt(b)


def research(b):
    return np.where(np.isfinite(b.rnd), b.rnd, 0.0)


CLOSED_FORMS = {
    "jkp_be_me": lambda b: b.book / b.market_cap,
    "jkp_ni_me": lambda b: b.earnings / b.market_cap,
    "jkp_sale_me": lambda b: b.sales / b.market_cap,
    "jkp_ocf_me": lambda b: b.cash_flow / b.market_cap,
    "jkp_div12m_me": lambda b: b.dividends / b.market_cap,
    "jkp_chcsho_12m": lambda b: b.growth("shares", YEAR),
    "jkp_eqnpo_12m": lambda b: (
        b.s.each(b.t, YEAR, 180, np.sum, b.s.lr) - np.log(b.market_cap / b.then("market_cap", YEAR))
    ),
    "jkp_be_gr1": lambda b: np.where(b.then("book", YEAR) > 0, b.growth("book", YEAR), np.nan),
    "jkp_sale_gr1": lambda b: b.growth("sales", YEAR),
    "jkp_sale_gr3": lambda b: b.growth("sales", 3 * YEAR),
    "jkp_saleq_gr1": lambda b: b.growth("sales_q", YEAR),
    "jkp_ni_be": lambda b: b.earnings / b.book,
    "jkp_niq_be": lambda b: b.earnings_q / b.then("book", QUARTER),
    "jkp_niq_be_chg1": chronic(YEAR, lambda b: b.earnings_q / b.then("book", QUARTER)),
    "jkp_niq_su": surprise("earnings_q"),
    "jkp_saleq_su": surprise("sales_q"),
    "jkp_ni_inc8q": increases,
    "jkp_oaccruals_ni": lambda b: (b.earnings - b.cash_flow) / np.abs(b.earnings),
    "jkp_ocfq_saleq_std": deviation(1008, 504, lambda f: f["cash_flow_q"] / f["sales_q"]),
    "jkp_age": lambda b: np.where(np.isfinite(b.close), np.isfinite(b.s.close[: b.t + 1]).sum(axis=0) / 21, np.nan),
    "jkp_eq_dur": duration,
    "jkp_roe_be_std": deviation(1260, 504, lambda f: f["earnings"] / f["book"]),
    "jkp_niq_saleq_std": deviation(504, 378, lambda f: f["earnings_q"] / f["sales_q"]),
    "jkp_ni_sale": lambda b: b.earnings / b.sales,
    "jkp_ocf_sale": lambda b: b.cash_flow / b.sales,
    "jkp_ocf_be": lambda b: b.cash_flow / b.book,
    "jkp_sale_be": lambda b: b.sales / b.book,
    "jkp_div_ni": lambda b: b.dividends / b.earnings,
    "jkp_be_gr1a": lambda b: (b.book - b.then("book", YEAR)) / b.assets,
    "jkp_at_me": lambda b: b.assets / b.market_cap,
    "jkp_at_gr1": lambda b: b.growth("assets", YEAR),
    "jkp_at_turnover": lambda b: 2 * b.sales / (b.assets + b.then("assets", YEAR)),
    "jkp_at_be": lambda b: b.assets / b.book,
    "jkp_niq_at": lambda b: b.earnings_q / b.then("assets", QUARTER),
    "jkp_niq_at_chg1": chronic(YEAR, lambda b: b.earnings_q / b.then("assets", QUARTER)),
    "jkp_ocf_at": lambda b: b.cash_flow / b.assets,
    "jkp_ocf_at_chg1": chronic(YEAR, lambda b: b.cash_flow / b.assets),
    "jkp_oaccruals_at": lambda b: (b.earnings - b.cash_flow) / b.assets,
    "jkp_ni_ar1": on_last_year(persistence),
    "jkp_ni_ivol": on_last_year(residual_deviation),
    "jkp_earnings_variability": variability,
    "jkp_debt_me": lambda b: b.debt / b.market_cap,
    "jkp_debt_gr3": lambda b: b.growth("debt", 3 * YEAR),
    "jkp_netdebt_me": lambda b: net_debt(b) / b.market_cap,
    "jkp_cash_at": lambda b: b.cash / b.assets,
    "jkp_bev_mev": lambda b: book_value(b) / market_value(b),
    "jkp_sale_bev": lambda b: b.sales / book_value(b),
    "jkp_gp_at": lambda b: b.gross_profit / b.assets,
    "jkp_gp_atl1": lambda b: b.gross_profit / b.then("assets", YEAR),
    "jkp_ebitda_mev": lambda b: b.ebitda / market_value(b),
    "jkp_ebit_bev": lambda b: b.ebit / book_value(b),
    "jkp_ebit_sale": lambda b: b.ebit / b.sales,
    "jkp_ope_be": lambda b: (b.ebitda - b.interest) / b.book,
    "jkp_op_at": lambda b: (b.ebitda + research(b)) / b.assets,
    "jkp_op_atl1": lambda b: (b.ebitda + research(b)) / b.then("assets", YEAR),
    "jkp_fcf_me": lambda b: (b.cash_flow - b.capex) / b.market_cap,
    "jkp_capx_gr1": lambda b: b.growth("capex", YEAR),
    "jkp_capx_gr2": lambda b: b.growth("capex", 2 * YEAR),
    "jkp_capx_gr3": lambda b: b.growth("capex", 3 * YEAR),
    "jkp_rd_me": lambda b: b.rnd / b.market_cap,
    "jkp_rd_sale": lambda b: b.rnd / b.sales,
}


@pytest.fixture(scope="module")
def values(calculate):
    return calculate(CLOSED_FORMS)


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_characteristic_equals_its_closed_form(name, date, slow, values, of_today):
    expected = CLOSED_FORMS[name](Books(slow, date))
    expected = np.where(np.isfinite(expected), expected, np.nan)
    np.testing.assert_allclose(values[name][date], of_today(name, date, expected), rtol=1e-7, atol=1e-12)


def test_characteristic_equals_its_closed_form_on_real_data(equal_on_real_data):
    forms = {name: lambda s, t, form=form: form(Books(s, t)) for name, form in CLOSED_FORMS.items()}
    computed, compared = equal_on_real_data(forms, rtol=1e-7, atol=1e-12)
    assert computed == 12
    assert compared > 460


def test_every_fundamental_characteristic_has_a_closed_form(ids_of):
    assert set(CLOSED_FORMS) == set(ids_of("jkp_fundamental.toml", "jkp_fundamental_assets.toml"))
    assert set(CLOSED_FORMS) <= {row.factor for row in oracles()["jkp_closed_forms"].agreements}
